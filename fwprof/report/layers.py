"""The table of layers: what each counts for, and what it takes alone in every framework side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, LayerRow, MetricValue
    from fwprof.report.names import CellNames

_NOTE = (
    "Each layer alone, forward + backward of a step; stored: activations for the backward pass, at "
    "least. Inside: F and B of the whole model, its loss included, timed beside. Alone over inside: what "
    "layers share when they run together, also caches and waiting; no ranking of layers follows from it."
)


def layer_sections(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Show the layers of each workload; nothing where none were timed."""
    sections: list[Section] = []
    groups: dict[tuple[object, ...], list[CellSummary]] = {}
    for cell in cells:
        if cell.layers is not None:
            # Layers stand side by side where they do the same work: of one workload and batch.
            shapes = tuple((row.kind, row.output_shape) for row in cell.layers.rows)
            groups.setdefault((cell.workload, cell.batch_size, shapes), []).append(cell)
    for found in groups.values():
        sections += _sections(found, names)
    if any(isinstance(section, Table) for section in sections):
        sections.append(Line(_NOTE))
    return [*sections, Line("")] if sections else []


def _sections(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    timed = [cell for cell in cells if cell.layers is not None and not cell.layers.reason]
    first = cells[0].layers
    assert first is not None
    if not first.rows:
        heading = Line(f"layers of {cells[0].workload}:")
        return [heading, *(Line(text) for text in _missing(cells, names))]
    longest = max((row.forward_backward.p50 or 0.0 for cell in timed for row in _rows(cell)), default=0.0)
    unit = figures.step_unit(longest)
    batch = f", batch {cells[0].batch_size}" if cells[0].batch_size else ""
    lines: list[Section] = [Line(f"layers of {cells[0].workload}{batch}, times in {unit.name}:")]
    columns = [
        Column("layer", "left", is_key=True),
        Column("kind", "left", is_key=True),
        Column("output", "left"),
        Column("parameters"),
        Column("MFLOP"),
        Column("stored"),
        *(
            Column(names.short(cell.id, without=("workload",)), starts_part=not place)
            for place, cell in enumerate(timed)
        ),
    ]
    rows = []
    for place, row in enumerate(first.rows):
        counts = (
            row.path,
            row.kind,
            "×".join(map(str, row.output_shape)),
            figures.count(row.parameters) if row.parameters else "–",
            figures.number(row.flops / 1e6) if row.flops else "–",
            figures.size(row.activation_bytes) if row.activation_bytes else "–",
        )
        rows.append((*counts, *(_times(cell, _rows(cell)[place], unit) for cell in timed)))
    for title, names_of in (
        ("sum alone", ("sum_forward", "sum_forward_backward")),
        ("inside", ("whole_forward", "whole_forward_backward")),
    ):
        pairs = [[getattr(cell.layers, name) for name in names_of] for cell in timed]
        rows.append(("", title, "", "", "", "", *(_pair(ahead, both, unit) for ahead, both in pairs)))
    ratios = [cell.layers.alone_over_inside if cell.layers else None for cell in timed]
    rows.append(
        ("", "alone / inside", "", "", "", "", *("–" if r is None else figures.ratio(r) for r in ratios))
    )
    lines.append(Table(columns=tuple(columns), rows=tuple(rows), gutter=" "))
    return [*lines, *(Line(text) for text in (*_fused(timed, names), *_missing(cells, names)))]


def _rows(cell: CellSummary) -> tuple[LayerRow, ...]:
    return cell.layers.rows if cell.layers is not None else ()


def _times(cell: CellSummary, row: LayerRow, unit: figures.Unit) -> str:
    assert cell.layers is not None
    said = _pair(row.forward, row.forward_backward, unit)
    return f"({said})" if cell.layers.fused_by and row.is_fusible and row.forward.p50 is not None else said


def _pair(forward: MetricValue, both: MetricValue, unit: figures.Unit) -> str:
    """Write what goes forward and what comes on top of it."""
    if forward.p50 is None or both.p50 is None:
        return "–"
    ahead = figures.scaled(forward.p50, forward.ci95, unit)
    if both.p50 == forward.p50:
        return ahead
    # A difference may be below zero by chance; then there is nothing to see.
    back = max(both.p50 - forward.p50, 0.0)
    return f"{ahead} + {figures.scaled(back, both.ci95 and _centred(both.ci95, back), unit)}"


def _centred(ci95: tuple[float, float], value: float) -> tuple[float, float]:
    half = (ci95[1] - ci95[0]) / 2
    return value - half, value + half


def _fused(cells: Sequence[CellSummary], names: CellNames) -> list[str]:
    """Say whose layers run merged, so that alone they are not what they cost inside."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.layers is not None and cell.layers.fused_by:
            found.setdefault(cell.layers.fused_by, []).append(names.short(cell.id, without=("workload",)))
    return [
        f"Fused: {by} compiles all layers of a step together ({figures.listed(owners)}). A layer alone is "
        "not what it costs inside; those in brackets it merges with their neighbours as a rule."
        for by, owners in found.items()
    ]


def _missing(cells: Sequence[CellSummary], names: CellNames) -> list[str]:
    """Say which layers were not timed, and why."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        assert cell.layers is not None
        name = names.short(cell.id, without=("workload",))
        if cell.layers.reason:
            found.setdefault(cell.layers.reason, {})[name] = None
            continue
        for row in cell.layers.rows:
            if row.forward_backward.p50 is None:
                reason = row.forward_backward.reason or ""
                found.setdefault(reason, {})[f"{name}: layer {row.path}"] = None
    return [f"{figures.NOT_MEASURED}, {', '.join(owners)}: {reason}" for reason, owners in found.items()]
