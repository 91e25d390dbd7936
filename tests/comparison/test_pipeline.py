"""Figures of the pipeline pass, by hand from its raw loops."""

from __future__ import annotations

from typing import Any

import pytest

from fwprof.comparison.pipeline import NOT_ASKED
from fwprof.comparison.series import session_values
from fwprof.comparison.summary import summarize_cell
from fwprof.records import DataLoop, MetricValue, PipelineRun

MS = 1_000_000


def loop(
    number: int, loop_ms: float, staged_ms: float | None, steps: int = 10, start_ms: float = 5
) -> DataLoop:
    return DataLoop(
        number=number,
        steps=steps,
        start_ns=round(start_ms * MS),
        loop_ns=round(loop_ms * MS),
        staged_ns=None if staged_ms is None else round(staged_ms * MS),
    )


def metrics_of(build: Any, *loops: DataLoop, epoch_steps: int = 10, **changes: Any) -> dict[str, MetricValue]:
    run = PipelineRun(basis="slices", sample_count=645, data_bytes=1000, epoch_steps=epoch_steps, loops=loops)
    cell = build.cell("a", [MS] * 10, pipeline=run, **changes)
    result = build.run(cell)
    found: dict[str, MetricValue] = summarize_cell(cell, result.plan.cells()[0], result, ()).metrics
    return found


def test_the_stall_is_what_a_loop_adds_to_the_steps_beside_it(build: Any) -> None:
    found = metrics_of(build, loop(0, 500, None), loop(1, 30, 20), loop(2, 40, 20), loop(3, 62, 20))
    stall = found["data_stall"]
    # (30 - 20) / 10 steps, (40 - 20) / 10 and (62 - 20) / 10: the warm loop counts for nothing.
    assert (stall.unit, stall.kind, stall.count, stall.p50) == ("ns", "marginal", 3, 2 * MS)
    assert stall.ci95 is not None
    assert stall.ci95[0] < 0 < stall.ci95[1]
    assert found["pipeline_epoch_time"].p50 == 40 * MS
    assert found["pipeline_throughput"].p50 == pytest.approx(10 * 64 / 0.040)


def test_a_stall_may_be_negative(build: Any) -> None:
    found = metrics_of(build, loop(1, 19, 20), loop(2, 19, 20), loop(3, 19, 20))
    assert found["data_stall"].p50 == pytest.approx(-0.1 * MS)


def test_of_a_loop_that_was_cut_the_start_counts_once(build: Any) -> None:
    found = metrics_of(build, loop(1, 25, 10), loop(2, 25, 10), loop(3, 25, 10), epoch_steps=100)
    # 5 ms until the first batch, and 100 steps of (25 - 5) / 10 ms.
    assert found["pipeline_epoch_time"].p50 == 205 * MS
    assert found["data_stall"].p50 == pytest.approx((205 / 100 - 10 / 10) * MS)


def test_without_the_pass_the_reason_says_how_to_ask_for_it(build: Any) -> None:
    cell = build.cell("a", [MS] * 10)
    result = build.run(cell)
    found = summarize_cell(cell, result.plan.cells()[0], result, ()).metrics
    for name in ("data_stall", "pipeline_epoch_time", "pipeline_throughput"):
        assert (found[name].p50, found[name].reason) == (None, NOT_ASKED)


def test_a_pass_that_ended_before_its_first_loop_says_so(build: Any) -> None:
    found = metrics_of(build, loop(0, 30, None), fate="killed")
    assert found["data_stall"].reason == "no loop was finished: the cell is killed"


def test_stored_runs_are_compared_by_one_value_each(build: Any) -> None:
    run = PipelineRun(
        basis="slices", sample_count=645, data_bytes=1, epoch_steps=10, loops=(loop(1, 30, 20),)
    )
    cell = build.cell("a", [MS] * 10, pipeline=run)
    plan = build.run(cell).plan.cells()[0]
    assert session_values(cell, plan, "data_stall") == {0: MS}
    assert session_values(build.cell("a", [MS] * 10), plan, "data_stall") == {}
