"""How often each framework compiled, where that is the question: batches of changing length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwprof.report import figures
from fwprof.workloads.language import is_trimmed

if TYPE_CHECKING:
    from fwprof.records import CellSummary, RunResult
    from fwprof.report.names import CellNames


def compiled_rows(result: RunResult, cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    """Say how many programs each cell traced or compiled, of workloads whose lengths change."""
    changing = {
        cell.id for cell in result.plan.cells() if cell.workload.spec and is_trimmed(cell.workload.spec)
    }
    said = []
    for cell in cells:
        metric = cell.metrics.get("compilations")
        if cell.id in changing and metric is not None and (count := metric.value) is not None:
            times = f"{count:g} programs" if count > 1 else "1 program" if count else "nothing"
            said.append(f"{names.short(cell.id)} {times}")
    if not said:
        return []
    return [("compiled", f"{figures.listed(said)}, for batches of changing length")]
