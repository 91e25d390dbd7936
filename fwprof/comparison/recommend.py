"""What the verdicts of a run recommend, scenario by scenario.

Owns the scenarios and the wording of evidence (docs/decisions/015). Recommends only from verdicts,
and only among cells that were shown to compute the same: one process a cell, or too few sessions,
recommend nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import log

from fwprof.comparison.amortise import Course, crossings
from fwprof.comparison.batches import recommend_largest
from fwprof.comparison.pairs import STEP
from fwprof.comparison.rule import MIN_SESSIONS
from fwprof.comparison.series import FIRST_RESULT, SPREAD, session_values
from fwprof.metrics import METRICS
from fwprof.records import CellSummary, Comparison, Crossing, Recommendation, RunResult

AMORTISED = "after compile is amortised"
CHECKED = ("reference", "equivalent")
UNITS: Mapping[str, Sequence[tuple[float, str]]] = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes")),
    "percent": ((1, "%"),),
}

Judged = Mapping[tuple[str, str], Comparison]


@dataclass(frozen=True)
class Scenario:
    """A question that one metric answers: which cell is best at it."""

    title: str
    metrics: tuple[str, ...]
    """The first that every cell of the table has a value of decides."""
    lead: str
    """What the best is to the others: `ahead of`."""
    verb: str
    """What the nearest of the others does: it `takes` 1.2 ×."""
    worse: str
    """What those are that somebody beats."""


MEMORY = ("device_process_memory", "host_peak")
SCENARIOS = (
    Scenario("fastest training", (STEP,), "ahead of", "takes", "slower"),
    # The memory of a device is what runs short there; the host's is compared where no device has its own.
    Scenario("resource-limited", MEMORY, "below", "needs", "larger"),
    Scenario("quickest first result", (FIRST_RESULT,), "ahead of", "takes", "later"),
    Scenario("steadiest", (SPREAD,), "below", "spreads", "less steady"),
)


def recommend(
    result: RunResult, cells: Sequence[CellSummary], comparisons: Sequence[Comparison]
) -> Sequence[Recommendation]:
    """Answer every scenario for each set of cells whose steps were judged together.

    Where no single cell is shown to be the best, all that no other beats are named; where a scenario
    was measured and could not be judged, none is, and the evidence says why.
    """
    known = {cell.id: cell for cell in cells}
    judged = _judged(comparisons, STEP, known)
    found = []
    for table in _tables(pair for pair in judged if all(map(_is_checked, (known[one] for one in pair)))):
        neighbours = dict.fromkeys(chain.from_iterable(pair for pair in judged if set(pair) & set(table)))
        unchecked = [one for one in neighbours if one not in table]
        members = {name: known[name] for name in table}
        for scenario in SCENARIOS:
            if (answer := _answer(scenario, members, unchecked, comparisons)) is not None:
                found.append(answer)
            if scenario.metrics == (FIRST_RESULT,):
                found += _amortised(result, members, comparisons)
            if scenario.metrics == MEMORY and (budget := result.plan.request.find_max_batch):
                found += filter(None, [recommend_largest(_quantity(budget, "bytes"), members)])
    return found


def _is_checked(cell: CellSummary) -> bool:
    return cell.equivalence.status in CHECKED


def _judged(comparisons: Iterable[Comparison], metric: str, cells: Mapping[str, CellSummary]) -> Judged:
    """Return the pairs of some cells of which the rule said something."""
    return {
        (one.a, one.b): one
        for one in comparisons
        if one.metric == metric
        and {one.a, one.b} <= cells.keys()
        and one.verdict not in ("not comparable", "one process")
        and "few_sessions" not in one.labels
    }


def _tables(pairs: Iterable[tuple[str, str]]) -> Sequence[Sequence[str]]:
    """Return the sets of cells that pairs connect."""
    tables: list[list[str]] = []
    for pair in pairs:
        joined = [table for table in tables if not set(pair).isdisjoint(table)]
        tables = [table for table in tables if table not in joined]
        tables.append(list(dict.fromkeys(chain(*joined, pair))))
    return tables


def _beaten(judged: Judged) -> set[str]:
    return {loser for _, loser in _better(judged)}


def _better(judged: Judged) -> set[tuple[str, str]]:
    """Return (winner, loser) of every pair with a verdict."""
    turned = {(a, b): (b, a) for (a, b), one in judged.items() if one.verdict == "faster"}
    return set(turned.values()) | {pair for pair, one in judged.items() if one.verdict == "slower"}


def _answer(
    scenario: Scenario,
    cells: Mapping[str, CellSummary],
    unchecked: Sequence[str],
    comparisons: Sequence[Comparison],
) -> Recommendation | None:
    """Name the best of a table, or all that nobody beats; None where nothing was measured."""
    metric = next(
        (name for name in scenario.metrics if all(_value(cell, name) is not None for cell in cells.values())),
        scenario.metrics[-1],
    )
    compared = [one for one in comparisons if one.metric == metric and {one.a, one.b} <= cells.keys()]
    judged = _judged(compared, metric, cells)
    if not judged:
        if not compared:
            return None
        why = f"cannot be said: {compared[0].why}"
        return Recommendation(
            scenario=scenario.title, choice=(), evidence=why, metrics=(metric,), among=tuple(cells)
        )
    table = [name for name in cells if any(name in pair for pair in judged)]
    beaten = _beaten(judged)
    choice = tuple(name for name in table if name not in beaten)
    others = len(table) - len(choice)
    # The step's own values stand in the report's table.
    values = [] if metric == STEP else [_in_words(cells[name], metric) for name in choice]
    said = f"{metric.replace('_', ' ')} {' and '.join(values)}" if values else ""
    if len(choice) == 1:
        evidence = ", ".join(filter(None, (said, _lead(scenario, choice[0], judged))))
    else:
        evidence = "no difference shown between them" if others else "no difference shown between any of them"
        evidence += f" ({said})" if said else ""
        evidence += f"; {others} {scenario.worse} than one of them at least" if others else ""
    if left := [name for name in cells if name not in table]:
        evidence += f"; not judged: {', '.join(left)}"
    if unchecked:
        evidence += f"; left out, since not shown to compute the same: {', '.join(unchecked)}"
    return Recommendation(
        scenario=scenario.title, choice=choice, evidence=evidence, metrics=(metric,), among=tuple(cells)
    )


def _lead(scenario: Scenario, best: str, judged: Judged) -> str:
    """Say how far the best is ahead of the nearest of the others."""
    leads = []
    for (a, b), one in judged.items():
        if best in (a, b) and one.ratio is not None and one.ci95 is not None:
            low, high = one.ci95
            leads.append((one.ratio, low, high, b) if a == best else (1 / one.ratio, 1 / high, 1 / low, a))
    ratio, low, high, nearest = min(leads, key=lambda lead: abs(log(lead[0])))
    others = f"all {len(leads)} others" if len(leads) > 1 else "the other"
    return (
        f"{scenario.lead} {others}; the nearest, {nearest}, "
        f"{scenario.verb} {_ratio(ratio)} × ({_ratio(low)}–{_ratio(high)})"
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.3g}"


def _amortised(
    result: RunResult, cells: Mapping[str, CellSummary], comparisons: Sequence[Comparison]
) -> Sequence[Recommendation]:
    """Say for which number of steps which cell is done first; nothing where the start was not judged."""
    steps, starts = _judged(comparisons, STEP, cells), _judged(comparisons, FIRST_RESULT, cells)
    courses = _courses(result, [name for name in cells if any(name in pair for pair in starts)])
    if not courses:
        return []
    found = crossings(courses, _better(starts), _better(steps))
    if found:
        choice = (found[0].before, *(one.after for one in found))
        evidence = _course_in_words(found, {one.name: one for one in courses})
    else:
        beaten = _beaten(steps)
        choice = tuple(name for name in cells if name not in beaten)
        evidence = "no later start is shown to pay, however many the steps"
    return [
        Recommendation(
            scenario=AMORTISED,
            choice=choice,
            evidence=evidence,
            metrics=(FIRST_RESULT, STEP),
            among=tuple(cells),
            crossings=tuple(found),
        )
    ]


def _courses(result: RunResult, names: Sequence[str]) -> Sequence[Course]:
    """Return first results and steps of the sessions that all cells share; none if too few."""
    plans, cells = {plan.id: plan for plan in result.plan.cells()}, {cell.id: cell for cell in result.cells}
    values = {
        name: tuple(session_values(cells[name], plans[name], metric) for metric in (FIRST_RESULT, STEP))
        for name in names
    }
    shared = (
        sorted(set.intersection(*(set(one) for pair in values.values() for one in pair))) if values else []
    )
    if len(shared) < MIN_SESSIONS:
        return []
    return [
        Course(name, [first[at] for at in shared], [step[at] for at in shared])
        for name, (first, step) in values.items()
    ]


def _course_in_words(found: Sequence[Crossing], courses: Mapping[str, Course]) -> str:
    parts = [found[0].before]
    for one in found:
        before, after = courses[one.before], courses[one.after]
        later = _quantity(after.first - before.first, "ns")
        saved = _quantity(before.step - after.step, "ns")
        parts[-1] += f" up to about {_steps(one)}"
        parts.append(f"then {one.after}, which starts {later} later and takes {saved} less per step")
    return ", ".join(parts)


def _steps(crossing: Crossing) -> str:
    """Write a number of steps with its interval, in as few digits as tell its ends apart."""
    numbers = (crossing.steps, *crossing.ci95)
    digits = next((count for count in (2, 3) if len({f"{one:.{count}g}" for one in numbers[1:]}) == 2), 4)
    middle, low, high = (f"{float(f'{one:.{digits}g}'):,.0f}" for one in numbers)
    return f"{middle} steps ({low}–{high})"


def _value(cell: CellSummary, metric: str) -> float | None:
    known = cell.metrics.get(metric)
    return None if known is None else known.value if known.p50 is None else known.p50


def _in_words(cell: CellSummary, metric: str) -> str:
    value, before = _value(cell, metric), _value(cell, "host_import")
    said = "unknown" if value is None else _quantity(value, METRICS[metric].unit)
    if metric == "host_peak" and before is not None:
        said += f" with {_quantity(before, 'bytes')} of import"
    return said


def _quantity(value: float, unit: str) -> str:
    rounded = float(f"{value:.3g}")  # first: 999.9 ms is 1 s
    scale, name = next((one for one in UNITS[unit] if abs(rounded) >= one[0]), UNITS[unit][-1])
    return f"{rounded / scale:.3g} {name}"
