"""Every pair of cells of one run: may they be compared, and what does the rule say.

Owns what must be equal between two cells, and which cells are judged as one table. Cells that
share no session (one of them failed early) are never judged from the sessions they do not share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import log

from fwprof.comparison.labels import disturbed_sessions
from fwprof.comparison.rule import (
    MIN_SESSIONS,
    Judgement,
    Pair,
    judge_logs,
    judge_rounds,
    not_comparable,
    one_process,
    too_few,
    undecided,
)
from fwprof.comparison.series import (
    FIRST_RESULT,
    SPREAD,
    TERMS,
    Session,
    batch_size,
    session_values,
    sessions_of,
    shared_rounds,
)
from fwprof.metrics import METRICS
from fwprof.records import CellPlan, CellResult, Comparison, Group, RunResult
from fwprof.statistics import mean_interval, median, percentile_interval, resampled_medians
from fwprof.workloads.data.sources import data_name

STEP = "step_time"
PRESET = "settings preset"
PHASES = ("forward_time", "backward_time", "optimizer_time")
REPEATED = (FIRST_RESULT, "host_peak", "device_process_memory", SPREAD)
"""Metrics of which each fresh process has one value."""
COMPARED = (STEP, *PHASES, *REPEATED)
"""Metrics that are compared: the step and its phases always, the rest where a cell has a value."""


MARKS_AGREE = 0.15
"""Of each phase: where marks inside a whole graph's step say the same, its phases are pieces after all."""


@dataclass(frozen=True)
class Member:
    """One cell of a group, with all that a comparison reads of it."""

    plan: CellPlan
    cell: CellResult
    sessions: Mapping[int, Session]
    presets: frozenset[str]
    """Its own, and those under which it would have been measured again without a difference."""
    disturbed: Collection[int] = ()
    """Sessions in which processes outside the run used the CPU."""

    @property
    def is_whole_graph(self) -> bool:
        """Whether the framework compiles each program as one graph."""
        return self.cell.description is not None and "whole_graph" in self.cell.description.labels

    @property
    def has_warm_cache(self) -> bool:
        """Whether compiled code came from an earlier process."""
        return self.cell.description is not None and "warm_cache" in self.cell.description.labels

    def values(self, metric: str) -> Mapping[int, float]:
        """Return one value a session; of the spread, of sessions that nobody disturbed.

        A block that had to share the CPU is slower: in step times that is noise, here it is the value.
        """
        values = session_values(self.cell, self.plan, metric, self.sessions)
        if metric != SPREAD:
            return values
        return {number: value for number, value in values.items() if number not in self.disturbed}

    @property
    def marks_agree(self) -> bool:
        """Whether marks inside the step give each phase as the differences of programs do."""
        apart = []
        for metric in PHASES:
            phase = metric.removesuffix("_time")
            marked = [ns for one in self.cell.measurements for ns in one.split.get(phase, ())]
            values = [value for one in self.sessions.values() if (value := one.value(metric))]
            if not marked or not values:
                return False
            apart.append(abs(median(marked) / median(values) - 1))
        return max(apart) <= MARKS_AGREE


def compare_cells(result: RunResult, stored: Mapping[str, Collection[float]]) -> Sequence[Comparison]:
    """Return what is known of every pair of cells of every group.

    Args:
        result: one run.
        stored: metric → |ln r| of earlier A/A sessions on this machine.
    """
    cells = {cell.id: cell for cell in result.cells}
    comparisons = []
    for group in result.plan.groups:
        members = _members(group, cells, result.machine.cores)
        for metric in COMPARED:
            if metric in REPEATED and not any(
                session_values(member.cell, member.plan, metric, member.sessions) for member in members
            ):
                continue
            judged = _judge_group(members, metric, stored.get(metric, ()))
            comparisons += [
                comparison_of(metric, members[i].cell, members[j].cell, judged[i, j])
                for i, j in sorted(judged)
            ]
    return comparisons


def _members(group: Group, cells: Mapping[str, CellResult], cores: int) -> Sequence[Member]:
    """Return the cells of a group that stand for themselves."""
    stands_for = {plan.id: {plan.settings_preset} for plan in group.cells}
    for plan in group.cells:
        failure = cells[plan.id].failure if plan.id in cells else None
        if failure is not None and failure.same_as in stands_for:
            stands_for[failure.same_as] |= stands_for.pop(plan.id)
    return [
        Member(
            plan=plan,
            cell=cells[plan.id],
            sessions=sessions_of(cells[plan.id]),
            presets=frozenset(stands_for[plan.id]),
            disturbed=disturbed_sessions(cells[plan.id], cores),
        )
        for plan in group.cells
        if plan.id in cells and plan.id in stands_for
    ]


