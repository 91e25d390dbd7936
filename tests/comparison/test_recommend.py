"""What is recommended, and from which verdicts."""

from __future__ import annotations

from typing import Any

from fwprof.comparison import summarize

MS = 1_000_000.0


def recommended(build: Any, sessions: Any, *steps: float, count: int = 5) -> Any:
    cells = [
        build.cell(name, *sessions(step * MS, count=count, seed=place))
        for place, (name, step) in enumerate(zip("abcd", steps, strict=False))
    ]
    return summarize(build.run(*cells), "folder", stored={}).recommendations


def test_the_fastest_is_named_with_its_lead(build: Any, sessions: Any) -> None:
    (one,) = recommended(build, sessions, 1.2, 1.0, 2.0)
    assert (one.scenario, one.choice) == ("fastest training", ("b",))
    assert one.evidence.startswith("ahead of all 2 others; the nearest, a, takes 1.20 × (1.")


def test_cells_that_tie_ahead_of_the_rest_are_named_together(build: Any, sessions: Any) -> None:
    (one,) = recommended(build, sessions, 1.0, 1.0, 2.0)
    assert one.choice == ("a", "b")
    assert one.evidence == "no difference shown between them; 1 slower than one of them at least"


def test_a_tie_of_all_is_said(build: Any, sessions: Any) -> None:
    (one,) = recommended(build, sessions, 1.0, 1.0)
    assert one.choice == ("a", "b")
    assert one.evidence == "no difference shown between any of them"


def test_too_few_sessions_recommend_nothing(build: Any, sessions: Any) -> None:
    assert recommended(build, sessions, 1.0, 2.0, count=1) == ()
    assert recommended(build, sessions, 1.0, 2.0, count=4) == ()
