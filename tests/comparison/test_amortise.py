"""Where one cell overtakes another as the steps become more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fwprof.comparison.amortise import Course, Shown, crossings

NOISE = (-0.01, -0.005, 0.0, 0.005, 0.01)


def course(name: str, first: float, step: float) -> Course:
    turned = (*NOISE[2:], *NOISE[:2])
    return Course(name, [first * (1 + one) for one in NOISE], [step * (1 + one) for one in turned])


def all_shown(courses: Sequence[Course]) -> tuple[Shown, Shown]:
    pairs = [(a, b) for a in courses for b in courses]
    sooner = {(a.name, b.name) for a, b in pairs if a.first < b.first}
    return sooner, {(a.name, b.name) for a, b in pairs if a.step < b.step}


def test_two_cells_cross_where_the_later_start_is_paid() -> None:
    courses = [course("late", 5e9, 1e6), course("early", 1e9, 3e6)]
    (one,) = crossings(courses, *all_shown(courses))
    assert (one.before, one.after) == ("early", "late")
    assert one.steps == pytest.approx(1 + 4e9 / 2e6)
    assert one.ci95[0] < one.steps < one.ci95[1]


def test_a_cell_above_the_others_at_every_number_of_steps_is_left_out() -> None:
    courses = [course("a", 1e9, 3e6), course("b", 2e9, 1e6), course("above", 3e9, 2e6)]
    assert [(one.before, one.after) for one in crossings(courses, *all_shown(courses))] == [("a", "b")]


def test_a_later_start_whose_step_is_not_shown_to_be_faster_never_pays() -> None:
    courses = [course("a", 1e9, 3e6), course("b", 2e9, 2.9e6)]
    sooner, _ = all_shown(courses)
    assert crossings(courses, sooner, set()) == []


def test_a_faster_step_that_is_not_shown_to_start_later_is_ahead_from_the_start() -> None:
    courses = [course("a", 1e9, 3e6), course("b", 1.01e9, 2e6), course("c", 9e9, 1e6)]
    sooner, faster = all_shown(courses)
    (one,) = crossings(courses, {pair for pair in sooner if pair != ("a", "b")}, faster)
    assert (one.before, one.after) == ("b", "c")


def test_a_middle_cell_that_falls_away_takes_its_crossing_with_it() -> None:
    """b is shown to start later than a and to step faster; c is not shown to start later than b."""
    courses = [course("a", 1e9, 3e6), course("b", 2e9, 2e6), course("c", 2.1e9, 1e6)]
    sooner, faster = all_shown(courses)
    (one,) = crossings(courses, {pair for pair in sooner if pair != ("b", "c")}, faster)
    assert (one.before, one.after) == ("a", "c")


def test_steps_that_sessions_do_not_tell_apart_bound_no_number() -> None:
    courses = [
        Course("a", [1e9] * 5, [3e6, 1e6, 3e6, 1e6, 3e6]),
        Course("b", [2e9] * 5, [1e6, 3e6, 1e6, 3e6, 1e6]),
    ]
    assert crossings(courses, *all_shown(courses)) == []


def test_one_cell_crosses_nobody() -> None:
    assert crossings([course("a", 1e9, 1e6)], set(), set()) == []
