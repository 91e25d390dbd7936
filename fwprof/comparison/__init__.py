"""May two results be compared, and how do they differ: from stored raw numbers to a summary.

Derives everything on demand by pure functions; only `floor` touches a file. Knows records, not
terminals: what is said here in words is printed elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fwprof.comparison.floor import read_all
from fwprof.comparison.gate import Gate, judge, parse_gate
from fwprof.comparison.labels import labels_of
from fwprof.comparison.pairs import compare_cells
from fwprof.comparison.recommend import recommend
from fwprof.comparison.runs import compare_matches
from fwprof.comparison.summary import summarize_cell
from fwprof.comparison.training import agreements
from fwprof.records import Comparison, RunResult, RunSummary

__all__ = ["Gate", "compare_runs", "judge", "parse_gate", "summarize"]


def summarize(
    result: RunResult, path: str, *, stored: Mapping[str, Collection[float]] | None = None
) -> RunSummary:
    """Return what `--json` prints of one run.

    Args:
        result: the run as stored.
        path: the folder it is stored in.
        stored: metric → |ln r| of A/A sessions on the run's machine, for the noise floor; None:
            what the user's state folder holds.

    Raises:
        StoreError: the noise floor is there and cannot be read.
    """
    known = read_all(result.machine.fingerprint) if stored is None else stored
    plans = {plan.id: plan for plan in result.plan.cells()}
    labels = labels_of(result)
    cells = tuple(summarize_cell(cell, plans[cell.id], result, labels[cell.id]) for cell in result.cells)
    # A run that only verified measured nothing to compare.
    comparisons = tuple(compare_cells(result, known)) if result.plan.schedule.sessions else ()
    return RunSummary(
        run=result.plan.run_id,
        path=path,
        cells=cells,
        comparisons=comparisons,
        recommendations=tuple(recommend(result, cells, comparisons)),
        agreements=tuple(agreements(result)),
    )


def compare_runs(
    a: RunResult,
    b: RunResult,
    *,
    metrics: Sequence[str] | None = None,
    stored: Mapping[str, Collection[float]] | None = None,
) -> Sequence[Comparison]:
    """Return how every cell of run b differs from the same cell of run a.

    Args:
        a: the run before.
        b: the run after.
        metrics: names of `fwprof.metrics`; None: the step time, and what else both have a value of.
        stored: as for `summarize`.

    Raises:
        StoreError: the noise floor is there and cannot be read.
    """
    known = read_all(b.machine.fingerprint) if stored is None else stored
    return compare_matches(a, b, metrics, known)
