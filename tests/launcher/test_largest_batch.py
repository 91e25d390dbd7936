"""The search for the largest batch: which sizes it tries, what whole runs store, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fwprof
from fwprof import api, estimate
from fwprof.choices import parse_model
from fwprof.errors import RequestError
from fwprof.launcher.largest_batch import FINE, next_size, with_batch
from fwprof.records import BatchSearch, CellPlan, Reading, RunResult, TriedBatch
from fwprof.testing.installed import installed
from fwprof.testing.samples import sample_cell
from fwprof.workloads import find_workload, plan_workload

MB = 10**6


def cell_of(
    name: str = "mlp-small", batch: int = 64, data_size: int | None = None, **changes: Any
) -> CellPlan:
    workload = plan_workload(find_workload(name, changes), batch)
    workload = msgspec.structs.replace(workload, data_size=data_size)
    return msgspec.structs.replace(sample_cell(), workload=workload, batch_size=batch)


def search(
    memory: Callable[[int], float], budget: float, cell: CellPlan, host_bytes: float | None = None
) -> BatchSearch:
    """Search with processes that would take so much memory."""
    found = BatchSearch()
    while (size := next_size(found, cell, host_bytes)) is not None:
        assert len(found.tried) < 64
        assert size not in {one.batch_size for one in found.tried}
        if host_bytes is not None:
            assert memory(size) <= 1.01 * host_bytes
        tried = TriedBatch(
            batch_size=size,
            fits=memory(size) <= budget,
            peak=Reading(value=memory(size), unit="bytes"),
        )
        found = msgspec.structs.replace(found, tried=(*found.tried, tried))
    return found


@given(
    base=st.floats(0, 500 * MB),
    each=st.floats(100, 10 * MB),
    budget=st.floats(MB, 4000 * MB),
    start=st.integers(1, 512),
)
def test_the_largest_batch_is_found_to_a_sixteenth(
    base: float, each: float, budget: float, start: int
) -> None:
    found = search(lambda size: base + each * size, budget, cell_of(batch=start))
    fits = int((budget - base) // each)
    if fits < 1:
        assert (found.largest, found.too_large) == (None, 1)
        return
    assert found.largest is not None
    assert found.too_large is not None
    assert found.largest <= fits < found.too_large
    assert found.too_large - found.largest <= max(1, found.largest // FINE)


def test_sizes_are_multiples_of_the_parts_of_a_batch() -> None:
    found = search(lambda size: size * MB, 101 * MB, cell_of(batch=12, accumulate=3))
    assert [one.batch_size for one in found.tried] == [12, 24, 48, 96, 192, 144, 120, 108, 102]
    assert found.largest == 96
    assert search(lambda size: size * MB, 2 * MB, cell_of(batch=12, accumulate=3)).too_large == 3


def test_a_data_set_that_ends_ends_the_search() -> None:
    cell = cell_of("digits-mlp", 32, data_size=100)
    found = search(lambda size: size, 10**9, cell)
    assert [one.batch_size for one in found.tried] == [32, 64, 100]
    assert search(lambda size: size, 10**9, cell_of("digits-mlp", 128, data_size=100)).largest == 100


def test_no_batch_is_expected_to_take_the_memory_of_the_host() -> None:
    found = search(lambda size: 100 * MB + size * MB, 10_000 * MB, cell_of(batch=64), host_bytes=1000 * MB)
    assert found.too_large is None
    assert found.largest is not None
    assert found.largest >= 900 * (1 - 1 / FINE)


def test_synthetic_data_grow_with_the_batch_and_nothing_else_does() -> None:
    cell = with_batch(cell_of(), 10_000)
    assert cell.batch_size == 10_000
    assert cell.workload.spec is not None
    assert cell.workload.spec.data.samples == 10_000
    assert with_batch(cell_of(), 128).workload.spec == cell_of().workload.spec


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    with installed(tmp_path / "installed"):
        yield


def asked(**fields: Any) -> dict[str, Any]:
    return {
        "workloads": ("digits-mlp",),
        "rounds": 1,
        "max_seconds": 0.5,
        "memory": False,
        "equivalence": "skip",
        "machine_limits": False,
        "find_max_batch": 10**12,
        **fields,
    }


def run(plugin: str = "fake", **fields: Any) -> RunResult:
    return fwprof.profile(**asked(plugins=(plugin,), **fields))


@pytest.mark.usefixtures("fakes")
def test_every_size_is_stored_with_what_it_took(tmp_path: Path) -> None:
    (cell,) = run(data_sizes=(300,)).cells
    assert cell.fate == "ok"
    assert cell.largest_batch is not None
    assert [one.batch_size for one in cell.largest_batch.tried] == [32, 64, 128, 256, 300]
    assert all(one.fits and one.peak and one.peak.value > 10 * MB for one in cell.largest_batch.tried)
    assert cell.largest_batch.ended == "the data set has no more samples"
    (summary,) = api.summarize(api.load("last")).cells
    assert summary.largest_batch == cell.largest_batch
    assert (summary.metrics["largest_batch"].value, summary.metrics["largest_batch"].unit) == (300, "samples")
    folder = next(tmp_path.glob("fwprof-runs/*/cells/*/largest-batch"))
    assert {path.name for path in folder.glob("*.jsonl")} == {
        f"{one.batch_size}.jsonl" for one in cell.largest_batch.tried
    }


@pytest.mark.usefixtures("fakes")
def test_nobody_searches_who_was_not_asked_to() -> None:
    result = run(find_max_batch=None)
    assert result.cells[0].largest_batch is None
    reason = api.summarize(result).cells[0].metrics["largest_batch"].reason
    assert reason == "not measured in this run: --find-max-batch MEMORY asks for it"


@pytest.mark.usefixtures("fakes")
def test_where_one_sample_is_too_much_that_is_said() -> None:
    result = run(find_max_batch=1, batch_sizes=(4,))
    (cell,) = result.cells
    assert cell.largest_batch is not None
    assert [(one.batch_size, one.fits) for one in cell.largest_batch.tried] == [
        (4, False),
        (2, False),
        (1, False),
    ]
    metric = api.summarize(result).cells[0].metrics["largest_batch"]
    assert (metric.value, metric.reason) == (None, "a batch of 1 takes more than was given")


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("fault", "fate", "sizes", "ended"),
    [
        ("kill", "killed", [4, 2, 1], ""),
        ("memory", "out_of_memory", [4, 2, 1], ""),
        ("raise", "failed", [4], "a batch of 4 says nothing of the memory: "),
    ],
)
def test_what_ends_a_process_says_whether_the_batch_was_too_large(
    fault: str, fate: str, sizes: list[int], ended: str
) -> None:
    (cell,) = run(f"fake,fault={fault},stage=memory", batch_sizes=(4,)).cells
    assert cell.fate == "ok"
    assert cell.largest_batch is not None
    assert [one.batch_size for one in cell.largest_batch.tried] == sizes
    assert {one.fate for one in cell.largest_batch.tried} == {fate}
    assert cell.largest_batch.ended.startswith(ended)
    assert bool(cell.largest_batch.ended) == bool(ended)
    assert cell.largest_batch.largest is None


@pytest.mark.usefixtures("fakes")
def test_a_search_that_was_finished_is_taken_over(tmp_path: Path) -> None:
    fields = {"plugins": ("fake", "fake:graph"), "data_sizes": (64,), "processes": 2}
    cancellation = api.Cancellation()

    def stop(event: Any) -> None:
        if type(event).__name__ == "PassStarted" and event.name == "training":
            cancellation.cancel()

    first = fwprof.profile(**asked(epochs=1, **fields), observer=stop, cancellation=cancellation)
    assert first.is_interrupted
    searches = [cell.largest_batch for cell in first.cells]
    assert None not in searches
    second = fwprof.profile(**asked(epochs=1, **fields), resume="unfinished")
    assert second.plan.resumes == first.plan.run_id
    assert [cell.largest_batch for cell in second.cells] == searches


@pytest.mark.usefixtures("fakes")
def test_a_dry_run_counts_the_processes() -> None:
    plan = api.make_plan(**asked(plugins=("fake",)))
    assert estimate.estimate(plan)["largest batch"].workers == estimate.BATCHES_TRIED
    assert "largest batch" not in estimate.estimate(
        api.make_plan(**asked(plugins=("fake",), find_max_batch=None))
    )


@pytest.mark.usefixtures("fakes")
def test_models_of_the_users_own_bring_their_batches(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def make(): ...\n")
    model = parse_model("net.py:make")
    with pytest.raises(RequestError, match="--find-max-batch does not apply to your own model"):
        run(workloads=(), models=(model,))
