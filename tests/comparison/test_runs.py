"""Two stored runs: which cells match, and what is said of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from fwprof.comparison import compare_runs, judge, parse_gate
from fwprof.records import FrameworkChoice, HostCounters, NativeModel, Reading, WorkloadPlan
from fwprof.records.workload import MnistData, SyntheticData
from fwprof.workloads import find_workload

MS = 1_000_000.0
STEP = ("step_time",)


def runs(build: Any, sessions: Any, factor: float, count: int = 5) -> tuple[Any, Any]:
    before = build.run(build.cell("a", *sessions(MS, count=count)))
    return before, build.run(build.cell("a", *sessions(factor * MS, count=count, seed=1)))


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.1, "slower"), (0.9, "faster"), (1.0, "no difference shown")]
)
def test_five_sessions_each_give_a_verdict(build: Any, sessions: Any, factor: float, verdict: str) -> None:
    (one,) = compare_runs(*runs(build, sessions, factor), metrics=STEP)
    assert one.verdict == verdict
    assert one.ratio == pytest.approx(factor, rel=0.02)
    assert one.labels == ("floor_unknown",)


def test_higher_throughput_is_faster(build: Any, sessions: Any) -> None:
    (one,) = compare_runs(*runs(build, sessions, 0.9), metrics=("throughput",))
    assert one.ratio == pytest.approx(1 / 0.9, rel=0.02)
    assert one.verdict == "faster"


def test_one_session_each_is_one_process(build: Any, sessions: Any) -> None:
    (one,) = compare_runs(*runs(build, sessions, 2.0, count=1), metrics=STEP)
    assert one.verdict == "one process"
    assert one.ci95[0] < one.ratio < one.ci95[1]


def test_a_few_sessions_give_an_interval_and_no_verdict(build: Any, sessions: Any) -> None:
    (one,) = compare_runs(*runs(build, sessions, 2.0, count=3), metrics=STEP)
    assert (one.verdict, one.why) == ("no difference shown", "3 sessions: a verdict needs 5 (--thorough)")
    assert one.ci95[0] < one.ratio < one.ci95[1]


def test_different_machines_are_not_compared(build: Any, sessions: Any) -> None:
    before = build.run(build.cell("a", *sessions(MS)), fingerprint="one")
    after = build.run(build.cell("a", *sessions(MS)), fingerprint="two")
    (one,) = compare_runs(before, after)
    assert (one.verdict, one.ratio) == ("not comparable", None)
    assert one.why == "different machines: Example of one and Example of two"


def test_a_change_within_the_noise_floor_is_not_called(build: Any, sessions: Any) -> None:
    (one,) = compare_runs(*runs(build, sessions, 1.1), metrics=STEP, stored={"step_time": [0.4] * 30})
    assert one.verdict == "no difference shown"
    assert one.noise_floor == pytest.approx(0.4 / 5**0.5)


def test_versions_and_environments_do_not_part_a_cell_from_itself(build: Any, sessions: Any) -> None:
    newer = build.description(versions={"example": "2.0"})
    before = build.run(
        build.cell("old", *sessions(MS)), plans=[build.plan("old", choice=FrameworkChoice(name="x"))]
    )
    other = build.plan("new", choice=FrameworkChoice(name="x", environment="other"), environment="other")
    after = build.run(build.cell("new", *sessions(2 * MS), description=newer), plans=[other])
    (one,) = compare_runs(before, after, metrics=STEP)
    assert (one.a, one.b, one.verdict) == ("old", "new", "slower")


def test_another_variant_or_mode_is_another_cell(build: Any, sessions: Any) -> None:
    before = build.run(build.cell("a", *sessions(MS)))
    after = build.run(build.cell("a", *sessions(MS), description=build.description(mode="compile")))
    found = compare_runs(before, after, metrics=STEP)
    assert [one.why for one in found] == ["a is in the first run only", "a is in the second run only"]
    assert {one.verdict for one in found} == {"not comparable"}


def test_a_workload_that_was_changed_is_not_compared(build: Any, sessions: Any) -> None:
    before, _ = runs(build, sessions, 1.0)
    wider = build.plan("a", workload=WorkloadPlan(name="mlp", parameter_count=99))
    after = build.run(build.cell("a", *sessions(MS)), plans=[wider])
    (one,) = compare_runs(before, after, metrics=STEP)
    assert one.why == "workload mlp was changed between the runs"


def test_other_data_are_another_experiment(build: Any, sessions: Any) -> None:
    before, after = (
        build.run(build.cell("a", *sessions(MS)), plans=[build.plan("a", workload=trained_on(data))])
        for data in (SyntheticData(samples=100), MnistData(folder="/here"))
    )
    found = compare_runs(before, after, metrics=STEP)
    assert [one.why for one in found] == ["a is in the first run only", "a is in the second run only"]


def trained_on(data: Any) -> WorkloadPlan:
    return WorkloadPlan(name="mlp", spec=msgspec.structs.replace(find_workload("mlp"), data=data))


def test_a_failed_cell_is_not_compared(build: Any, sessions: Any) -> None:
    before, _ = runs(build, sessions, 1.0)
    after = build.run(build.cell("a", fate="timeout"))
    (one,) = compare_runs(before, after, metrics=STEP)
    assert one.why == "a is timeout"


def test_unasked_every_metric_with_a_value_is_compared(build: Any, sessions: Any) -> None:
    found = {one.metric: one for one in compare_runs(*runs(build, sessions, 1.1))}
    assert {"step_time", "backward_time", "throughput", "import_time", "compile_time"} <= set(found)
    assert not {"energy", "host_peak", "flops"} & set(found)


def test_a_metric_that_was_asked_for_and_not_measured_is_told(build: Any, sessions: Any) -> None:
    (one,) = compare_runs(*runs(build, sessions, 1.1), metrics=("energy",))
    assert (one.verdict, one.why) == ("not comparable", "there is no energy of a")


def memory_run(build: Any, sessions: Any, *peaks: int) -> Any:
    readings = [{"host_peak": Reading(value=peak, unit="bytes")} for peak in peaks]
    cell = build.cell("a", *sessions(MS), readings=readings[0], further_readings=tuple(readings[1:]))
    return build.run(cell)


@pytest.mark.parametrize(
    ("after", "verdict", "answer"),
    [
        ((1100, 1101, 1102, 1103, 1104), "slower", "fail"),
        ((1000, 1002, 1001, 1003, 1004), "no difference shown", "pass"),
        ((1100, 1000, 1200, 1010, 1104), "no difference shown", "inconclusive"),
    ],
)
def test_a_gate_on_memory_of_several_processes_is_decided(
    build: Any, sessions: Any, after: tuple[int, ...], verdict: str, answer: str
) -> None:
    before = memory_run(build, sessions, 1000, 1001, 1002, 1003, 1004)
    found = compare_runs(before, memory_run(build, sessions, *after))
    (one,) = [each for each in found if each.metric == "host_peak"]
    assert one.verdict == verdict
    assert judge(parse_gate("host_peak>+5%"), found) == answer


def test_a_gate_on_memory_of_one_process_stays_inconclusive(build: Any, sessions: Any) -> None:
    found = compare_runs(memory_run(build, sessions, 1000), memory_run(build, sessions, *[2000] * 5))
    assert judge(parse_gate("host_peak>+5%"), found) == "inconclusive"


def test_spreads_of_disturbed_sessions_do_not_count(build: Any, sessions: Any) -> None:
    used = HostCounters(window_ns=100, other_cpu_ns=100)
    noisy = [replace(block, counters=used) for block in build.blocks([MS, 2 * MS] * 5)]
    quiet = [build.measurement(rounds, number) for number, rounds in enumerate(sessions(MS))]
    disturbed = build.measurement([], 5, blocks=tuple(noisy))
    before = build.run(build.cell("a", measurements=tuple(quiet)))
    after = build.run(build.cell("a", measurements=(*quiet, disturbed)))
    (one,) = compare_runs(before, after, metrics=("step_spread",))
    assert one.ratio == pytest.approx(1)
    assert "5 and 5 sessions" in one.why


def test_memory_is_compared_without_an_interval(build: Any, sessions: Any) -> None:
    def run(peak: int) -> Any:
        readings = {
            "host_peak": Reading(value=peak, unit="bytes"),
            "host_import": Reading(value=100, unit="bytes"),
        }
        return build.run(build.cell("a", *sessions(MS), readings=readings))

    peak, work = compare_runs(run(200), run(300), metrics=("host_peak", "host_work"))
    assert (peak.ratio, peak.ci95, peak.verdict) == (pytest.approx(1.5), None, "one process")
    assert work.ratio == pytest.approx(2)


def test_a_marginal_cost_below_zero_has_no_ratio(build: Any) -> None:
    blocks = build.blocks([MS] * 10, {"forward": 0.5, "forward_backward": 1.1, "run": 1.0})
    run = build.run(build.cell("a", measurements=(build.measurement([], blocks=blocks),)))
    (one,) = compare_runs(run, run, metrics=("optimizer_time",))
    assert one.why == "optimizer_time of a is not above zero in every session"


def test_changes_of_several_cells_are_judged_at_once(build: Any, sessions: Any) -> None:
    names = "abcdefgh"
    before = build.run(*(build.cell(name, *sessions(MS, seed=ord(name))) for name in names))
    after = build.run(*(build.cell(name, *sessions(1.2 * MS, seed=ord(name))) for name in names))
    found = compare_runs(before, after, metrics=STEP)
    assert [one.verdict for one in found] == ["slower"] * 8
    assert "8 cells judged at once" in found[0].why


def test_models_of_ones_own_meet_themselves_and_not_each_other(build: Any, sessions: Any) -> None:
    def run(step: float, *names: str) -> Any:
        works = [WorkloadPlan(name=name, native=NativeModel(factory=f"{name}.py:make")) for name in names]
        plans = [build.plan("torch", id=work.name, workload=work) for work in works]
        return build.run(*(build.cell(name, *sessions(step)) for name in names), plans=plans)

    found = compare_runs(run(MS, "old", "new"), run(2 * MS, "new", "other"), metrics=STEP)
    assert {(one.a, one.b, one.verdict) for one in found} == {
        ("new", "new", "slower"),
        ("old", "old", "not comparable"),
        ("other", "other", "not comparable"),
    }
