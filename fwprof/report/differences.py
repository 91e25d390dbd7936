"""What changed between two runs: before, after, ratio and verdict of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.report.layout import Facts, Line, Section
from fwprof.report.names import CellNames
from fwprof.report.ranking import judged, reasons
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import Comparison, MetricValue, RunResult, RunSummary

Pair = tuple["RunResult", "RunResult"]
Summaries = tuple["RunSummary", "RunSummary"]


def differences(
    runs: Pair, summaries: Summaries, comparisons: Sequence[Comparison], gates: Sequence[tuple[str, str]] = ()
) -> list[Section]:
    """Say how the second run differs from the first.

    Args:
        runs: before and after.
        summaries: of the two.
        comparisons: ratios of after over before.
        gates: (gate as written, answer).
    """
    before, after = runs
    rows = [("before", _run_line(before)), ("after", _run_line(after)), *_changes(runs, summaries)]
    names = (CellNames(before, summaries[0].cells), CellNames(after, summaries[1].cells))
    sections: list[Section] = [
        Line(f"fwprof: {after.plan.run_id} over {before.plan.run_id}", is_heading=True),
        Facts(tuple(rows)),
    ]
    compared = [one for one in comparisons if one.ratio is not None or one.metric == "step_time"]
    if compared:
        sections.append(_table(compared, summaries, names))
    answers = [("gates" if place == 0 else "", f"{gate}: {said}") for place, (gate, said) in enumerate(gates)]
    sections.append(Facts((*reasons(compared, names[1]), *answers)))
    return sections


def _table(
    comparisons: Sequence[Comparison], summaries: Summaries, names: tuple[CellNames, CellNames]
) -> Table:
    cells = tuple({cell.id: cell for cell in summary.cells} for summary in summaries)
    rows = []
    for one in comparisons:
        in_before, in_after = cells[0].get(one.a), cells[1].get(one.b)
        known = names[1].short(one.b) if in_after else names[0].short(one.a)
        rows.append(
            (
                known,
                one.metric.replace("_", " "),
                _value(in_before.metrics.get(one.metric) if in_before else None),
                _value(in_after.metrics.get(one.metric) if in_after else None),
                *judged(one),
            )
        )
    columns = (
        Column("cell", "left", is_key=True),
        Column("metric", "left", is_key=True),
        Column("before"),
        Column("after"),
        Column("ratio"),
        Column("95 % interval"),
        Column("verdict", "left"),
        Column("noise floor", starts_part=True),
    )
    return Table(columns=columns, rows=tuple(rows), gutter=" ")


def _value(metric: MetricValue | None) -> str:
    value = None if metric is None else metric.value if metric.p50 is None else metric.p50
    if metric is None or value is None:
        return "–"
    if metric.unit == "ns":
        return figures.duration(value, metric.ci95)
    if metric.unit == "bytes":
        return figures.size(value)
    return f"{figures.count(value, metric.ci95)} {metric.unit}"


def _run_line(run: RunResult) -> str:
    created = run.plan.created.replace("T", " ")[:19]
    return f"{run.plan.run_id}   {created} UTC, fwprof {run.plan.fwprof_version}, {run.machine.processor}"


def _changes(runs: Pair, summaries: Summaries) -> list[tuple[str, str]]:
    """Return what else changed: versions and machine, which may be the reason."""
    before, after = (
        {name: version for cell in summary.cells for name, version in cell.versions.items()}
        for summary in summaries
    )
    changed = [
        f"{name} {before.get(name, 'absent')} → {after.get(name, 'absent')}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    if runs[0].machine.fingerprint != runs[1].machine.fingerprint:
        changed.append("the machine")
    elif runs[0].machine.boot_id != runs[1].machine.boot_id:
        changed.append("the machine was restarted")
    return [("changed", ", ".join(changed))] if changed else []
