"""Whether the cells of a run do the same work: a line beside figures, or a table of its own.

Owns the wording. Judges nothing: every error and answer comes from the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report.figures import listed
from fwprof.report.layout import Facts, Section
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, TensorError
    from fwprof.report.names import CellNames

_VERDICTS = {
    "reference": "the reference",
    "equivalent": "same work",
    "not_equivalent": "NOT the same",
    "not_checked": "not checked",
}
_KINDS = ("outputs", "loss", "gradient")
_SHOWN = 6
"""Differing tensors named for each cell; JSON holds all."""


def equivalence_rows(cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    """Say in a few lines which cells do the same work as which."""
    everyone = [cell.id for cell in cells]
    rows = []
    # What is compared of which every cell does the same work, and the largest error.
    whole: dict[str, float] = {}
    several = len({cell.precision for cell in cells}) > 1
    for reference in (cell for cell in cells if cell.equivalence.status == "reference"):
        same = [cell for cell in cells if _is_same_as(cell, reference)]
        if same:
            error = max(cell.equivalence.max_error or 0.0 for cell in same)
            meant = [cell.id for cell in (reference, *same)]
            work = (reference.workload, reference.precision)
            if meant == [cell.id for cell in cells if (cell.workload, cell.precision) == work] != everyone:
                whole[" in ".join(work) if several else reference.workload] = error
            else:
                rows.append(_agreement(names.which(meant, everyone) or "all", error))
    if whole:
        rows.insert(0, _agreement(f"all cells of {listed(list(whole))}", max(whole.values())))
    rows += _differences(cells, names)
    unchecked: dict[str, list[str]] = {}
    for cell in cells:
        if cell.equivalence.status == "not_checked":
            unchecked.setdefault(cell.equivalence.reason, []).append(cell.id)
    for reason, owners in unchecked.items():
        who = names.which(owners, everyone)
        why = reason or "that the cells compute the same was not verified"
        rows.append(f"not checked{who and f' ({who})'}: {why}")
    return [("equivalence" if place == 0 else "", text) for place, text in enumerate(rows)]


def _agreement(who: str, error: float) -> str:
    return f"{who} do the same work: outputs, loss and gradients agree to {_share(error)} in float64"


def equivalence_table(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Lay out the largest errors of every cell, tensor kind by tensor kind."""
    precisions = "/".join(dict.fromkeys(cell.precision for cell in cells))
    columns = (
        Column("workload", "left", is_key=True),
        Column("cell", "left", is_key=True),
        Column("", "left", is_key=True),
        Column("float64: outputs", starts_part=True),
        Column("loss"),
        Column("gradients"),
        Column("after 3 steps"),
        Column("20 losses"),
        Column(f"{precisions}: outputs", starts_part=True),
        Column("loss"),
        Column("gradients"),
    )
    rows = tuple(
        (
            cell.workload,
            names.short(cell.id, without=("workload",)),
            _VERDICTS[cell.equivalence.status],
            *(_largest(cell, kind, "function_error") for kind in (*_KINDS, "parameter", "loss_curve")),
            *(_largest(cell, kind, "precision_error") for kind in _KINDS),
        )
        for cell in cells
    )
    differing = [
        cell.equivalence for cell in cells if cell.equivalence.status in ("equivalent", "not_equivalent")
    ]
    facts = equivalence_rows(cells, names)
    if len(differing) > 1 and all(one.status == "not_equivalent" for one in differing):
        facts.append(("", "every cell differs from the reference: it may be the reference that is wrong"))
    everyone = [cell.id for cell in cells]
    tricks: dict[str, list[str]] = {}
    for cell in cells:
        if cell.equivalence.verified_with:
            text = ", ".join(cell.equivalence.verified_with)
            tricks.setdefault(text, []).append(cell.id)
    facts += [
        ("verified with" if place == 0 else "", f"{text}: {names.which(owners, everyone) or 'all'}")
        for place, (text, owners) in enumerate(tricks.items())
    ]
    return [Table(columns=columns, rows=rows, gutter=" "), Facts(tuple(facts))]


def tensor_tables(cells: Sequence[CellSummary], names: CellNames) -> list[Section]:
    """Lay out the error in float64 of every tensor, a table a workload; `!` marks what differs."""
    tables: list[Section] = []
    for workload in dict.fromkeys(cell.workload for cell in cells):
        shown = [cell for cell in cells if cell.workload == workload and cell.equivalence.tensors]
        shown = [cell for cell in shown if cell.equivalence.status != "reference"]
        tensors = dict.fromkeys(_tensor(one) for cell in shown for one in cell.equivalence.tensors)
        columns = [names.short(cell.id, without=("workload",)) for cell in shown]
        errors = [{_tensor(one): one for one in cell.equivalence.tensors} for cell in shown]
        rows = tuple((tensor, *(_marked(found.get(tensor)) for found in errors)) for tensor in tensors)
        title = Column(f"{workload}, float64", "left", is_key=True)
        if rows:
            tables.append(Table(columns=(title, *map(Column, columns)), rows=rows, gutter=" "))
    return tables


def _marked(one: TensorError | None) -> str:
    if one is None:
        return "–"
    error = "none" if one.function_error is None else _share(one.function_error)
    return error if one.passed else f"{error} !"


def _is_same_as(cell: CellSummary, reference: CellSummary) -> bool:
    return cell.equivalence.status == "equivalent" and cell.equivalence.reference == reference.id


def _differences(cells: Sequence[CellSummary], names: CellNames) -> list[str]:
    rows = []
    for cell in cells:
        found = cell.equivalence
        if found.status == "not_equivalent":
            wrong = [one for one in found.tensors if not one.passed]
            named = ", ".join(f"{_tensor(one)} by {_amount(one)}" for one in wrong[:_SHOWN])
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            reference = f" as {names.short(found.reference)}" if found.reference else ""
            if found.reference == cell.id:
                reference = " as itself in float64"
            rows.append(
                f"{names.short(cell.id)} does not compute the same{reference}: first "
                f"{found.first_difference}" + (f" (of {named}{more})" if len(wrong) > 1 else f" ({named})")
            )
    return rows


def _tensor(one: TensorError) -> str:
    return {"gradient": f"gradient of {one.name}", "parameter": f"{one.name} after 3 steps"}.get(
        one.kind, one.name
    )


def _amount(one: TensorError) -> str:
    if one.function_error is None or (one.precision_bound is not None and one.precision_error is None):
        return "shape, absence or a value that is no number"
    error = one.function_error
    if one.precision_error is not None and one.precision_bound is not None:
        error = one.precision_error if one.precision_error > one.precision_bound else error
    return _share(error)


def _largest(cell: CellSummary, kind: str, field: str) -> str:
    found = [getattr(one, field) for one in cell.equivalence.tensors if one.kind == kind]
    if not found:
        return "–"
    return "none" if None in found and field == "function_error" else _written(found)


def _written(errors: Sequence[float | None]) -> str:
    known = [error for error in errors if error is not None]
    return _share(max(known)) if known else "–"


def _share(error: float) -> str:
    return f"{error:.0e}" if error else "0"
