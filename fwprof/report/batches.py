"""The largest batches that train in the memory that was given, and why no larger ones were tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.table import NOTHING, Column, Table

if TYPE_CHECKING:
    from fwprof.records import BatchSearch, CellSummary
    from fwprof.report.names import CellNames


def batch_sections(cells: Sequence[CellSummary], names: CellNames, budget: int | None) -> list[Section]:
    """Say what the searches found; nothing where there were none."""
    searched = [(cell, cell.largest_batch) for cell in cells if cell.largest_batch is not None]
    if not searched or budget is None:
        return []
    keys = [title for title in names.TITLES if title in names.varying and title != "batch"] or ["workload"]
    columns = [Column(key, "left", is_key=True) for key in keys]
    columns += [
        Column(f"largest batch in {figures.size(budget)}"),
        Column("takes"),
        Column("too large"),
        Column("takes"),
        Column("processes"),
    ]
    rows = [
        (*(names.part(cell.id, key) for key in keys), *_row(search, search.largest, search.too_large))
        for cell, search in searched
    ]
    said = ["A few training steps on one batch, in a fresh process for each size."]
    said += [f"{names.short(cell.id)}: {search.ended}." for cell, search in searched if search.ended]
    return [Table(columns=tuple(columns), rows=tuple(rows), gutter=" "), Line(" ".join(said)), Line("")]


def _row(search: BatchSearch, *sizes: int | None) -> tuple[str, ...]:
    cells: list[str] = []
    for size in sizes:
        tried = next((one for one in search.tried if one.batch_size == size), None)
        peak = tried.peak.value if tried and tried.peak else None
        fate = tried.fate.replace("_", " ") if tried else NOTHING[0]
        cells += [NOTHING[0] if size is None else str(size), fate if peak is None else figures.size(peak)]
    return (*cells, str(len(search.tried)))
