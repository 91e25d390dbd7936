"""What meters read of the device: energy, power, how busy and how warm it was; a row a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fwprof.metrics import METRICS
from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.steps import value_of
from fwprof.report.table import NOTHING, Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary
    from fwprof.report.names import CellNames

_TITLES: Mapping[str, str] = {
    "energy": "energy a step",
    "energy_per_sample": "a sample",
    "energy_above_rest": "step above rest",
    "rest_power": "at rest",
    "power": "power",
    "utilisation": "busy",
    "throttled": "throttled",
    "temperature": "warmest",
    "foreign_processes": "others",
}
"""Metric → title of its column, in their order. Memory has a table of its own."""

_WRITE: Mapping[str, Callable[[float], str]] = {
    "uJ/step": figures.energy,
    "uJ/sample": figures.energy,
    "uJ": figures.energy,
    "mW": figures.power,
    "percent": lambda value: figures.percent(value / 100),
    "degC": lambda value: f"{value:.0f} °C",
    "bytes": figures.size,
    "1": figures.count,
}
"""Unit → how it is written; a further one of a meter from outside stands behind its number."""

_NOTE = "Read in passes of their own, in which steps are not timed; the energy is the whole device's."


def resource_sections(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Return the table of what was read on any cell; nothing where nothing was."""
    found = {cell.id: _read(cell) for cell in cells}
    columns = [name for name in _order(cells) if any(name in read for read in found.values())]
    if not columns:
        return []
    keys = [title for title in names.TITLES if title in names.varying] or ["workload"]
    rows = [
        (
            *(names.part(cell.id, key) for key in keys),
            *(found[cell.id].get(name, NOTHING[0]) for name in columns),
        )
        for cell in cells
        if found[cell.id]
    ]
    titles = [Column(key, "left", is_key=True) for key in keys]
    titles += [Column(_TITLES.get(name, name)) for name in columns]
    return [Table(columns=tuple(titles), rows=tuple(rows), gutter=" "), Line(_NOTE), Line("")]


def _order(cells: Sequence[CellSummary]) -> list[str]:
    """Return the names of all that may be shown: the common ones, then those of single plugins."""
    own = {name for cell in cells for name in cell.metrics if _is_own(name)}
    return [*_TITLES, *sorted(own)]


def _is_own(name: str) -> bool:
    """Return whether a metric is a plugin's own; `api_time.fit` is one of the common table."""
    return name.partition(".")[0] not in METRICS


def _read(cell: CellSummary) -> dict[str, str]:
    read = {}
    for name in _order([cell]):
        value = value_of(cell, name)
        if value is None or (_is_own(name) and cell.metrics[name].unit == "bytes"):
            continue
        unit = cell.metrics[name].unit
        read[name] = _WRITE[unit](value) if unit in _WRITE else f"{figures.number(value)} {unit}"
    return read
