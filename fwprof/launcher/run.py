"""A whole run: every group's sessions, then the passes that are not timed, then run.json."""

from __future__ import annotations

from fwprof import planning
from fwprof.cancellation import Cancellation
from fwprof.errors import InterruptedRunError
from fwprof.events import Observer, PassStarted, RunStored
from fwprof.launcher import passes
from fwprof.launcher.checkpoints import measure_checkpoints
from fwprof.launcher.context import RunContext, side_by_side
from fwprof.launcher.equivalence import verify_group
from fwprof.launcher.presets import Presets
from fwprof.launcher.schedules import run_session
from fwprof.records import RunResult
from fwprof.store import RunFolder


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
    plan = context.plan
    presets = Presets()
    if plan.request.equivalence != "skip":
        for group in plan.groups:
            verify_group(context, group, presets)
    for session in range(plan.schedule.sessions):
        for group in plan.groups:
            run_session(context, group, session, presets)
    alive = [cell for cell in plan.cells() if context.has_figures(cell.id)]
    if plan.request.memory and alive:
        context.observer(PassStarted(name="memory"))
        for process in range(planning.memory_processes(plan)):
            for cells in side_by_side([cell for cell in alive if context.has_figures(cell.id)]):
                passes.measure_resources(context, cells, process)
    neutral = [cell for cell in alive if cell.workload.spec is not None]
    if plan.request.epochs and neutral:
        context.observer(PassStarted(name="training"))
        passes.train(context, neutral)
    if plan.request.checkpoints and neutral:
        context.observer(PassStarted(name="checkpoints"))
        for cell in neutral:
            if context.has_figures(cell.id):
                measure_checkpoints(context, cell)
    keys = {planning.limits_key(cell) for cell in alive} & planning.limits_keys(plan).keys()
    if plan.request.machine_limits and context.is_isolated and keys:
        context.observer(PassStarted(name="machine's limits"))
        for key in sorted(keys):
            readings = passes.measure_limits(context, planning.limits_keys(plan)[key])
            context.folder.add_limits(key, readings)
