"""The table of steps: a row a cell, its time, phases, throughput, memory and start-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.names import CellNames
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, MetricValue
    from fwprof.report.figures import Unit

_MARGINAL = "* marginal: what the gradients, and the update, add."
_STARTUP = ("import_time", "build_time", "first_step_time", "compile_time")


def step_table(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Return the table of the cells that have a step time, with its note; nothing where none has."""
    measured = [cell for cell in cells if p50_of(cell, "step_time") is not None]
    if not measured:
        return []
    units = _step_units(measured)
    keys = [title for title in names.TITLES if title in names.varying and title != "batch"]
    if "workload" not in keys:
        keys.insert(0, "workload")
    columns = [Column(key, "left", is_key=True) for key in keys]
    columns += [
        Column("batch"),
        Column("step p50"),
        Column("95 % interval"),
        Column("= forward", starts_part=True),
        Column("+ backward*"),
        Column("+ update*"),
        Column("samples/s", starts_part=True),
        Column("memory = import + work", "left", starts_part=True),
        Column("import"),
        Column("build"),
        Column("first step"),
        Column("compile"),
    ]
    rows = [
        (
            *(names.part(cell.id, key) for key in keys),
            "–" if cell.batch_size is None else str(cell.batch_size),
            *_times(cell, units[cell.workload]),
            _rate(cell.metrics.get("throughput")),
            memory_of(cell),
            *(_single_time(cell, name) for name in _STARTUP),
        )
        for cell in measured
    ]
    unit = " or ".join(dict.fromkeys(unit.name for unit in units.values()))
    its = ", that of their step" if " or " in unit else ""
    note = Line(f"{_MARGINAL} Intervals and phases in {unit}{its}.")
    return [Table(columns=tuple(columns), rows=tuple(rows), gutter=" "), note, Line("")]


def _step_units(cells: Sequence[CellSummary]) -> dict[str, Unit]:
    """Return one unit a workload: its cells are read beside each other."""
    least: dict[str, float] = {}
    for cell in cells:
        step = p50_of(cell, "step_time") or 0.0
        least[cell.workload] = min(step, least.get(cell.workload, step))
    return {workload: figures.step_unit(step) for workload, step in least.items()}


def _times(cell: CellSummary, unit: Unit) -> tuple[str, ...]:
    step = cell.metrics["step_time"]
    phases = ("forward_time", "backward_time", "optimizer_time")
    return (
        f"{figures.scaled(step.p50 or 0.0, step.ci95, unit)} {unit.name}",
        figures.interval(step.ci95, unit) if step.ci95 else "–",
        *(_phase(cell.metrics.get(name), unit) for name in phases),
    )


def _phase(metric: MetricValue | None, unit: Unit) -> str:
    if metric is None or metric.p50 is None:
        return "–"
    if metric.ci95 and metric.ci95[0] <= 0:
        return figures.upper_bound(metric.ci95[1], unit)
    return figures.scaled(metric.p50, metric.ci95, unit)


def _rate(metric: MetricValue | None) -> str:
    value = None if metric is None else metric.p50 if metric.p50 is not None else metric.value
    return "–" if metric is None or value is None else figures.count(value, metric.ci95)


def memory_of(cell: CellSummary) -> str:
    """Write total = import + work."""
    peak, before = value_of(cell, "host_peak"), value_of(cell, "host_import")
    if peak is None:
        return figures.NOT_MEASURED
    if before is None:
        return figures.size(peak)
    unit = figures.pick_unit(peak, figures.SIZES)
    decimals = figures.decimals_for(peak / unit.scale)
    total, base = round(peak / unit.scale, decimals), round(before / unit.scale, decimals)
    # The work is the difference of what is printed, so that the sum can be followed.
    parts = [figures.rounded(part, decimals) for part in (total, base, total - base)]
    half = round((figures.half_width_of(cell.metrics["host_peak"].ci95) or 0.0) / unit.scale, decimals)
    parts[0] += f" ±{figures.rounded(half, decimals)}" if half else ""
    return "{} = {} + {}".format(*parts) + f" {unit.name}"


def _single_time(cell: CellSummary, name: str) -> str:
    value = value_of(cell, name)
    if value is None:
        return "–"
    # A first step that was no slower than the others compiled nothing.
    return figures.duration(value) if value > 0 else "~ 0"


def p50_of(cell: CellSummary, name: str) -> float | None:
    """Return the p50 of a metric that has rounds."""
    metric = cell.metrics.get(name)
    return None if metric is None else metric.p50


def value_of(cell: CellSummary, name: str) -> float | None:
    """Return a metric's one value, or its p50."""
    metric = cell.metrics.get(name)
    if metric is None:
        return None
    return metric.p50 if metric.value is None else metric.value
