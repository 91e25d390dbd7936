"""The table of largest batches."""

from __future__ import annotations

from typing import Any

import msgspec

from fwprof.records import BatchSearch, Reading, TriedBatch
from fwprof.report.layout import to_text
from fwprof.report.sections import report


def told(build: Any, *searches: BatchSearch | None, budget: int | None = 2 * 10**9) -> str:
    result, summary = build.quick_set()
    cells = tuple(
        msgspec.structs.replace(cell, largest_batch=search)
        for cell, search in zip(summary.cells, searches, strict=True)
    )
    request = msgspec.structs.replace(result.plan.request, find_max_batch=budget)
    result = msgspec.structs.replace(result, plan=msgspec.structs.replace(result.plan, request=request))
    return to_text(report(result, msgspec.structs.replace(summary, cells=cells)), 140)


def tried(size: int, taken: int | None, fits: bool, fate: str = "ok") -> TriedBatch:
    peak = None if taken is None else Reading(value=taken, unit="bytes")
    return TriedBatch(batch_size=size, fits=fits, peak=peak, fate=fate)  # type: ignore[arg-type]


def test_a_row_has_both_sizes_with_what_they_take(build: Any) -> None:
    found = BatchSearch(tried=(tried(64, 10**9, True), tried(128, 2_100_000_000, False)))
    text = told(build, found, None)
    assert "largest batch in 2.0 GB takes too large takes processes" in " ".join(text.split())
    (row,) = [line for line in text.splitlines() if line.split()[-2:] == ["GB", "2"]]
    assert row.split() == ["mlp", "64", "1.0", "GB", "128", "2.1", "GB", "2"]


def test_a_process_that_was_ended_says_how_and_a_search_why(build: Any) -> None:
    ended = BatchSearch(tried=(tried(1438, 10**9, True),), ended="the data set has no more samples")
    killed = BatchSearch(tried=(tried(2, None, False, "out_of_memory"), tried(1, None, False, "killed")))
    text = told(build, ended, killed)
    rows = [line.split() for line in text.splitlines() if "–" in line and line.split()[-1] in ("1", "2")]
    assert ["mlp", "1438", "1.0", "GB", "–", "–", "1"] in rows
    assert ["lenet", "–", "–", "1", "killed", "2"] in rows
    assert "mlp: the data set has no more samples." in " ".join(text.split())


def test_without_a_search_there_is_no_table(build: Any) -> None:
    assert "largest batch" not in told(build, None, None, budget=None)
