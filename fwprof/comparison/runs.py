"""Two stored runs: which cells are the same experiment, and did it become faster or slower.

Owns the matching of cells, by everything but versions and environment, and the comparison of
sessions that are not paired. The noise floor knows noise within a run: what a machine does between
two days is not in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

import msgspec

from fwprof.comparison.labels import disturbed_sessions
from fwprof.comparison.pairs import STEP, comparison_of, fault_of, traits_of
from fwprof.comparison.rule import (
    MIN_SESSIONS,
    Judgement,
    conclude,
    not_comparable,
    one_process,
    too_few,
    undecided,
)
from fwprof.comparison.series import SPREAD, TERMS, session_values, sessions_of
from fwprof.comparison.training import TO_TARGET
from fwprof.metrics import METRICS
from fwprof.records import CellPlan, CellResult, Comparison, RunResult
from fwprof.statistics import holm, noise_floor, percentile_interval, resampled_medians, welch_interval

MEASURED = tuple(name for name, metric in METRICS.items() if metric.better != "neither")
"""Metrics that can become better or worse."""


@dataclass(frozen=True)
class Match:
    """The same cell in two runs."""

    plans: tuple[CellPlan, CellPlan]
    cells: tuple[CellResult, CellResult]


def compare_matches(
    a: RunResult, b: RunResult, metrics: Sequence[str] | None, stored: Mapping[str, Collection[float]]
) -> Sequence[Comparison]:
    """Return how every cell of run b differs from the same cell of run a.

    Args:
        a: the run before.
        b: the run after.
        metrics: names of `fwprof.metrics`; None: the step time, and what else both have a value of.
        stored: metric → |ln r| of earlier A/A sessions on this machine.
    """
    matches, lonely = _match(a, b)
    cores = (a.machine.cores, b.machine.cores)
    comparisons = []
    for metric in MEASURED if metrics is None else metrics:
        judged = _judge_all(matches, metric, _barrier(a, b), stored.get(metric, ()), cores)
        pairs = [(match.cells, judgement) for match, judgement in zip(matches, judged, strict=True)]
        pairs += [((cell, cell), not_comparable(why)) for cell, why in lonely]
        comparisons += [
            comparison_of(metric, before, after, judgement)
            for (before, after), judgement in pairs
            # Unasked, one line says that two cells cannot be compared: the step's.
            if metrics is not None or metric == STEP or judgement.verdict != "not comparable"
        ]
    return comparisons


def _barrier(a: RunResult, b: RunResult) -> str | None:
    if a.machine.fingerprint != b.machine.fingerprint:
        return f"different machines: {a.machine.processor} and {b.machine.processor}"
    return None


def _identity(plan: CellPlan, cell: CellResult) -> str:
    """Return what makes two cells of two runs the same experiment."""
    choice = msgspec.structs.replace(plan.choice, environment=None)
    described = (cell.description.mode, cell.description.backend) if cell.description else None
    traits = (plan.workload.name, *traits_of(plan, cell).values())
    return repr((traits, choice, described, plan.device.kind, plan.device.name, plan.threads))


def _match(a: RunResult, b: RunResult) -> tuple[Sequence[Match], Sequence[tuple[CellResult, str]]]:
    matches, lonely = [], []
    left = dict(_experiments(b))
    for identity, (plan, cell) in _experiments(a):
        other = left.pop(identity, None)
        if other is None:
            lonely.append((cell, f"{cell.id} is in the first run only"))
        else:
            matches.append(Match(plans=(plan, other[0]), cells=(cell, other[1])))
    lonely += [(cell, f"{cell.id} is in the second run only") for _, cell in left.values()]
    return matches, lonely


def _experiments(run: RunResult) -> Iterator[tuple[tuple[str, int], tuple[CellPlan, CellResult]]]:
    """Yield the cells of a run by identity; cells that differ in environment alone are numbered."""
    cells = {cell.id: cell for cell in run.cells}
    seen: dict[str, int] = {}
    for plan in run.plan.cells():
        if plan.id in cells:
            identity = _identity(plan, cells[plan.id])
            seen[identity] = seen.get(identity, -1) + 1
            yield (identity, seen[identity]), (plan, cells[plan.id])


def _judge_all(
    matches: Sequence[Match],
    metric: str,
    barrier: str | None,
    stored: Collection[float],
    cores: tuple[int, int],
) -> Sequence[Judgement]:
    """Judge one metric of all matched cells at once."""
    values = [
        [_values(*side, metric) for side in zip(match.cells, match.plans, cores, strict=True)]
        for match in matches
    ]
    faults = [barrier or _why_not(match, metric, pair) for match, pair in zip(matches, values, strict=True)]
    tests = {
        index: welch_interval([log(value) for value in pair[0]], [log(value) for value in pair[1]])
        for index, pair in enumerate(values)
        if faults[index] is None and min(map(len, pair)) > 1
    }
    able = [index for index in tests if min(map(len, values[index])) >= MIN_SESSIONS]
    stands = dict(zip(able, holm([tests[index][3] for index in able]), strict=True))
    judged = []
    for index, (match, pair) in enumerate(zip(matches, values, strict=True)):
        fewest = min(map(len, pair))
        if (fault := faults[index]) is not None:
            judged.append(not_comparable(fault))
        elif fewest == 1:
            judged.append(_judge_single(match, metric, pair))
        elif index not in stands:
            judged.append(undecided(tests[index][:3], too_few(fewest)))
        else:
            judged.append(
                conclude(
                    tests[index][:3],
                    is_separated=stands[index],
                    floor=noise_floor(stored, fewest),
                    evidence=f"{len(pair[0])} and {len(pair[1])} sessions, {len(able)} cells judged at once",
                    better=METRICS[metric].better,
                )
            )
    return judged


def _values(cell: CellResult, plan: CellPlan, cores: int, metric: str) -> Sequence[float]:
    values = session_values(cell, plan, metric)
    if metric == SPREAD:
        disturbed = disturbed_sessions(cell, cores)
        values = {number: value for number, value in values.items() if number not in disturbed}
    return list(values.values())


def _why_not(match: Match, metric: str, values: Sequence[Sequence[float]]) -> str | None:
    if metric == TO_TARGET:
        return f"{TO_TARGET} counts whole epochs to a target that is no part of the cell: it is only shown"
    for cell, side in zip(match.cells, values, strict=True):
        if fault := fault_of(cell):
            return fault
        if not side:
            return f"there is no {metric} of {cell.id}"
        if min(side) <= 0:
            return f"{metric} of {cell.id} is not above zero in every session"
    before, after = (plan.workload for plan in match.plans)
    if before.spec != after.spec or before.parameter_count != after.parameter_count:
        return f"workload {before.name} was changed between the runs"
    return None


def _judge_single(match: Match, metric: str, values: Sequence[Sequence[float]]) -> Judgement:
    """Give the ratio of two cells of which one ran in one process only."""
    means = [sum(map(log, side)) / len(side) for side in values]
    interval = None
    if metric in TERMS and all(len(side) == 1 for side in values):
        interval = _single_interval(match, metric)
    return one_process(means[1] - means[0], interval)


def _single_interval(match: Match, metric: str) -> tuple[float, float] | None:
    import numpy

    sides = []
    for seed, cell in enumerate(match.cells):
        (session,) = sessions_of(cell).values()
        rows = [session.column(program, session.rounds()) for program in TERMS[metric]]
        # Two runs share no round: each is resampled by a seed of its own.
        sides.append(resampled_medians(rows, seed=seed) @ list(TERMS[metric].values()))
    if min(side.min() for side in sides) <= 0:
        return None
    return percentile_interval(numpy.log(sides[1] / sides[0]))
