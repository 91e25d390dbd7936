"""Comparisons in words and a table: ratios, verdicts, ties grouped, what was not comparable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from fwprof.metrics import metric_of
from fwprof.records.result import LABELS
from fwprof.report import figures
from fwprof.report.equivalence import equivalence_rows
from fwprof.report.layout import Facts, Section
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, Comparison, RunSummary, Verdict
    from fwprof.report.names import CellNames

_NO_VERDICT = "no verdict"
_PHASES = ("forward_time", "backward_time", "optimizer_time")
_WORDS = {"bytes": {"faster": "smaller", "slower": "larger"}} | {
    unit: {"faster": "better", "slower": "worse"} for unit in ("percent", "uJ/step", "mW")
}
"""Unit → how a verdict is printed of a metric that is no speed."""


def comparison_sections(summary: RunSummary, names: CellNames) -> list[Section]:
    """Say how the cells of one run differ; nothing for a run without comparisons."""
    if not summary.comparisons:
        return []
    cells = {cell.id: cell for cell in summary.cells}
    shown = _worth_a_row(summary.comparisons, summary.cells)
    # Models of the user's own stand beside each other: then the workload is part of a cell's name.
    is_mixed = any(cells[one.a].workload != cells[one.b].workload for one in shown)
    table = comparison_table(
        shown,
        lambda cell_id: names.short(cell_id, without=() if is_mixed else ("workload",)),
        group=(lambda cell_id: cells[cell_id].workload)
        if "workload" in names.varying and not is_mixed
        else None,
    )
    rows = [
        *_verdict_rows(summary.comparisons, names),
        *reasons([one for one in summary.comparisons if one.metric == "step_time" or one in shown], names),
        *equivalence_rows(summary.cells, names),
    ]
    return [table, Facts(tuple(rows))]


def _worth_a_row(comparisons: Sequence[Comparison], cells: Sequence[CellSummary]) -> list[Comparison]:
    """Keep what a person reads of all pairs; JSON holds every one.

    Two cells: their step, and the phases that have a ratio. More that were judged together: each
    over the fastest, in the order of their steps. Pairs that cannot be compared are told in words,
    unless there is nothing else.
    """
    steps = [one for one in comparisons if one.metric == "step_time"]
    if len({(one.a, one.b) for one in comparisons}) == 1:
        return [one for one in comparisons if one in steps or (one.ratio and one.metric in _PHASES)]
    times = {
        cell.id: metric.p50 or 0.0 for cell in cells if (metric := cell.metrics.get("step_time")) is not None
    }
    order = [cell.id for cell in cells]
    shown: list[Comparison] = []
    for members in _judged_together(steps):
        fastest, *others = sorted(members, key=lambda cell: (times.get(cell, 0.0), order.index(cell)))
        over = {}
        for one in steps:
            if fastest in (one.a, one.b) and one.ratio is not None:
                turned = one if one.a == fastest else _turned(one)
                over[turned.b] = turned
        shown += [over[cell] for cell in others if cell in over]
    return shown or steps


def _judged_together(steps: Sequence[Comparison]) -> list[set[str]]:
    """Return the sets of cells that are connected by ratios."""
    sets: list[set[str]] = []
    for one in steps:
        if one.ratio is not None:
            joined = [each for each in sets if each & {one.a, one.b}]
            sets = [each for each in sets if each not in joined]
            sets.append({one.a, one.b}.union(*joined))
    return sets


def _turned(one: Comparison) -> Comparison:
    """Return the comparison of a over b."""
    assert one.ratio is not None
    verdicts: dict[str, Verdict] = {"faster": "slower", "slower": "faster"}
    return msgspec.structs.replace(
        one,
        a=one.b,
        b=one.a,
        ratio=1 / one.ratio,
        ci95=None if one.ci95 is None else (1 / one.ci95[1], 1 / one.ci95[0]),
        verdict=verdicts.get(one.verdict, one.verdict),
    )


def comparison_table(
    comparisons: Sequence[Comparison],
    name: Callable[[str], str],
    group: Callable[[str], str] | None = None,
) -> Table:
    """Lay out ratios: each row says how `b` stands to `a`.

    Args:
        comparisons: what to show.
        name: cell id → what to call it.
        group: cell id → the workload that comes first in its row; None: no such column.
    """
    has_metric = len({one.metric for one in comparisons}) > 1
    metric = comparisons[0].metric.replace("_", " ") if comparisons and not has_metric else "ratio"
    columns = [Column("workload", "left", is_key=True)] if group else []
    columns += [Column("metric", "left", is_key=True)] if has_metric else []
    columns += [
        Column(f"{metric} of", "left", is_key=True),
        Column("over that of", "left", is_key=True),
        Column("ratio"),
        Column("95 % interval"),
        Column("verdict", "left"),
        Column("noise floor", starts_part=True),
    ]
    rows = []
    for one in comparisons:
        row = [group(one.a)] if group else []
        row += [one.metric.replace("_", " ")] if has_metric else []
        row += [name(one.b), name(one.a), *judged(one)]
        rows.append(tuple(row))
    return Table(columns=tuple(columns), rows=tuple(rows), gutter=" ")


def verdict_of(one: Comparison) -> str:
    """Return the verdict as it is printed; too few processes give none."""
    if one.verdict == "one process" or "few_sessions" in one.labels:
        return _NO_VERDICT
    return _WORDS.get(metric_of(one.metric).unit, {}).get(one.verdict, one.verdict)


def judged(one: Comparison) -> tuple[str, str, str, str]:
    """Return ratio, interval, verdict and noise floor as they are printed."""
    floor = "unknown" if one.noise_floor is None else f"±{figures.percent(one.noise_floor)}"
    if one.ratio is None:
        return "–", "–", verdict_of(one), floor
    interval = figures.interval(one.ci95, figures.Unit("", 1.0)) if one.ci95 else "–"
    return figures.ratio(one.ratio, one.ci95), interval, verdict_of(one), floor


def _verdict_rows(comparisons: Sequence[Comparison], names: CellNames) -> list[tuple[str, str]]:
    rows = [
        f"no difference shown between {figures.listed([names.short(cell) for cell in group])}"
        for group in tied_groups(comparisons)
    ]
    return [("ties" if place == 0 else "", text) for place, text in enumerate(rows)]


def tied_groups(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Return the largest groups of cells among which no step time difference was shown.

    "No difference shown" does not carry over: A may tie with B and B with C while A and C differ;
    such cells stand in two groups (maximal cliques, Bron and Kerbosch, CACM 16(9), 1973).
    """
    ties: dict[str, set[str]] = {}
    for one in comparisons:
        if one.metric == "step_time" and verdict_of(one) == "no difference shown":
            ties.setdefault(one.a, set()).add(one.b)
            ties.setdefault(one.b, set()).add(one.a)
    order = list(ties)
    groups: list[tuple[str, ...]] = []

    def grow(group: set[str], candidates: set[str], done: set[str]) -> None:
        if not candidates and not done:
            groups.append(tuple(sorted(group, key=order.index)))
        for cell in sorted(candidates, key=order.index):
            grow(group | {cell}, candidates & ties[cell], done & ties[cell])
            candidates = candidates - {cell}
            done = done | {cell}

    if order:
        grow(set(), set(order), set())
    return groups


def _in_one_order(why: str) -> str:
    """Write `different X: b and a` as `different X: a and b`, so that it is said once."""
    what, colon, values = why.partition(": ")
    if not (what.startswith("different ") and colon):
        return why
    return f"{what}: {' and '.join(sorted(values.split(' and ')))}"


def reasons(comparisons: Sequence[Comparison], names: CellNames) -> list[tuple[str, str]]:
    """Return each reason once, under the verdict it is for."""
    said: dict[str, None] = {}
    for one in comparisons:
        if one.why:
            verdict = verdict_of(one)
            said[f"{verdict}: {names.in_words(_in_one_order(one.why))}"] = None
        for label in (label for label in one.labels if label != "few_sessions"):  # the reason says it
            said[f"{label}: {LABELS.get(label, '')}".rstrip(": ")] = None
    return [("why" if place == 0 else "", text) for place, text in enumerate(said)]
