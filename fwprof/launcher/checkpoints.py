"""Checkpoints of a cell: one worker trains and saves, a fresh one restores and goes on."""

from __future__ import annotations

from fwprof.launcher.cell import CellWorker
from fwprof.launcher.context import RunContext
from fwprof.records import CellPlan, frames
from fwprof.store.layout import CHECKPOINT_RESTORE, CHECKPOINT_SAVE


def measure_checkpoints(context: RunContext, cell: CellPlan) -> None:
    """Time save and restore of each format, and keep the next losses of both processes.

    The files lie in the run's folder meanwhile, whose disk is the one that the user chose.
    """
    with context.folder.checkpoints(cell.id) as folder:
        saved: list[str] = []

        def note(report: frames.Report) -> None:
            if isinstance(report, frames.CheckpointSaved) and not report.checkpoint.reason:
                saved.append(report.checkpoint.format)

        saver = context.open_worker(cell, CHECKPOINT_SAVE)
        saver.on_report = note
        try:
            if context.open_cell(saver, ()):
                saver.ask(frames.SaveCheckpoints(folder=str(folder)), frames.WentOn)
                if context.plan.request.save_weights and not context.plan.request.epochs:
                    save_weights(context, saver, "10 steps")
            saver.finish()
        finally:
            context.close([saver])
        if not saver.is_alive or not saved:
            return
        context.check_cancelled()
        restorer = context.open_worker(cell, CHECKPOINT_RESTORE)
        try:
            if context.open_cell(restorer, ()):
                order = frames.RestoreCheckpoints(folder=str(folder), formats=tuple(saved))
                restorer.ask(order, frames.Finished)
            restorer.finish()
        finally:
            context.close([restorer])


def save_weights(context: RunContext, worker: CellWorker, trained: str) -> None:
    """Let a worker keep its parameters beside the cell's journals.

    Args:
        context: the run.
        worker: which has trained.
        trained: how long, in words.
    """
    path = context.folder.trained_path(worker.cell.id)
    order = frames.SaveWeights(
        path=str(path.absolute()), stored_as=str(path.relative_to(context.folder.path)), trained=trained
    )
    worker.ask(order, frames.WeightsSaved)