def comparison_of(metric: str, a: CellResult, b: CellResult, judgement: Judgement) -> Comparison:
    """Return a judgement as the record that people and tools read."""
    why = judgement.why
    unchecked = "not_checked" in (a.equivalence.status, b.equivalence.status)
    if judgement.verdict in ("faster", "slower") and unchecked:
        why += "; whether both compute the same was not checked"
    return Comparison(
        metric=metric,
        a=a.id,
        b=b.id,
        ratio=judgement.ratio,
        ci95=judgement.interval,
        noise_floor=judgement.floor,
        verdict=judgement.verdict,
        why=why,
        labels=judgement.labels,
    )


def fault_of(cell: CellResult) -> str | None:
    """Return why a cell may not be compared with any other."""
    if cell.fate != "ok":
        return f"{cell.id} is {cell.fate}" + (f": {cell.failure.message}" if cell.failure else "")
    if cell.equivalence.status == "not_equivalent":
        difference = cell.equivalence.first_difference
        return f"{cell.id} does not compute the same" + (f": {difference}" if difference else "")
    return None


def traits_of(plan: CellPlan, cell: CellResult) -> Mapping[str, object]:
    """Return what must be equal between two cells of one comparison."""
    return {
        # Models of the user's own are set beside each other by hand: their names say nothing.
        "workload": plan.workload.name if plan.workload.native is None else None,
        "data": _data_of(plan),
        "batch size": batch_size(cell, plan),
        "precision": plan.precision,
        PRESET: plan.settings_preset,
        "world size": plan.world_size,
        "data pipeline": plan.data_pipeline,
        "trainable layers": plan.trainable,
    }


def _data_of(plan: CellPlan) -> str | None:
    """Return what tells the data of two cells apart: their source, and the number that was asked for."""
    if plan.workload.spec is None:
        return None
    return f"{data_name(plan.workload)}, {plan.workload.spec.data.samples or 'all'} samples"


def _why_not(a: Member, b: Member, metric: str) -> str | None:
    for member in (a, b):
        if fault := fault_of(member.cell):
            return fault
        values = member.values(metric)
        if not values and metric == SPREAD and member.disturbed:
            return f"others used the CPU in every session of {member.cell.id}"
        if not values or (metric in TERMS and len(values) < len(member.sessions)):
            return f"{metric} of {member.cell.id} was not measured"
        if min(values.values()) <= 0:
            return f"{metric} of {member.cell.id} is not above zero in every session"
    left, right = traits_of(a.plan, a.cell), traits_of(b.plan, b.cell)
    for name, value in left.items():
        if name == PRESET and a.presets & b.presets:
            continue
        if value != right[name]:
            return f"different {name}: {value} and {right[name]}"
    if metric == FIRST_RESULT and a.has_warm_cache != b.has_warm_cache:
        warm = a if a.has_warm_cache else b
        return f"{warm.cell.id} found compiled code in a cache on disk: its first step is not cold"
    if metric in PHASES and a.is_whole_graph != b.is_whole_graph:
        whole = a if a.is_whole_graph else b
        if not whole.marks_agree:
            return f"{whole.cell.id} compiles whole graphs: its phases are no pieces of its step"
    return None


def _judge_group(
    members: Sequence[Member], metric: str, stored: Collection[float]
) -> Mapping[Pair, Judgement]:
    judged: dict[Pair, Judgement] = {}
    comparable: list[Pair] = []
    for i, j in combinations(range(len(members)), 2):
        if why := _why_not(members[i], members[j], metric):
            # What keeps two steps apart keeps their phases apart: it is said once.
            if metric == STEP or _why_not(members[i], members[j], STEP) is None:
                judged[i, j] = not_comparable(why)
        else:
            comparable.append((i, j))
    for preset in dict.fromkeys(member.plan.settings_preset for member in members):
        for family in _families(
            [pair for pair in comparable if all(preset in members[one].presets for one in pair)]
        ):
            # A pair that both presets hold was judged with the first one's table.
            judged = {**_judge_family(members, family, metric, stored), **judged}
    return judged


def _families(pairs: Sequence[Pair]) -> Sequence[Sequence[int]]:
    """Return the sets of cells that are judged as one table: within a preset all that can be are."""
    families: dict[int, set[int]] = {}
    for i, j in pairs:
        first = next((name for name, family in families.items() if i in family), i)
        families.setdefault(first, {i}).update((i, j))
    return [sorted(family) for family in families.values()]


