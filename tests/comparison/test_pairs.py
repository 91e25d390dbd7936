"""Which cells may be compared, and what is said of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fwprof.comparison import summarize
from fwprof.records import Comparison, Equivalence, Failure, NativeModel, RunResult, WorkloadPlan

MS = 1_000_000.0
REFERENCE = Equivalence(status="reference")


def compared(run: RunResult, metric: str = "step_time", **options: Any) -> Sequence[Comparison]:
    found = summarize(run, "folder", stored=options.get("stored", {})).comparisons
    return [one for one in found if one.metric == metric]


def test_one_process_shows_the_ratio_and_claims_nothing(build: Any, sessions: Any) -> None:
    run = build.run(build.cell("a", *sessions(MS, count=1)), build.cell("b", *sessions(2 * MS, count=1)))
    (one,) = compared(run)
    assert (one.a, one.b, one.verdict) == ("a", "b", "one process")
    assert one.ratio == pytest.approx(2, rel=0.02)
    assert one.ci95[0] < one.ratio < one.ci95[1]


def test_three_sessions_are_too_few_for_a_verdict(build: Any, sessions: Any) -> None:
    run = build.run(build.cell("a", *sessions(MS, count=3)), build.cell("b", *sessions(2 * MS, count=3)))
    (one,) = compared(run)
    assert one.verdict == "no difference shown"
    assert one.why == "3 sessions: a verdict needs 5 (--thorough)"
    assert one.labels == ("few_sessions",)
    assert one.ci95[0] < one.ratio < one.ci95[1]


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.1, "slower"), (0.9, "faster"), (1.0, "no difference shown")]
)
def test_five_sessions_give_a_verdict_on_the_second_cell(
    build: Any, sessions: Any, factor: float, verdict: str
) -> None:
    run = build.run(build.cell("a", *sessions(MS)), build.cell("b", *sessions(factor * MS, seed=1)))
    (one,) = compared(run)
    assert one.verdict == verdict
    assert one.ratio == pytest.approx(factor, rel=0.02)
    assert one.labels == ("floor_unknown",)
    assert one.noise_floor is None


def test_a_difference_within_the_noise_floor_is_not_called(build: Any, sessions: Any) -> None:
    run = build.run(build.cell("a", *sessions(MS)), build.cell("b", *sessions(1.1 * MS)))
    (one,) = compared(run, stored={"step_time": [0.5] * 20})
    assert one.verdict == "no difference shown"
    assert "noise floor" in one.why
    assert one.noise_floor == pytest.approx(0.5 / 5**0.5)
    assert one.labels == ()


def test_all_pairs_of_a_group_are_judged_at_once(build: Any, sessions: Any) -> None:
    cells = [build.cell(name, *sessions(step * MS)) for name, step in (("a", 1), ("b", 1.3), ("c", 1.31))]
    found = {(one.a, one.b): one for one in compared(build.run(*cells))}
    assert {pair: one.verdict for pair, one in found.items()} == {
        ("a", "b"): "slower",
        ("a", "c"): "slower",
        ("b", "c"): found["b", "c"].verdict,
    }
    assert "3 cells judged at once" in found["a", "b"].why


def test_a_verdict_on_unchecked_cells_says_that_they_were_not_checked(build: Any, sessions: Any) -> None:
    cells = [build.cell("a", *sessions(MS)), build.cell("b", *sessions(2 * MS))]
    assert "not checked" in compared(build.run(*cells))[0].why
    checked = [build.cell("a", *sessions(MS), equivalence=REFERENCE)]
    checked += [build.cell("b", *sessions(2 * MS), equivalence=Equivalence(status="equivalent"))]
    assert "not checked" not in compared(build.run(*checked))[0].why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"workload": WorkloadPlan(name="lenet")}, "different workload: mlp and lenet"),
        ({"precision": "bfloat16"}, "different precision: float32 and bfloat16"),
        ({"settings_preset": "equal"}, "different settings preset: as-shipped and equal"),
        ({"world_size": 2}, "different world size: 1 and 2"),
    ],
)
def test_cells_that_do_other_work_are_not_comparable(
    build: Any, sessions: Any, changes: dict[str, Any], why: str
) -> None:
    cells = [build.cell("a", *sessions(MS)), build.cell("b", *sessions(2 * MS))]
    run = build.run(*cells, plans=[build.plan("a"), build.plan("b", **changes)])
    summary = summarize(run, "folder", stored={})
    (one,) = summary.comparisons
    assert (one.verdict, one.why, one.ratio) == ("not comparable", why, None)
    assert summary.recommendations == ()


def test_a_cell_that_failed_is_not_comparable(build: Any, sessions: Any) -> None:
    failure = Failure(fate="killed", stage="block", message="killed by SIGKILL")
    cells = [build.cell("a", *sessions(MS)), build.cell("b", *sessions(MS), fate="killed", failure=failure)]
    (one,) = compared(build.run(*cells))
    assert (one.verdict, one.why) == ("not comparable", "b is killed: killed by SIGKILL")


def test_a_cell_that_computes_something_else_is_never_ranked(build: Any, sessions: Any) -> None:
    wrong = Equivalence(status="not_equivalent", first_difference="2.kernel")
    run = build.run(build.cell("a", *sessions(MS)), build.cell("b", *sessions(MS / 2), equivalence=wrong))
    summary = summarize(run, "folder", stored={})
    assert summary.comparisons[0].why == "b does not compute the same: 2.kernel"
    assert summary.recommendations == ()
    assert "not_equivalent" in summary.cells[1].labels


def test_phases_of_whole_graphs_are_compared_with_each_other_only(build: Any, sessions: Any) -> None:
    whole = build.description(labels=("whole_graph",))
    cells = [build.cell("a", *sessions(MS))]
    cells += [build.cell(name, *sessions(2 * MS), description=whole) for name in ("b", "c")]
    run = build.run(*cells)
    assert [one.verdict for one in compared(run)] == ["slower", "slower", "no difference shown"]
    for phase in ("forward_time", "backward_time", "optimizer_time"):
        verdicts = [one.verdict for one in compared(run, phase)]
        assert verdicts == ["not comparable", "not comparable", "no difference shown"]


@pytest.mark.parametrize(("share", "is_compared"), [(1.1, True), (1.3, False)])
def test_a_whole_graph_whose_marks_agree_has_phases_after_all(
    build: Any, sessions: Any, share: float, is_compared: bool
) -> None:
    # The builder's programs: forward 0.2, backward 0.5 and update 0.3 of a step of 2 ms.
    split = {"forward": (int(0.4 * MS),), "backward": (int(share * MS),), "optimizer": (int(0.6 * MS),)}
    measured = tuple(build.measurement(steps, n, split=split) for n, steps in enumerate(sessions(2 * MS)))
    whole = build.cell("b", description=build.description(labels=("whole_graph",)), measurements=measured)
    run = build.run(build.cell("a", *sessions(MS)), whole)
    for phase in ("forward_time", "backward_time", "optimizer_time"):
        (one,) = compared(run, phase)
        assert (one.verdict != "not comparable") is is_compared


def test_phases_are_compared_session_by_session(build: Any, sessions: Any) -> None:
    for count, verdict in ((1, "one process"), (3, "no difference shown"), (5, "slower")):
        run = build.run(
            build.cell("a", *sessions(MS, count=count)), build.cell("b", *sessions(2 * MS, count=count))
        )
        (one,) = compared(run, "backward_time")
        assert one.verdict == verdict
        assert one.ratio == pytest.approx(2, rel=0.05)
        assert one.ci95[0] < one.ratio < one.ci95[1]


def test_a_phase_at_zero_has_no_ratio(build: Any) -> None:
    flat = build.blocks([MS] * 10, {"forward": 0.5, "forward_backward": 1.0, "run": 1.0})
    free = build.cell("a", measurements=(build.measurement([], blocks=flat),))
    (one,) = compared(build.run(free, build.cell("b", [MS] * 10)), "optimizer_time")
    assert one.why == "optimizer_time of a is not above zero in every session"


def test_a_cell_with_fewer_sessions_stands_outside_the_table(build: Any, sessions: Any) -> None:
    cells = [build.cell("a", *sessions(MS)), build.cell("b", *sessions(2 * MS))]
    cells.append(build.cell("c", *sessions(3 * MS, count=2)))
    found = {(one.a, one.b): one for one in compared(build.run(*cells))}
    assert found["a", "b"].verdict == "slower"
    assert "2 cells judged at once" in found["a", "b"].why
    assert found["a", "c"].why == "2 sessions: a verdict needs 5 (--thorough)"


def test_cells_that_share_no_session_are_not_comparable(build: Any) -> None:
    late = build.measurement([MS] * 10, session=1)
    run = build.run(build.cell("a", [MS] * 10), build.cell("b", measurements=(late,)))
    (one,) = compared(run)
    assert one.why == "they share no round of any session"


def test_a_program_that_one_cell_lacks_is_not_compared(build: Any) -> None:
    bare = build.measurement([], blocks=build.blocks([MS] * 10, {"run": 1.0}))
    run = build.run(build.cell("a", [MS] * 10), build.cell("b", measurements=(bare,)))
    assert compared(run)[0].verdict == "one process"
    assert compared(run, "forward_time")[0].why == "forward_time of b was not measured"


def test_cells_whose_sessions_hardly_meet_get_no_verdict_from_the_table(build: Any, sessions: Any) -> None:
    """The first shares five sessions with each of the others, and they share none."""

    def cell(name: str, step: float, numbers: range) -> Any:
        rounds = sessions(step, count=len(numbers))
        found = (build.measurement(one, number) for one, number in zip(rounds, numbers, strict=True))
        return build.cell(name, measurements=tuple(found))

    cells = [cell("a", MS, range(10)), cell("b", 2 * MS, range(5)), cell("c", 3 * MS, range(5, 10))]
    found = {(one.a, one.b): one for one in compared(build.run(*cells))}
    assert found["a", "b"].verdict == "slower"
    assert found["a", "c"].why == "the cells of its table share too few sessions"
    assert found["a", "c"].labels == ("few_sessions",)
    assert found["b", "c"].why == "they share no round of any session"


def own_model(name: str) -> WorkloadPlan:
    return WorkloadPlan(name=name, native=NativeModel(factory=f"{name}.py:make"))


def test_models_of_ones_own_are_compared_whatever_they_are_called(build: Any, sessions: Any) -> None:
    cells = [build.cell("a", *sessions(MS)), build.cell("b", *sessions(2 * MS))]
    plans = [build.plan("a", workload=own_model("old")), build.plan("b", workload=own_model("new"))]
    (one,) = compared(build.run(*cells, plans=plans))
    assert one.verdict == "slower"
    assert one.why.endswith("whether both compute the same was not checked")


def test_models_of_ones_own_with_other_batches_are_not_comparable(build: Any, sessions: Any) -> None:
    described = build.description(batch_size=32)
    cells = [build.cell("a", *sessions(MS)), build.cell("b", *sessions(2 * MS), description=described)]
    plans = [build.plan(name, workload=own_model(name), batch_size=None) for name in "ab"]
    (one,) = compared(build.run(*cells, plans=plans))
    assert (one.verdict, one.why) == ("not comparable", "different batch size: 64 and 32")


def test_a_cell_measured_once_for_both_presets_is_compared_under_both(build: Any, sessions: Any) -> None:
    skipped = Failure(fate="skipped", stage="build", message="measured once", same_as="a")
    cells = [
        build.cell("a", *sessions(MS)),
        build.cell("b", *sessions(2 * MS, seed=1)),
        build.cell("a.equal", fate="skipped", failure=skipped),
        build.cell("b.equal", *sessions(3 * MS, seed=2)),
    ]
    plans = [
        build.plan("a"),
        build.plan("b"),
        build.plan("a.equal", settings_preset="equal"),
        build.plan("b.equal", settings_preset="equal"),
    ]
    found = {(one.a, one.b): one for one in compared(build.run(*cells, plans=plans))}
    assert set(found) == {("a", "b"), ("a", "b.equal"), ("b", "b.equal")}
    assert [found["a", name].verdict for name in ("b", "b.equal")] == ["slower", "slower"]
    assert found["b", "b.equal"].why == "different settings preset: as-shipped and equal"
