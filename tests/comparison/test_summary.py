"""One cell in figures, against numbers that can be read off the rounds."""

from __future__ import annotations

from math import sqrt
from typing import Any

import msgspec
import pytest

from fwprof.comparison import summarize
from fwprof.metrics import METRICS
from fwprof.records import CellSummary, Failure, Reading, RunResult, WorkloadPlan

MS = 1_000_000
STEPS = [value * MS for value in (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)]


def only(run: RunResult) -> CellSummary:
    (cell,) = summarize(run, "folder", stored={}).cells
    return cell


def test_every_common_metric_is_there_with_a_value_or_a_reason(build: Any) -> None:
    metrics = only(build.run(build.cell("a", STEPS))).metrics
    assert list(metrics) == list(METRICS)
    for name, metric in metrics.items():
        has_value = metric.p50 is not None or metric.value is not None
        assert has_value != bool(metric.reason), name
        assert (metric.unit, metric.kind) == (METRICS[name].unit, METRICS[name].kind)


def test_times_are_medians_of_rounds_and_phases_their_differences(build: Any) -> None:
    metrics = only(build.run(build.cell("a", STEPS))).metrics
    p50 = {name: metric.p50 for name, metric in metrics.items()}
    assert p50["step_time"] == 15 * MS
    assert metrics["step_time"].p10 == 11 * MS
    assert metrics["step_time"].count == 11
    assert p50["forward_time"] == pytest.approx(0.2 * 15 * MS)
    assert p50["backward_time"] == pytest.approx(0.5 * 15 * MS)
    assert p50["optimizer_time"] == pytest.approx(0.3 * 15 * MS)
    assert p50["forward_time"] + p50["backward_time"] + p50["optimizer_time"] == pytest.approx(
        p50["step_time"]
    )


def test_pipelined_steps_are_divided_by_the_steps_of_one_wait(build: Any) -> None:
    metrics = only(build.run(build.cell("a", STEPS))).metrics
    assert metrics["pipelined_step_time"].p50 == pytest.approx(13.5 * MS)
    assert metrics["throughput"].p50 == pytest.approx(64 / 13.5e-3)
    low, high = metrics["throughput"].ci95
    assert low < metrics["throughput"].p50 < high


def test_a_block_of_several_steps_counts_as_their_median(build: Any) -> None:
    cell = build.cell("a", STEPS)
    (measurement,) = cell.measurements
    blocks = tuple(
        msgspec.structs.replace(block, step_ns=(block.step_ns[0] - 1, *block.step_ns, 10**12))
        for block in measurement.blocks
    )
    cell = msgspec.structs.replace(cell, measurements=(msgspec.structs.replace(measurement, blocks=blocks),))
    assert only(build.run(cell)).metrics["step_time"].p50 == 15 * MS


def test_a_marginal_interval_uses_the_same_rounds_for_both_programs(build: Any) -> None:
    """F is a fixed share of G in every round, so that G − F varies less than G alone."""
    metrics = only(build.run(build.cell("a", STEPS))).metrics
    low, high = metrics["backward_time"].ci95
    step_low, step_high = metrics["step_time"].ci95
    assert (low, high) == pytest.approx((0.5 * step_low, 0.5 * step_high), rel=1e-6)


def test_several_sessions_give_the_geometric_mean_and_t_over_sessions(build: Any) -> None:
    sessions = [[4 * MS] * 10, [16 * MS] * 10]
    step = only(build.run(build.cell("a", *sessions))).metrics["step_time"]
    assert step.p50 == pytest.approx(8 * MS)
    assert step.count == 20
    low, high = step.ci95
    assert sqrt(low * high) == pytest.approx(8 * MS)
    assert high / step.p50 > 12 ** (1 / 2)


def test_a_marginal_cost_below_zero_is_averaged_over_sessions(build: Any) -> None:
    programs = {"forward": 0.2, "forward_backward": 1.1, "run": 1.0}
    cell = build.cell("a")
    measurements = tuple(
        build.measurement([], index, blocks=build.blocks([step * MS] * 10, programs))
        for index, step in enumerate((10, 20))
    )
    optimizer = only(build.run(msgspec.structs.replace(cell, measurements=measurements))).metrics[
        "optimizer_time"
    ]
    assert optimizer.p50 == pytest.approx(-1.5 * MS)
    assert optimizer.ci95[0] < -2 * MS


def test_a_round_that_was_cut_short_does_not_count(build: Any) -> None:
    cell = build.cell("a", STEPS)
    (measurement,) = cell.measurements
    torn = msgspec.structs.replace(measurement, blocks=measurement.blocks[:-1])
    step = only(build.run(msgspec.structs.replace(cell, measurements=(torn,)))).metrics["step_time"]
    assert step.count == 10


