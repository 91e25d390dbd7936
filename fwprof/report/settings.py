"""Settings of the cells of a table: those they share, and above all those in which they differ.

Owns the wording. Reads what frameworks said of themselves, never what was asked of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures

if TYPE_CHECKING:
    from fwprof.records import CellSummary, RunResult, Scalar
    from fwprof.report.names import CellNames


def same_as(result: RunResult, cell: CellSummary) -> str:
    """Return the id of the cell that stands for this one; empty: it stands for itself."""
    failure = next((one.failure for one in result.cells if one.id == cell.id), None)
    return failure.same_as if failure else ""


def presets_rows(result: RunResult, cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    """Say which cells stand for both presets."""
    twice = [one.failure.same_as for one in result.cells if one.failure and one.failure.same_as]
    if not twice:
        return []
    who = names.which(twice, [cell.id for cell in cells], without=("settings",)) or "every cell"
    return [("presets", f"as shipped and equal read back the same for {who}: measured once")]


def settings_rows(cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    """Say the notable settings that all share, then those in which cells differ."""
    described = [cell for cell in cells if cell.settings]
    if not cells:
        return []
    said = [names.part(cells[0].id, "settings") + ":"] if "settings" not in names.varying else []
    if "precision" not in names.varying:
        said.append(cells[0].precision + ",")
    if "threads" not in names.varying:
        said.append(figures.plural(cells[0].threads, "thread") + ",")
    if all(cell.data_pipeline == "staged" for cell in cells):
        said.append("batches staged on the device,")
    values: dict[str, dict[str, list[str]]] = {}
    for cell in described:
        for key, value in cell.settings.items():
            owners = values.setdefault(key, {}).setdefault(_spoken(value), [])
            owner = names.short(cell.id, without=("workload",))
            if owner not in owners:
                owners.append(owner)
    values.pop("threads", None)
    notable = {name for cell in described for name in cell.notable} or values.keys()
    same = [
        f"{key.replace('_', ' ')} {next(iter(by))},"
        for key, by in values.items()
        if len(by) == 1 and key in notable
    ]
    more = sum(len(by) == 1 and key not in notable for key, by in values.items())
    said += [*same, f"{more} more (--json)"] if more else same
    rows = [("settings", " ".join(said).rstrip(",:"))]
    for key, by in values.items():
        if len(by) > 1 and key in notable:
            text = "; ".join(f"{value} ({', '.join(owners)})" for value, owners in by.items())
            rows.append(("" if len(rows) > 1 else "differ", f"{key.replace('_', ' ')}: {text}"))
    if other := sum(len(by) > 1 and key not in notable for key, by in values.items()):
        rows.append(("" if len(rows) > 1 else "differ", f"{figures.plural(other, 'other setting')} (--json)"))
    return rows


def _spoken(value: Scalar) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)
