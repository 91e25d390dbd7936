"""The table of memory: a row a cell, its peaks and what they are made of, by what each was counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.report.layout import Facts, Line, Section
from fwprof.report.steps import memory_of, value_of
from fwprof.report.table import NOTHING, Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary
    from fwprof.report.names import CellNames

_PEAKS = {
    "host_first_step_peak": "first steps",
    "host_steady_peak": "steady",
    "tensor_first_step_peak": "tensors, first",
    "tensor_peak": "tensors*",
}
_PARTS = {
    "parameter_memory": "parameters",
    "gradient_memory": "gradients",
    "optimizer_memory": "optimizer",
    "activation_memory": "activations*",
}
_COUNTED = {"tensor_peak": "* tensors", "activation_memory": "* activations"}
"""Metrics whose basis differs from framework to framework, so that it is told."""


def memory_sections(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Return the table of the cells whose memory was looked at closer than its total; nothing without."""
    wanted = (*_PEAKS, *_PARTS)
    read = [cell for cell in cells if any(value_of(cell, name) is not None for name in wanted)]
    if not read:
        return []
    shown = [name for name in wanted if any(value_of(cell, name) is not None for cell in read)]
    keys = [title for title in names.TITLES if title in names.varying and title != "batch"] or ["workload"]
    titles = {**_PEAKS, **_PARTS}
    columns = [
        *(Column(key, "left", is_key=True) for key in keys),
        Column("total = import + work", "left"),
        *(
            Column(titles[name], starts_part=name in ("tensor_first_step_peak", "parameter_memory"))
            for name in shown
        ),
    ]
    rows = [
        (
            *(names.part(cell.id, key) for key in keys),
            memory_of(cell),
            *(_size(value_of(cell, name)) for name in shown),
        )
        for cell in read
    ]
    return [
        Table(columns=tuple(columns), rows=tuple(rows), gutter=" "),
        *_counted(read, names),
        Line(""),
    ]


def _size(value: float | None) -> str:
    return NOTHING[0] if value is None else figures.size(value)


def _counted(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Say by what the figures were counted that are never compared."""
    rows: list[tuple[str, str]] = []
    for metric, title in _COUNTED.items():
        owners: dict[str, list[str]] = {}
        for cell in cells:
            found = cell.metrics.get(metric)
            if found is not None and found.basis and value_of(cell, metric) is not None:
                owners.setdefault(found.basis, []).append(cell.id)
        for place, (basis, who) in enumerate(owners.items()):
            of = names.which(who, [cell.id for cell in cells])
            rows.append((title if place == 0 else "", f"{of}: {basis}" if of else basis))
    return [Facts(tuple(rows))] if rows else []
