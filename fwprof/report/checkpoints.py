"""Checkpoints as a person reads them: a row a format, and what its restore led to.

Owns the wording. Derives nothing: every figure comes from the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.records import CHECKPOINT_PARTS
from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, CheckpointSummary, MetricValue
    from fwprof.report.names import CellNames

_COLUMNS = (
    Column("checkpoint of", "left", is_key=True),
    Column("format", "left", is_key=True),
    Column("save"),
    Column("restore"),
    Column("size"),
    Column("holds", "left"),
    Column("next losses", "left", starts_part=True),
)
_NOTE = (
    "Saved after 5 steps, restored in a fresh process; times are medians of 5 calls, not synced to the disk,"
    " read from the page cache."
)


def checkpoint_sections(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Return the table of formats, with what to know of some of them; nothing where none was measured."""
    asked = [cell for cell in cells if cell.checkpoints]
    if not asked:
        return []
    rows = [_row(cell, one, names) for cell in asked for one in cell.checkpoints]
    notes = dict.fromkeys(
        f"{one.format}: {one.note}." for cell in asked for one in cell.checkpoints if one.note
    )
    return [Table(columns=_COLUMNS, rows=tuple(rows), gutter=" "), *map(Line, (_NOTE, *notes)), Line("")]


def weights_rows(cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    """Say where trained parameters are kept, and what does not travel with them."""
    kept = [
        f"{names.short(cell.id)}: {cell.weights.path}, {figures.size(cell.weights.size_bytes)},"
        f" after {cell.weights.trained}"
        for cell in cells
        if cell.weights is not None
    ]
    if kept:
        kept.append("any framework starts from such a file (--set weights=FILE); no optimizer state is in it")
    return [("weights" if place == 0 else "", text) for place, text in enumerate(kept)]


def _row(cell: CellSummary, one: CheckpointSummary, names: CellNames) -> tuple[str, ...]:
    cost = (cell.metrics.get(f"{name}.{one.format}") for name in ("save_time", "restore_time"))
    size = cell.metrics.get(f"checkpoint_bytes.{one.format}")
    return (
        names.short(cell.id),
        one.format,
        *map(_time, cost),
        "–" if size is None or size.value is None else figures.size(size.value),
        ", ".join(CHECKPOINT_PARTS[part] for part in one.holds),
        _outcome(one),
    )


def _time(metric: MetricValue | None) -> str:
    return "–" if metric is None or metric.p50 is None else figures.duration(metric.p50)


def _outcome(one: CheckpointSummary) -> str:
    if one.next_losses == "bit-equal":
        return "bit-equal"
    if one.next_losses == "not compared":
        return one.why if one.is_sound else f"FAILED: {one.why}"
    by = f"{one.loss_error or 0.0:.0e}"
    if one.next_losses == "within rounding":
        return f"the same within {by}"
    return f"differ by {by}: {one.why}" if one.is_sound else f"DIFFER by {by}: {one.why}"