def test_a_program_that_was_not_timed_leaves_its_metrics_null(build: Any) -> None:
    measurement = build.measurement([], blocks=build.blocks(STEPS, {"run": 1.0}))
    metrics = only(build.run(build.cell("a", measurements=(measurement,)))).metrics
    assert metrics["step_time"].p50 == 15 * MS
    assert metrics["backward_time"].reason == "program forward_backward and forward was not timed"
    assert metrics["throughput"].reason == "program pipelined was not timed"


def test_the_replica_is_no_part_of_the_cells_figures(build: Any) -> None:
    replica = build.measurement([step * 100 for step in STEPS], replica=True)
    cell = build.cell("a", measurements=(build.measurement(STEPS), replica))
    summary = only(build.run(cell))
    assert summary.metrics["step_time"].p50 == 15 * MS
    assert summary.sessions == 1


def test_startup_is_told_apart_from_the_steady_step(build: Any) -> None:
    metrics = only(build.run(build.cell("a", STEPS))).metrics
    assert [metrics[name].value for name in ("import_time", "build_time")] == [3, 4]
    assert metrics["compile_time"].value == 50 * MS - 15 * MS


def test_memory_is_the_import_and_the_work(build: Any) -> None:
    readings = {
        "host_peak": Reading(value=300, unit="bytes"),
        "host_import": Reading(value=100, unit="bytes"),
        "energy": Reading(value=None, unit="uJ/step", reason="no counter is readable"),
        "example.power": Reading(value=5.0, unit="mW"),
    }
    metrics = only(build.run(build.cell("a", STEPS, readings=readings))).metrics
    assert metrics["host_work"].value == 200
    assert (metrics["energy"].value, metrics["energy"].reason) == (None, "no counter is readable")
    assert metrics["example.power"].value == 5.0


def test_memory_of_several_processes_has_an_interval(build: Any) -> None:
    def readings(peak: int) -> dict[str, Reading]:
        return {
            "host_peak": Reading(value=peak, unit="bytes"),
            "host_import": Reading(value=100, unit="bytes"),
            "example.power": Reading(value=0.0, unit="mW"),
        }

    further = tuple(map(readings, (310, 305, 303, 302)))
    cell = build.cell("a", STEPS, readings=readings(300), further_readings=further)
    metrics = only(build.run(cell)).metrics
    peak = metrics["host_peak"]
    assert peak.p50 == peak.value == pytest.approx(304, rel=0.001)
    assert peak.ci95 is not None
    assert 299 < peak.ci95[0] < 304 < peak.ci95[1] < 309
    assert (peak.unit, peak.count, peak.kind) == ("bytes", 5, "measured")
    assert metrics["host_import"].ci95 == (pytest.approx(100), pytest.approx(100))
    work = metrics["host_work"]
    assert (work.p50, work.kind) == (pytest.approx(204, rel=0.001), "derived")
    # Nothing has no logarithm: the median stands alone.
    assert (metrics["example.power"].value, metrics["example.power"].p50) == (0, None)


def test_the_first_result_is_import_build_and_first_step(build: Any) -> None:
    one = only(build.run(build.cell("a", STEPS))).metrics["first_result_time"]
    assert (one.value, one.p50, one.unit) == (3 + 4 + 50 * MS, None, "ns")
    several = only(build.run(build.cell("a", STEPS, STEPS))).metrics["first_result_time"]
    assert several.p50 == pytest.approx(50 * MS, rel=1e-6)
    assert several.count == 2


def test_the_spread_is_the_quartile_range_over_the_median(build: Any) -> None:
    steps = [step * MS for step in (10, 11, 12, 13, 14, 15, 16, 17, 18)]
    spread = only(build.run(build.cell("a", steps))).metrics["step_spread"]
    assert (spread.value, spread.unit) == (pytest.approx(100 * 4 / 14), "percent")
    few = only(build.run(build.cell("a", steps[:7]))).metrics["step_spread"]
    assert (few.value, few.reason) == (None, "fewer than 8 rounds were measured")


def limits(gemm: float, copy: float) -> dict[str, dict[str, Reading]]:
    return {
        "cpu/2/float32": {
            "best_gemm": Reading(value=gemm, unit="FLOP/s"),
            "best_copy": Reading(value=copy, unit="bytes/s"),
        }
    }


