"""The largest batch in a given memory: the metric, and which cell takes the largest.

A search knows two sizes: one that fits, and one that does not. Of two cells one is ahead where what it
takes is already too large for the other; in between memory says nothing, as it differs by process.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwprof.metrics import METRICS
from fwprof.records import BatchSearch, CellResult, CellSummary, MetricValue, Recommendation

LARGEST_BATCH = "largest_batch"
NOT_ASKED = "not measured in this run: --find-max-batch MEMORY asks for it"


def largest_batch_metric(cell: CellResult) -> MetricValue:
    """Return `largest_batch` of one cell, or why there is none."""
    metric, search = METRICS[LARGEST_BATCH], cell.largest_batch
    if search is None:
        return MetricValue(unit=metric.unit, kind=metric.kind, reason=NOT_ASKED)
    return MetricValue(
        unit=metric.unit,
        kind=metric.kind,
        value=search.largest,
        reason="" if search.largest is not None else why_none(search),
    )


def why_none(search: BatchSearch) -> str:
    """Say why no batch is known to fit."""
    if search.ended:
        return search.ended
    return f"a batch of {search.too_large} takes more than was given"


def recommend_largest(budget: str, cells: Mapping[str, CellSummary]) -> Recommendation | None:
    """Name the cell that takes the largest batch, or all that no other is ahead of; None: nobody searched.

    Args:
        budget: the memory given, in words.
        cells: those that are compared, by id.
    """
    searches = {name: cell.largest_batch for name, cell in cells.items() if cell.largest_batch is not None}
    if not searches:
        return None
    judged = {
        name: one
        for name, one in searches.items()
        if one.largest is not None or (one.too_large is not None and not one.ended)
    }
    largest = max((one.largest or 0 for one in judged.values()), default=0)
    # The one that takes the largest is ahead of whoever is ahead of another: it alone decides.
    choice = tuple(
        name
        for name, one in judged.items()
        if one.largest is not None and (one.too_large is None or one.too_large > largest)
    )
    said = [f"{name} {_in_words(one)}" for name, one in judged.items()]
    left = [name for name in cells if name not in judged]
    if not choice:
        evidence = "cannot be said: no batch of any is known to fit"
    else:
        tie = "" if len(choice) == 1 else "no difference shown between them; "
        evidence = tie + ", ".join(said) + (f"; not judged: {', '.join(left)}" if left else "")
    return Recommendation(
        scenario=f"largest batch in {budget}",
        choice=choice,
        evidence=evidence,
        metrics=(LARGEST_BATCH,),
        among=tuple(cells),
    )


def _in_words(search: BatchSearch) -> str:
    if search.largest is None:
        return f"not even {search.too_large}"
    return f"{search.largest}" + (
        f", not {search.too_large}" if search.too_large is not None else " and more"
    )
