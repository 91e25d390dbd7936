"""From how many steps on does a cell pay that starts later and steps faster.

Owns the lower envelope of first result + steps over several cells (docs/decisions/015). Knows numbers
and verdicts only: `benchmarks/simulate_recommendations.py` runs it on made-up ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import fsum

from fwprof.records import Crossing
from fwprof.statistics import ratio_of_means

Shown = Collection[tuple[str, str]]
"""(cell that is shown to be better, cell that it is better than)."""


@dataclass(frozen=True)
class Course:
    """What N steps of one cell take: the first result, and N - 1 steps more."""

    name: str
    first_ns: Sequence[float]
    """One a session."""
    step_ns: Sequence[float]
    """Of the same sessions."""

    @property
    def first(self) -> float:
        """The mean time to the first result, in ns."""
        return fsum(self.first_ns) / len(self.first_ns)

    @property
    def step(self) -> float:
        """The mean step, in ns."""
        return fsum(self.step_ns) / len(self.step_ns)


def crossings(courses: Sequence[Course], sooner: Shown, faster: Shown) -> Sequence[Crossing]:
    """Return where the best cell changes as the steps become more; none where one cell stays ahead.

    Only differences that are shown count. Of two neighbours on the envelope the later starter is
    left out where it is not shown to step faster, the earlier one where the later is not shown to
    start later.

    Args:
        courses: cells that were judged as one table, all of the same sessions.
        sooner: pairs whose first cell is shown to have its first result sooner.
        faster: pairs whose first cell is shown to step faster.
    """
    shown: list[Course] = []
    between: list[Crossing] = []
    for course in _envelope(courses):
        while True:
            if not shown:
                shown.append(course)
                break
            last = shown[-1]
            crossing = _crossing(last, course) if (course.name, last.name) in faster else None
            if crossing is None:
                break
            if (last.name, course.name) in sooner:
                shown.append(course)
                between.append(crossing)
                break
            shown.pop()
            if between:
                between.pop()
    return between


def _envelope(courses: Sequence[Course]) -> Sequence[Course]:
    """Return the cells that are done first with some number of steps, fewest steps first."""
    best = min(courses, key=lambda one: (one.first, one.step))
    envelope = [best]
    while faster := [one for one in courses if one.step < best.step]:
        # Where two cross the best at once, the one that steps faster is ahead from there.
        best = min(faster, key=lambda one: ((one.first - best.first) / (best.step - one.step), one.step))
        envelope.append(best)
    return envelope


def _crossing(before: Course, after: Course) -> Crossing | None:
    """Return where a later starter overtakes; None where its steps are not told from the other's."""
    saved = [a - b for a, b in zip(before.step_ns, after.step_ns, strict=True)]
    later = [b - a for a, b in zip(before.first_ns, after.first_ns, strict=True)]
    found = ratio_of_means(saved, later)
    if found is None or fsum(saved) <= 0:
        return None
    # The first step is a part of the first result; one step is the least there is.
    steps, low, high = (1 + max(one, 0.0) for one in found)
    return Crossing(before=before.name, after=after.name, steps=steps, ci95=(low, high))
