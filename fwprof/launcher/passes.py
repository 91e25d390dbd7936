"""What is not timed: memory, energy, training, the data pipeline; probes and exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from fwprof import planning
from fwprof.cancellation import Cancellation
from fwprof.errors import (
    FwprofError,
    PluginContractError,
    PluginError,
    PluginLoadError,
    PluginUnavailableError,
    StoreError,
)
from fwprof.events import Trained
from fwprof.launcher.checkpoints import save_weights
from fwprof.launcher.context import RunContext
from fwprof.launcher.guard import Guard
from fwprof.launcher.link import Link, WorkerEnded, ask
from fwprof.launcher.process import Switchboard, WorkerProcess
from fwprof.records import CellPlan, Device, Failure, PluginRef, Reading, frames
from fwprof.store.layout import DATA_PIPELINE, MEMORY, TRAINING, nth_journal
from fwprof.workloads.pipelines import pipeline_seconds

R = TypeVar("R")

MEMORY_SECONDS = 1.0
ENERGY_SECONDS = 5.0
"""A hardware counter needs a window of seconds: shorter ones are mostly its own update period."""
SAMPLE_HZ = 10.0
RAISED_AGAIN = {
    each.__name__: each for each in (StoreError, PluginLoadError, PluginContractError, PluginUnavailableError)
}
"""Errors of a child that say by themselves who is to blame."""
NOT_ISOLATED = "measured inside the caller's process, where the model's share cannot be told apart"


def measure_resources(context: RunContext, cells: Sequence[CellPlan], process: int = 0) -> None:
    """Measure memory, then energy, in fresh processes that only build and train.

    Args:
        context: the run.
        cells: start and take up memory side by side, which changes neither's; the energy of a
            machine is read while one of them works.
        process: how many processes of each cell came before. Those after the first read peaks of memory
            alone, which differ from process to process; sizes of tensors do not, and energy is a mean over
            seconds of steps.
    """
    workers = [context.open_worker(cell, nth_journal(MEMORY, process), session=process) for cell in cells]
    try:
        if not context.is_isolated:
            nothing = Reading(value=None, unit="bytes", reason=NOT_ISOLATED)
            readings = {"host_peak": nothing, "host_import": nothing}
            for worker in workers:
                worker.note(frames.Readings(pass_name="memory", readings=readings))
        else:
            for worker in workers:
                context.begin_to_open(worker, ("memory", "energy"))
            opened = [worker for worker in workers if worker.hear(frames.Ready) is not None]
            memory = frames.TakeReadings(
                pass_name="memory", seconds=MEMORY_SECONDS, rate_hz=SAMPLE_HZ, by_category=process == 0
            )
            for worker in opened:
                worker.tell(memory)
            for worker in opened:
                worker.hear(frames.Readings)
            energy = frames.TakeReadings(pass_name="energy", seconds=ENERGY_SECONDS, rate_hz=SAMPLE_HZ)
            for worker in opened if process == 0 else ():
                context.check_cancelled()
                worker.ask(energy, frames.Readings)
        for worker in workers:
            worker.finish()
    finally:
        context.close(workers)


def train(context: RunContext, cells: Sequence[CellPlan]) -> None:
    """Train cells on the whole data set, in a fresh process for each cell and seed.

    A plugin seeds its dropout when it builds, so that another seed is another process; what that
    compiles anew comes before the training and is in none of its times. Cells take turns within a
    seed, so that a machine that drifts does so for all of them.

    Args:
        context: the run; its request says how many epochs, and seeds.
        cells: of neutral workloads: a model of the user's own brings no data set.
    """
    request = context.plan.request
    left = list(cells)
    for number in range(request.training_seeds):
        for cell in list(left):
            context.check_cancelled()
            if context.folder.measured.has_pass(cell.id, nth_journal(TRAINING, number)):
                continue
            seed = cell.training_seeds(request.training_seeds)[number]
            failure = _train(context, msgspec.structs.replace(cell, seed=seed), request.epochs, number)
            # A loss that is no number is one seed's; what ends a process would end the next one too.
            if failure is not None and failure.fate != "invalid":
                left.remove(cell)


def _train(context: RunContext, cell: CellPlan, epochs: int, number: int) -> Failure | None:
    """Train one cell from one seed, and keep scores and times of every epoch."""
    worker = context.open_worker(cell, nth_journal(TRAINING, number))
    worker.on_report = lambda report: (
        context.observer(Trained(cell=cell.id, points=report.points))
        if isinstance(report, frames.EpochDone)
        else None
    )
    try:
        if context.open_cell(worker, (), with_data=True):
            worker.ask(frames.Train(epochs=epochs), frames.Finished)
            if context.plan.request.save_weights and not number:
                save_weights(context, worker, f"{epochs} epoch{'s' * (epochs > 1)}")
        worker.finish()
    finally:
        context.close([worker])
    return worker.failure


def run_pipeline(context: RunContext, cell: CellPlan) -> None:
    """Train one cell through its framework's own data pipeline, in a fresh process, and keep every loop."""
    worker = context.open_worker(cell, DATA_PIPELINE)
    try:
        if context.open_cell(worker, (), with_data=True):
            seconds = pipeline_seconds(context.plan)
            worker.ask(frames.RunPipeline(seconds=seconds, rate_hz=SAMPLE_HZ), frames.Finished)
        worker.finish()
    finally:
        context.close([worker])


def ask_devices(plugin: PluginRef) -> tuple[Device, ...]:
    """Ask a device plugin, in a probe child, what it finds.

    Raises:
        PluginError: it raised, died, or hung; blames the plugin.
    """
    return _with_child(
        lambda link: ask(link, frames.ListDevices(plugin=plugin), frames.DevicesListed).devices, plugin
    )


def ask_export(plugin: PluginRef, run: Path, destination: Path) -> tuple[Path, ...]:
    """Let an exporter write a stored run, in a child of its own.

    Raises:
        PluginError: it raised, died, or hung; blames the plugin.
        StoreError: what it should write to is there already, or cannot be written.
    """
    order = frames.Export(plugin=plugin, run=str(run), destination=str(destination))
    return _with_child(
        lambda link: tuple(Path(path) for path in ask(link, order, frames.Exported).paths), plugin
    )


def _with_child(use: Callable[[Link], R], plugin: PluginRef) -> R:
    switchboard = Switchboard(Cancellation())
    guard = Guard()
    try:
        return use(WorkerProcess(switchboard, guard, {}, planning.LIMITS))
    except WorkerEnded as ended:
        raise _blame(plugin, ended) from ended
    finally:
        guard.close()
        switchboard.close()


def _blame(plugin: PluginRef, ended: WorkerEnded) -> FwprofError:
    failure, report = ended.failure, ended.report
    if report is not None and report.refusal and report.error in RAISED_AGAIN:
        said, cause, kept, next_step = report.refusal
        return RAISED_AGAIN[report.error](said, cause=cause, kept=kept, next=next_step)
    what = f"the {plugin.kind} plugin {plugin.name!r} ({plugin.distribution} {plugin.version})"
    if failure.fate == "unsupported":
        return PluginUnavailableError(
            f"{what} finds nothing to use", cause=failure.message, next=failure.next
        )
    if failure.fate == "failed":
        return PluginError(f"{what} failed", cause=failure.message, next=failure.next)
    return PluginError(f"{what} did not answer", cause=failure.message, next=failure.next)