def _judge_family(
    members: Sequence[Member], family: Sequence[int], metric: str, stored: Collection[float]
) -> Mapping[Pair, Judgement]:
    table, sessions = _table(members, family, metric)
    judged: dict[Pair, Judgement] = {}
    if len(table) > 1:
        judged.update(_judge_together(members, table, metric, sessions, stored))
    for pair in combinations(family, 2):
        if pair not in judged:
            judged[pair] = _judge_alone(members, pair, metric)
    return judged


def _table(
    members: Sequence[Member], family: Sequence[int], metric: str
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the cells that share enough sessions for verdicts, and those sessions.

    Cells with the fewest sessions leave until the rest share enough.
    """
    table = sorted(family, key=lambda index: (-len(members[index].values(metric)), index))
    while len(table) > 1:
        sessions = _shared_sessions(members, table, metric)
        if len(sessions) >= MIN_SESSIONS:
            return sorted(table), sessions
        table.pop()
    return [], []


def _shared_sessions(members: Sequence[Member], indices: Sequence[int], metric: str) -> Sequence[int]:
    numbers = set.intersection(*(set(members[index].values(metric)) for index in indices))
    if metric in REPEATED:
        return sorted(numbers)
    programs = list(TERMS[metric])
    return [
        number
        for number in sorted(numbers)
        if shared_rounds([members[index].sessions[number] for index in indices], programs)
    ]


def _judge_alone(members: Sequence[Member], pair: Pair, metric: str) -> Judgement:
    """Judge a pair outside the table of verdicts: it shares too few sessions."""
    sessions = _shared_sessions(members, pair, metric)
    if not sessions:
        return not_comparable("they share no round of any session")
    judgement = _judge_together(members, pair, metric, sessions)[pair]
    if len(sessions) < MIN_SESSIONS:
        lost = {number for index in pair for number in members[index].disturbed}
        if metric == SPREAD and lost and judgement.verdict != "one process":
            why = f"{len(sessions)} sessions undisturbed by others: a verdict needs {MIN_SESSIONS}"
            judgement = replace(judgement, why=why)
        return judgement
    why = "the cells of its table share too few sessions"
    return replace(judgement, verdict="no difference shown", why=why, floor=None, labels=("few_sessions",))


def _judge_together(
    members: Sequence[Member],
    indices: Sequence[int],
    metric: str,
    sessions: Sequence[int],
    stored: Collection[float] = (),
) -> Mapping[Pair, Judgement]:
    if metric in REPEATED or METRICS[metric].kind == "marginal":
        judged = _judge_values([members[index] for index in indices], metric, sessions, stored)
    else:
        (program,) = TERMS[metric]
        chosen = [[members[index].sessions[number] for index in indices] for number in sessions]
        shared = [shared_rounds(cells, [program]) for cells in chosen]
        judged = judge_rounds(
            [
                [cell.column(program, rounds) for cell in cells]
                for cells, rounds in zip(chosen, shared, strict=True)
            ],
            stored,
        )
    return {(indices[i], indices[j]): judgement for (i, j), judgement in judged.items()}


def _judge_values(
    members: Sequence[Member], metric: str, sessions: Sequence[int], stored: Collection[float]
) -> Mapping[Pair, Judgement]:
    """Judge a metric by one value a session and cell: a difference of programs, or a whole process's."""
    values = [member.values(metric) for member in members]
    logs = [[log(each[number]) for each in values] for number in sessions]
    ratios = {(i, j): [line[j] - line[i] for line in logs] for i, j in combinations(range(len(members)), 2)}
    if len(sessions) >= MIN_SESSIONS:
        return judge_logs(ratios, logs, stored, METRICS[metric].better)
    if len(sessions) > 1:
        why = too_few(len(sessions))
        return {pair: undecided(mean_interval(values), why) for pair, values in ratios.items()}
    (number,) = sessions
    intervals = {
        (i, j): _marginal_interval(members[i].sessions[number], members[j].sessions[number], metric)
        for i, j in ratios
        if metric in TERMS
    }
    return {pair: one_process(ratios[pair][0], intervals.get(pair)) for pair in ratios}


def _marginal_interval(a: Session, b: Session, metric: str) -> tuple[float, float] | None:
    """Return the interval of the log-ratio in one session; None where it reaches zero."""
    import numpy

    terms = TERMS[metric]
    rounds = shared_rounds([a, b], list(terms))
    rows = [cell.column(program, rounds) for cell in (a, b) for program in terms]
    medians = resampled_medians(rows)
    signs = list(terms.values())
    left, right = medians[:, : len(signs)] @ signs, medians[:, len(signs) :] @ signs
    if min(left.min(), right.min()) <= 0:
        return None
    return percentile_interval(numpy.log(right / left))
