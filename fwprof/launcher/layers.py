"""Times the layers of each cell alone, one cell after another, each in a fresh process."""

from __future__ import annotations

from collections.abc import Sequence

from fwprof.events import PassStarted
from fwprof.launcher.context import RunContext
from fwprof.records import CellPlan, frames
from fwprof.store.layout import LAYERS
from fwprof.workloads.layer_analysis import LAYER_SECONDS, has_layer_pass


def measure_layers(context: RunContext, cells: Sequence[CellPlan]) -> None:
    """Time the layers of the cells that the plan asks for, those measured before left out."""
    asked = [cell for cell in cells if has_layer_pass(context.plan, cell)]
    left = [cell for cell in asked if not context.folder.measured.has_pass(cell.id, LAYERS)]
    if left:
        context.observer(PassStarted(name="layers"))
    for cell in left:
        context.check_cancelled()
        if not context.has_figures(cell.id):
            continue
        worker = context.open_worker(cell, LAYERS)
        try:
            if context.open_cell(worker, ()):
                worker.ask(frames.MeasureLayers(seconds=LAYER_SECONDS), frames.Finished)
            worker.finish()
        finally:
            context.close([worker])
