"""What is recommended in each scenario, and from which verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from fwprof.comparison import summarize
from fwprof.records import HostCounters, Measurement, Recommendation, RunResult

MS = 1_000_000.0
FASTEST, LIMITED, QUICKEST, AMORTISED, STEADIEST = (
    "fastest training",
    "resource-limited",
    "quickest first result",
    "after compile is amortised",
    "steadiest",
)


def of(run: RunResult) -> dict[str, Recommendation]:
    return {one.scenario: one for one in summarize(run, "folder", stored={}).recommendations}


def recommended(build: Any, sessions: Any, *steps: float, count: int = 5) -> dict[str, Recommendation]:
    cells = [
        build.profiled(name, sessions(step * MS, count=count, seed=place))
        for place, (name, step) in enumerate(zip("abcd", steps, strict=False))
    ]
    return of(build.run(*cells))


def test_the_fastest_is_named_with_its_lead(build: Any, sessions: Any) -> None:
    one = recommended(build, sessions, 1.2, 1.0, 2.0)[FASTEST]
    assert (one.choice, one.metrics) == (("b",), ("step_time",))
    assert one.evidence.startswith("ahead of all 2 others; the nearest, a, takes 1.20 × (1.")


def test_cells_that_tie_ahead_of_the_rest_are_named_together(build: Any, sessions: Any) -> None:
    one = recommended(build, sessions, 1.0, 1.0, 2.0)[FASTEST]
    assert one.choice == ("a", "b")
    assert set(one.among) >= {"a", "b"}
    assert one.evidence == "no difference shown between them; 1 slower than one of them at least"


def test_a_tie_of_all_is_said_in_every_scenario(build: Any, sessions: Any) -> None:
    found = recommended(build, sessions, 1.0, 1.0)
    assert list(found) == [FASTEST, LIMITED, QUICKEST, AMORTISED, STEADIEST]
    assert {one.choice for one in found.values()} == {("a", "b")}
    assert found[FASTEST].evidence == "no difference shown between any of them"
    assert found[LIMITED].evidence == (
        "no difference shown between any of them (host peak 300 MB and 300 MB)"
    )
    assert found[AMORTISED].evidence == "no later start is shown to pay, however many the steps"


@pytest.mark.parametrize("count", [1, 3, 4])
def test_too_few_sessions_recommend_nothing(build: Any, sessions: Any, count: int) -> None:
    assert recommended(build, sessions, 1.0, 2.0, count=count) == {}


def test_cells_that_were_not_shown_to_do_the_same_work_are_not_recommended(build: Any, sessions: Any) -> None:
    cells = [
        build.profiled(name, sessions(step * MS, seed=place), status=status)
        for place, (name, step, status) in enumerate(
            (("a", 1.3, "reference"), ("b", 1.2, "equivalent"), ("c", 1.0, "not_checked"))
        )
    ]
    found = of(build.run(*cells))
    assert found[FASTEST].choice == ("b",)
    assert found[FASTEST].evidence.endswith("; left out, since not shown to compute the same: c")
    assert of(build.run(cells[0], cells[2])) == {}


def test_each_scenario_names_its_own_best(build: Any, sessions: Any) -> None:
    found = of(
        build.run(
            build.profiled("a", sessions(MS, spread=0.05), first=9e9, memory=4e8),
            build.profiled("b", sessions(1.5 * MS, spread=0.05), first=1e9, memory=3.6e8),
            build.profiled("c", sessions(1.2 * MS, spread=0.002), first=2e9, memory=5e8),
        )
    )
    assert [found[name].choice for name in (FASTEST, LIMITED, QUICKEST, STEADIEST)] == [
        ("a",),
        ("b",),
        ("b",),
        ("c",),
    ]
    assert found[LIMITED].evidence.startswith(
        "host peak 360 MB, below all 2 others; the nearest, a, needs 1.11 × (1."
    )
    assert found[QUICKEST].evidence.startswith(
        "first result time 1 s, ahead of all 2 others; the nearest, c, takes 2.00 × ("
    )
    assert " %, below all 2 others; the nearest, " in found[STEADIEST].evidence
    assert found[LIMITED].metrics == ("host_peak",)


def test_every_recommendation_can_be_checked_by_its_comparisons(build: Any, sessions: Any) -> None:
    summary = summarize(
        build.run(*(build.profiled(name, sessions(MS, seed=ord(name))) for name in "ab")), "", stored={}
    )
    compared = {one.metric for one in summary.comparisons}
    for one in summary.recommendations:
        assert one.metrics
        assert set(one.metrics) <= compared


def test_the_memory_of_the_device_counts_where_it_has_its_own(build: Any, sessions: Any) -> None:
    name = "device_process_memory"
    cells = [
        build.profiled("a", sessions(MS), memory=2e9, metric=name),
        build.profiled("b", sessions(MS, seed=1), memory=1e9, metric=name),
    ]
    one = of(build.run(*cells))[LIMITED]
    assert (one.choice, one.metrics) == (("b",), (name,))
    assert one.evidence.startswith(
        "device process memory 1 GB, below the other; the nearest, a, needs 2.00 ×"
    )


def test_memory_that_was_not_measured_is_not_mentioned(build: Any, sessions: Any) -> None:
    cells = [build.profiled(name, sessions(MS, seed=ord(name)), memory=None) for name in "ab"]
    assert LIMITED not in of(build.run(*cells))


def test_memory_of_one_process_cannot_be_judged_and_says_so(build: Any, sessions: Any) -> None:
    cells = [build.profiled(name, sessions(MS, seed=ord(name)), further_readings=()) for name in "ab"]
    one = of(build.run(*cells))[LIMITED]
    assert one.choice == ()
    assert one.evidence == "cannot be said: one process a cell: a verdict needs five (--thorough)"


def test_a_warm_start_is_not_judged_beside_cold_ones(build: Any, sessions: Any) -> None:
    warm = build.description(labels=("warm_cache",))
    cells = [
        build.profiled("a", sessions(MS), first=5e9),
        build.profiled("b", sessions(MS, seed=1), first=3e9),
        build.profiled("c", sessions(0.5 * MS), first=1e9, description=warm),
    ]
    found = of(build.run(*cells))
    assert found[QUICKEST].choice == ("b",)
    assert found[QUICKEST].evidence.endswith("; not judged: c")
    alone = of(build.run(cells[0], cells[2]))
    assert alone[QUICKEST].choice == ()
    assert alone[QUICKEST].evidence == (
        "cannot be said: c found compiled code in a cache on disk: its first step is not cold"
    )
    assert AMORTISED not in alone


def disturb(measurement: Measurement) -> Measurement:
    """Let strangers use a fifth of the CPU while the blocks of a session ran."""
    from msgspec.structs import replace

    used = HostCounters(window_ns=10_000_000, other_cpu_ns=4_000_000)
    return replace(measurement, blocks=tuple(replace(block, counters=used) for block in measurement.blocks))


@pytest.mark.parametrize(("count", "is_said"), [(5, False), (6, True)])
def test_a_session_that_others_disturbed_says_nothing_of_steadiness(
    build: Any, sessions: Any, count: int, is_said: bool
) -> None:
    cells = []
    for name, spread in (("a", 0.05), ("b", 0.002)):
        cell = build.profiled(name, sessions(MS, count=count, spread=spread))
        first, *others = cell.measurements
        cells.append(build.cell(name, measurements=(disturb(first), *others), equivalence=cell.equivalence))
    one = of(build.run(*cells))[STEADIEST]
    if is_said:
        assert one.choice == ("b",)
    else:
        assert one.choice == ()
        assert one.evidence == "cannot be said: 4 sessions undisturbed by others: a verdict needs 5"


def test_where_others_disturbed_every_session_steadiness_cannot_be_said(build: Any, sessions: Any) -> None:
    cells = []
    for name in "ab":
        cell = build.profiled(name, sessions(MS, seed=ord(name)))
        noisy = tuple(disturb(one) for one in cell.measurements)
        cells.append(build.cell(name, measurements=noisy, equivalence=cell.equivalence))
    one = of(build.run(*cells))[STEADIEST]
    assert one.evidence == "cannot be said: others used the CPU in every session of a"


def test_a_later_start_pays_from_some_number_of_steps(build: Any, sessions: Any) -> None:
    cells = [
        build.profiled("a", sessions(2 * MS), first=1e9),
        build.profiled("b", sessions(MS, seed=1), first=3e9),
    ]
    one = of(build.run(*cells))[AMORTISED]
    assert one.choice == ("a", "b")
    (crossing,) = one.crossings
    assert (crossing.before, crossing.after) == ("a", "b")
    assert crossing.ci95[0] < 2001 < crossing.ci95[1]
    assert crossing.steps == pytest.approx(2001, rel=0.02)
    assert one.evidence.startswith("a up to about 2,0")
    assert one.evidence.endswith("then b, which starts 2 s later and takes 1 ms less per step")


def test_three_cells_take_turns_as_the_steps_become_more(build: Any, sessions: Any) -> None:
    cells = [
        build.profiled("c", sessions(0.5 * MS, seed=2), first=20e9),
        build.profiled("a", sessions(3 * MS), first=1e9),
        build.profiled("b", sessions(MS, seed=1), first=3e9),
        build.profiled("never", sessions(2 * MS, seed=3), first=9e9),
    ]
    one = of(build.run(*cells))[AMORTISED]
    assert one.choice == ("a", "b", "c")
    assert [(each.before, each.after) for each in one.crossings] == [("a", "b"), ("b", "c")]
    assert [each.steps for each in one.crossings] == [
        pytest.approx(1001, rel=0.03),
        pytest.approx(34_001, rel=0.03),
    ]


def test_a_cell_that_starts_first_and_steps_fastest_leaves_nothing_to_amortise(
    build: Any, sessions: Any
) -> None:
    cells = [
        build.profiled("a", sessions(MS), first=1e9),
        build.profiled("b", sessions(2 * MS, seed=1), first=3e9),
    ]
    one = of(build.run(*cells))[AMORTISED]
    assert (one.choice, one.crossings) == (("a",), ())
    assert one.evidence == "no later start is shown to pay, however many the steps"