@pytest.mark.parametrize(
    ("gemm", "copy", "bound"),
    [(60, 10, "compute"), (10, 60, "memory"), (20, 24, "overhead"), (30, 30, None), (110, 80, "compute")],
)
def test_what_bounds_the_step_follows_its_shares(build: Any, gemm: float, copy: float, bound: str) -> None:
    """A step of 15 ms with 2 MFLOP and 1 MB: the best is what makes these the shares."""
    best = limits(100 * 2e6 / 15e-3 / gemm, 100 * 1e6 / 15e-3 / copy)
    summary = only(build.run(build.cell("a", STEPS), limits=best))
    assert summary.metrics["share_of_best_gemm"].value == pytest.approx(gemm)
    assert summary.metrics["share_of_copy"].value == pytest.approx(copy)
    assert summary.bound == bound


def test_a_slow_pipeline_bounds_the_step(build: Any) -> None:
    measurement = build.measurement([], blocks=build.blocks(STEPS, {"run": 1.0, "next_batch": 0.6}))
    assert only(build.run(build.cell("a", measurements=(measurement,)))).bound == "data"


def test_shares_without_a_measured_best_say_so(build: Any) -> None:
    cell = build.cell("a", STEPS)
    assert "was not measured" in only(build.run(cell)).metrics["share_of_copy"].reason
    own = build.plan("a", workload=WorkloadPlan(name="own"))
    metrics = only(build.run(cell, plans=[own])).metrics
    assert metrics["flops"].reason == "not known for a model of the user's own"
    assert metrics["share_of_best_gemm"].reason == "what the model needs is not known"


def test_a_failed_cell_keeps_its_reason_and_has_no_times(build: Any) -> None:
    failure = Failure(fate="out_of_memory", stage="build", message="no memory for 3 GiB")
    cell = build.cell("a", fate="out_of_memory", failure=failure, description=None)
    summary = only(build.run(cell))
    assert summary.reason == "no memory for 3 GiB"
    assert summary.mode is None
    assert summary.sessions == 0
    assert summary.metrics["step_time"].reason == "the cell is out_of_memory"


def test_the_users_own_model_tells_its_batch_size(build: Any) -> None:
    cell = build.cell("a", STEPS, description=build.description(batch_size=7))
    run = build.run(cell, plans=[build.plan("a", batch_size=None)])
    assert only(run).batch_size == 7


def test_marks_inside_the_step_stand_beside_the_programs(build: Any) -> None:
    split = {"forward": (3 * MS, 3 * MS, 3 * MS), "backward": (9 * MS, 9 * MS, 90 * MS)}
    marked = build.measurement(STEPS, split=split)
    control = build.measurement(STEPS, replica=True, split={"forward": (99 * MS,)})
    cell = only(build.run(build.cell("a", measurements=(marked, control))))
    assert {name: value.p50 for name, value in cell.split.items()} == {
        "forward_time": 3 * MS,
        "backward_time": 9 * MS,
    }
    step_ns = cell.metrics["step_time"].p50
    assert step_ns is not None
    assert cell.split_disagreement == pytest.approx((9 - 7.5) * MS / step_ns)


def test_a_frameworks_own_loops_stand_beside_the_step(build: Any) -> None:
    first = build.measurement(STEPS, api={"fit": (20 * MS, 22 * MS, 90 * MS), "train_on_batch": (16 * MS,)})
    control = build.measurement(STEPS, replica=True, api={"fit": (99 * MS,)})
    metrics = only(build.run(build.cell("a", measurements=(first, control)))).metrics
    assert "api_time" not in metrics
    fit = metrics["api_time.fit"]
    assert (fit.unit, fit.kind, fit.count, fit.ci95) == ("ns", "measured", 3, None)
    assert fit.p50 == pytest.approx(22 * MS)
    assert metrics["api_time.train_on_batch"].p50 == pytest.approx(16 * MS)


def test_own_loops_of_several_sessions_have_an_interval(build: Any) -> None:
    sessions = [build.measurement(STEPS, number, api={"fit": (20 * MS + number,)}) for number in range(3)]
    fit = only(build.run(build.cell("a", measurements=tuple(sessions)))).metrics["api_time.fit"]
    assert fit.ci95 is not None
    assert fit.ci95[0] < fit.p50 < fit.ci95[1]


def test_a_framework_without_a_loop_says_so(build: Any) -> None:
    metrics = only(build.run(build.cell("a", STEPS))).metrics
    assert metrics["api_time"].reason == "the framework offers no training loop of its own"


def test_without_marks_there_is_nothing_to_agree_with(build: Any) -> None:
    cell = only(build.run(build.cell("a", STEPS)))
    assert (cell.split, cell.split_disagreement) == ({}, None)
