"""Exports figures as CSV: one row a cell and metric; in a folder also every measured block."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fwprof.comparison import summarize
from fwprof.exporters.destination import is_folder, write_new
from fwprof.hookspecs import hookimpl
from fwprof.records import Block, MetricValue, RunResult, RunSummary

FIGURES = (
    "run",
    "cell",
    "workload",
    "framework",
    "backend",
    "mode",
    "device",
    "precision",
    "data",
    "data_size",
    "batch_size",
    "threads",
    "settings_preset",
    "fate",
    "labels",
    "metric",
    "unit",
    "kind",
    "value",
    "ci95_low",
    "ci95_high",
    "p10",
    "count",
    "reason",
    "basis",
)
"""Columns of cells.csv. `value` is the p50 where there is a series; lists are joined by spaces."""

BLOCKS = (
    "run",
    "cell",
    "session",
    "replica",
    "phase",
    "round",
    "order",
    "program",
    "start_ns",
    "step",
    "duration_ns",
    "steps_per_value",
    "loss",
)
"""Columns of blocks.csv: one row a timed value. `phase` is warm_up or timed."""

TRAINING = (
    "run",
    "cell",
    "seed",
    "epoch",
    "split",
    "loss",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "first_loss",
    "duration_ns",
)
"""Columns of training.csv, written where something was trained: one row a seed, epoch and split.
`duration_ns` is the training part of the epoch, or what predicting the validation split took."""

LAYERS = (
    "run",
    "cell",
    "layer",
    "kind",
    "output_shape",
    "parameters",
    "parameter_bytes",
    "activation_bytes",
    "forward_flops",
    "flops",
    "traffic_bytes",
    "is_fusible",
    "fused_by",
    "program",
    "value",
    "ci95_low",
    "ci95_high",
    "count",
    "reason",
)
"""Columns of layers.csv, written where layers were timed alone: one row a layer and program. A row
without a layer is the whole model; `value` is the p50, ns a step."""

Row = Sequence[object]


@hookimpl
def export(result: RunResult, destination: Path) -> Sequence[Path]:
    """Write cells.csv, blocks.csv and what else was measured into a folder, or the figures into a file."""
    summary = summarize(result, "")
    figures = _text(FIGURES, _figures(summary))
    if not is_folder(destination):
        return write_new({destination: figures})
    blocks = _text(BLOCKS, _blocks(result))
    files = {destination / "cells.csv": figures, destination / "blocks.csv": blocks}
    if any(cell.training for cell in result.cells):
        files[destination / "training.csv"] = _text(TRAINING, _training(result))
    if any(cell.layers for cell in summary.cells):
        files[destination / "layers.csv"] = _text(LAYERS, _layers(summary))
    return write_new(files)


def _figures(summary: RunSummary) -> Iterator[Row]:
    for cell in summary.cells:
        for name, metric in cell.metrics.items():
            low, high = metric.ci95 or (None, None)
            yield (
                summary.run,
                cell.id,
                cell.workload,
                cell.framework,
                cell.backend,
                cell.mode,
                cell.device,
                cell.precision,
                cell.data,
                cell.data_size,
                cell.batch_size,
                cell.threads,
                cell.settings_preset,
                cell.fate,
                " ".join(cell.labels),
                name,
                metric.unit,
                metric.kind,
                metric.value if metric.p50 is None else metric.p50,
                low,
                high,
                metric.p10,
                metric.count,
                metric.reason,
                metric.basis,
            )


def _blocks(result: RunResult) -> Iterator[Row]:
    for cell in result.cells:
        for measurement in cell.measurements:
            head = (result.plan.run_id, cell.id, measurement.session, int(measurement.replica))
            for phase, blocks in (("warm_up", measurement.warm_up), ("timed", measurement.blocks)):
                for block in blocks:
                    yield from ((*head, phase, *row) for row in _steps(block))


def _steps(block: Block) -> Iterator[Row]:
    for step, duration_ns in enumerate(block.step_ns):
        yield (
            block.round,
            block.order,
            block.program,
            block.start_ns,
            step,
            duration_ns,
            block.steps_per_value,
            block.loss,
        )


def _training(result: RunResult) -> Iterator[Row]:
    for cell in result.cells:
        times = {(one.seed, one.epoch): one for one in cell.epoch_times}
        for point in cell.training:
            one = times.get((point.seed, point.epoch))
            duration_ns = None
            if one is not None:
                duration_ns = one.train_ns if point.split == "train" else sum(one.predict_ns)
            yield (
                result.plan.run_id,
                cell.id,
                point.seed,
                point.epoch,
                point.split,
                point.loss,
                point.accuracy,
                point.precision,
                point.recall,
                point.f1,
                point.first_loss,
                duration_ns,
            )


def _layers(summary: RunSummary) -> Iterator[Row]:
    for cell in summary.cells:
        if (table := cell.layers) is None:
            continue
        for row in table.rows:
            facts = (
                row.path,
                row.kind,
                "x".join(map(str, row.output_shape)),
                row.parameters,
                row.parameter_bytes,
                row.activation_bytes,
                row.forward_flops,
                row.flops,
                row.traffic_bytes,
                int(row.is_fusible),
                table.fused_by,
            )
            for name in ("forward", "backward", "forward_backward"):
                yield (summary.run, cell.id, *facts, name, *_time(getattr(row, name)))
        for name in ("forward", "forward_backward"):
            whole = getattr(table, f"whole_{name}")
            yield (summary.run, cell.id, *[""] * 10, table.fused_by, name, *_time(whole))


def _time(metric: MetricValue) -> Row:
    low, high = metric.ci95 or (None, None)
    return metric.p50, low, high, metric.count, metric.reason


def _text(titles: Sequence[str], rows: Iterable[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    return buffer.getvalue()
