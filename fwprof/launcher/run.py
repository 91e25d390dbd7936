"""A whole run: every group's sessions, then the passes that are not timed, then run.json."""

from __future__ import annotations

from collections.abc import Sequence

from fwprof import planning
from fwprof.cancellation import Cancellation
from fwprof.errors import InterruptedRunError
from fwprof.events import Observer, PassStarted, RunStored
from fwprof.launcher import passes
from fwprof.launcher.checkpoints import measure_checkpoints
from fwprof.launcher.context import RunContext, side_by_side
from fwprof.launcher.equivalence import verify_group
from fwprof.launcher.largest_batch import find_largest_batch
from fwprof.launcher.layers import measure_layers
from fwprof.launcher.limits import measure_limits
from fwprof.launcher.presets import Presets
from fwprof.launcher.schedules import run_session
from fwprof.records import CellPlan, RunResult
from fwprof.store import RunFolder
from fwprof.store.layout import CHECKPOINT_SAVE, DATA_PIPELINE, LARGEST_BATCH, MEMORY, TRAINING, nth_journal
from fwprof.workloads.pipelines import has_pipeline


def run_plan(folder: RunFolder, observer: Observer, cancellation: Cancellation) -> RunResult:
    """Measure everything that a stored plan says, and store the result.

    A cell that fails is a stored result; the others go on. Cancelled, the run stores what it has.

    Raises:
        StoreError: the disk is full; what was written before is kept.
    """
    is_interrupted = False
    try:
        with RunContext(folder, observer, cancellation) as context:
            _measure(context)
    except InterruptedRunError:
        is_interrupted = True
    result = folder.finish(is_interrupted=is_interrupted)
    observer(RunStored(path=str(folder.path)))
    return result


def _measure(context: RunContext) -> None:
    """Measure what was not taken over of an earlier run."""
    plan, measured = context.plan, context.folder.measured
    presets = Presets(measured.skipped)
    if plan.request.equivalence != "skip":
        for group in plan.groups:
            if group.name not in measured.verified:
                verify_group(context, group, presets)
    for session in range(plan.schedule.sessions):
        for group in plan.groups:
            if not measured.has(group.name, session):
                run_session(context, group, session, presets)
                context.folder.add_session(group.name, session)
    alive = [cell for cell in plan.cells() if context.has_figures(cell.id)]
    if plan.request.memory:
        _measure_memory(context, alive)
    neutral = [cell for cell in alive if cell.workload.spec is not None]
    searched = [cell for cell in neutral if not measured.has_pass(cell.id, LARGEST_BATCH)]
    if plan.request.find_max_batch and context.is_isolated and searched:
        context.observer(PassStarted(name="largest batch"))
        for cell in searched:
            if context.has_figures(cell.id):
                find_largest_batch(context, cell)
    seeds = [nth_journal(TRAINING, number) for number in range(plan.request.training_seeds)]
    trained = [cell for cell in neutral if not all(measured.has_pass(cell.id, name) for name in seeds)]
    if plan.request.epochs and trained:
        context.observer(PassStarted(name="training"))
        passes.train(context, trained)
    saved = [cell for cell in neutral if not measured.has_pass(cell.id, CHECKPOINT_SAVE)]
    if plan.request.checkpoints and saved:
        context.observer(PassStarted(name="checkpoints"))
        for cell in saved:
            if context.has_figures(cell.id):
                measure_checkpoints(context, cell)
    looped = [cell for cell in alive if has_pipeline(plan, cell)]
    fed = [cell for cell in looped if not measured.has_pass(cell.id, DATA_PIPELINE)]
    if fed:
        context.observer(PassStarted(name="data pipeline"))
        for cell in fed:
            context.check_cancelled()
            passes.run_pipeline(context, cell)
    measure_layers(context, alive)
    if plan.request.machine_limits and context.is_isolated:
        measure_limits(context, alive)


def _measure_memory(context: RunContext, cells: Sequence[CellPlan]) -> None:
    is_begun = False
    for process in range(planning.memory_processes(context.plan)):
        # One that failed in the process before is not asked again.
        left = [
            cell
            for cell in cells
            if context.has_figures(cell.id)
            and not context.folder.measured.has_pass(cell.id, nth_journal(MEMORY, process))
        ]
        if left and not is_begun:
            context.observer(PassStarted(name="memory"))
            is_begun = True
        for beside in side_by_side(left):
            passes.measure_resources(context, beside, process)
