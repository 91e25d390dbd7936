"""Loops through the frameworks' own data pipelines: what an epoch takes, and what waiting for data adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, MetricValue
    from fwprof.report.names import CellNames

_NOTE = (
    "Stall: what waiting for data adds to a step, over the same steps on staged batches beside it. "
    "Memory: of the whole process group; file pages that it maps count."
)


def pipeline_sections(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Say what the loops found; nothing where there were none."""
    looped = [cell for cell in cells if cell.pipeline is not None]
    if not looped:
        return []
    keys = [title for title in names.TITLES if title in names.varying and title != "batch"]
    if "workload" not in keys:
        keys.insert(0, "workload")
    columns = [Column(key, "left", is_key=True) for key in keys]
    columns += [
        Column("batch"),
        Column("data pipeline", "left"),
        Column("epoch"),
        Column("samples/s"),
        Column("stall a step"),
        Column("memory", starts_part=True),
        Column("data"),
    ]
    rows = [(*(names.part(cell.id, key) for key in keys), *_row(cell)) for cell in looped]
    said = [_NOTE, *_cut(looped, names)]
    return [Table(columns=tuple(columns), rows=tuple(rows), gutter=" "), Line(" ".join(said)), Line("")]


def _row(cell: CellSummary) -> tuple[str, ...]:
    assert cell.pipeline is not None
    epoch, rate = cell.metrics["pipeline_epoch_time"], cell.metrics["pipeline_throughput"]
    peak = cell.metrics["pipeline_peak"].value
    return (
        "–" if cell.batch_size is None else str(cell.batch_size),
        cell.pipeline.basis,
        "–" if epoch.p50 is None else figures.duration(epoch.p50, epoch.ci95),
        "–" if rate.p50 is None else figures.count(rate.p50, rate.ci95),
        _stall(cell.metrics["data_stall"]),
        figures.NOT_MEASURED if peak is None else figures.size(peak),
        figures.size(cell.pipeline.data_bytes),
    )


def _stall(metric: MetricValue) -> str:
    if metric.p50 is None:
        return "–"
    unit = figures.step_unit(abs(metric.p50))
    if metric.ci95 and metric.ci95[0] <= 0:
        # Neighbours of the loop may slow its twin down: then only a bound is known.
        unit = figures.step_unit(max(metric.ci95[1], 1.0))
        bound = figures.upper_bound(metric.ci95[1], unit)
        return f"{bound} {unit.name}" if metric.ci95[1] > 0 else bound
    return f"{figures.scaled(metric.p50, metric.ci95, unit)} {unit.name}"


def _cut(cells: Sequence[CellSummary], names: CellNames) -> list[str]:
    """Say which loops were shorter than an epoch."""
    owners: dict[tuple[int, int], list[str]] = {}
    for cell in cells:
        assert cell.pipeline is not None
        steps = [loop.steps for loop in cell.pipeline.loops if loop.staged_ns is not None]
        if steps and min(steps) < cell.pipeline.epoch_steps:
            owners.setdefault((min(steps), cell.pipeline.epoch_steps), []).append(names.short(cell.id))
    return [
        f"Loops of {steps} of {whole} steps (an epoch is told from them): {figures.listed(who)}."
        for (steps, whole), who in owners.items()
    ]
