"""Who takes the largest batch, by two sizes each: one that fits and one that does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from fwprof.comparison.batches import recommend_largest
from fwprof.records import BatchSearch, CellSummary, TriedBatch


def cell(name: str, fits: int | None, too_large: int | None, ended: str = "") -> CellSummary:
    sizes = [(fits, True), (too_large, False)]
    tried = [TriedBatch(batch_size=size, fits=is_fit) for size, is_fit in sizes if size is not None]
    # Nothing else of a summary is asked for.
    search = BatchSearch(tried=tuple(tried), ended=ended)
    return cast("CellSummary", SimpleNamespace(id=name, largest_batch=search))


@pytest.mark.parametrize(
    ("cells", "choice", "evidence"),
    [
        (
            [cell("a", 4096, 4352), cell("b", 2048, 2176)],
            ("a",),
            "a 4096, not 4352, b 2048, not 2176",
        ),
        # What one takes is not shown to be too large for the other.
        (
            [cell("a", 4096, 4352), cell("b", 4000, 4224)],
            ("a", "b"),
            "no difference shown between them; a 4096, not 4352, b 4000, not 4224",
        ),
        ([cell("a", 1438, None), cell("b", 64, 68)], ("a",), "a 1438 and more, b 64, not 68"),
        ([cell("a", 64, 68), cell("b", None, 1)], ("a",), "a 64, not 68, b not even 1"),
        (
            [cell("a", 64, 68), cell("b", 32, None, ended="no meter")],
            ("a", "b"),
            "no difference shown between them; a 64, not 68, b 32 and more",
        ),
        (
            [cell("a", 64, 68), cell("b", None, 64, ended="a batch of 64 says nothing of the memory: bug")],
            ("a",),
            "a 64, not 68; not judged: b",
        ),
        ([cell("a", None, 1), cell("b", None, 1)], (), "cannot be said: no batch of any is known to fit"),
    ],
)
def test_what_one_takes_must_be_too_large_for_the_other(
    cells: list[CellSummary], choice: tuple[str, ...], evidence: str
) -> None:
    found = recommend_largest("2 GB", {one.id: one for one in cells})
    assert found is not None
    assert (found.scenario, found.choice, found.evidence) == ("largest batch in 2 GB", choice, evidence)
    assert found.among == tuple(one.id for one in cells)


def test_where_nobody_searched_nothing_is_said() -> None:
    quiet = SimpleNamespace(id="a", largest_batch=None)
    assert recommend_largest("2 GB", {"a": cast("CellSummary", quiet)}) is None
