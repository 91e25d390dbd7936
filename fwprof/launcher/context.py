"""What every part of one run shares: the folder, the observer, and how workers are opened."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from fwprof import environment
from fwprof.cancellation import Cancellation
from fwprof.codec import encode
from fwprof.errors import FwprofError, InterruptedRunError, PluginError
from fwprof.estimate import workers_at_once
from fwprof.events import CellEnded, Observer
from fwprof.launcher.cell import CellWorker
from fwprof.launcher.guard import Guard
from fwprof.launcher.in_process import InProcessWorker, imports_restored
from fwprof.launcher.link import Link
from fwprof.launcher.process import Switchboard, WorkerProcess
from fwprof.records import CellPlan, Failure, RunPlan, frames
from fwprof.store import RunFolder
from fwprof.store.layout import REPLICA
from fwprof.workloads.inputs import BATCH_COUNT, write_inputs


def side_by_side(cells: Sequence[CellPlan]) -> Sequence[Sequence[CellPlan]]:
    """Return cells as they may run while nothing is timed: two at a time, or alone on their device."""
    count = workers_at_once(cells)
    return [cells[first : first + count] for first in range(0, len(cells), count)]


class RunContext:
    """Opens workers for one run, and leaves nothing of them behind.

    Args:
        folder: where the run is stored.
        observer: who is told what happens.
        cancellation: who may stop the run.
    """

    def __init__(self, folder: RunFolder, observer: Observer, cancellation: Cancellation) -> None:
        self.folder = folder
        self.plan: RunPlan = folder.plan
        self.observer = observer
        self.is_isolated = folder.plan.is_isolated
        self._cancellation = cancellation
        self._open: list[CellWorker] = []
        # What is known of cells is kept, workers are not: a matrix has thousands of them.
        self._own: set[CellWorker] = set()
        self._begun = {
            cell.id
            for group in self.plan.groups
            if any(each.group == group.name for each in folder.measured.sessions)
            for cell in group.cells
        } - folder.measured.skipped
        self._failed = set(folder.measured.failed)
        self._stack = ExitStack()

    def __enter__(self) -> RunContext:
        self._scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fwprof-")))
        self._switchboard = Switchboard(self._cancellation)
        self._stack.callback(self._switchboard.close)
        if self.is_isolated:
            self._guard = Guard()
            self._stack.callback(self._guard.close)
        else:
            self._stack.enter_context(imports_restored())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(self._open)
        finally:
            self._stack.close()

    def check_cancelled(self) -> None:
        """Raise where the run was asked to stop.

        Raises:
            InterruptedRunError: it was.
        """
        if self._cancellation.is_cancelled:
            raise InterruptedRunError("the run was cancelled", next="what was measured is stored")

    def open_worker(
        self, cell: CellPlan, name: str, *, session: int = 0, is_replica: bool = False
    ) -> CellWorker:
        """Start a worker and return it; it was asked nothing yet.

        Args:
            cell: what it will measure.
            name: of its journal: the session's number, `memory`, `memory.1`, `training`.
            session: which session it belongs to.
            is_replica: whether it is the A/A control.
        """
        journal_name = name + REPLICA * is_replica
        worker = CellWorker(
            cell,
            self.link(cell, self.folder.log_path(cell.id, journal_name)),
            self.folder.journal(cell.id, journal_name),
            self.observer,
            session=session,
            is_replica=is_replica,
        )
        self._open.append(worker)
        if not is_replica:
            self._own.add(worker)
            self._begun.add(cell.id)
        return worker

    def open_beside(self, cell: CellPlan, name: str) -> CellWorker:
        """Start a worker that verifies or tries; what becomes of it is not what becomes of the cell.

        Args:
            cell: what it will build.
            name: of its journal, in a folder beside the cell's others.
        """
        worker = CellWorker(
            cell,
            self.link(cell, self.folder.log_path(cell.id, name)),
            self.folder.journal(cell.id, name),
            self.observer,
        )
        self._open.append(worker)
        return worker

    def refuse(self, cell: CellPlan, name: str, failure: Failure, *, session: int = 0) -> None:
        """Store why a cell is not measured, without starting anything.

        Args:
            cell: the cell.
            name: of the journal that says so.
            failure: why.
            session: which one it would have been in.
        """
        journal = self.folder.journal(cell.id, name)
        try:
            journal.append(frames.Failed(failure=failure))
        finally:
            journal.close()
        self._begun.add(cell.id)
        self._failed.add(cell.id)
        self.observer(CellEnded(cell=cell.id, session=session, fate=failure.fate, reason=failure.message))

    def has_figures(self, cell: str) -> bool:
        """Whether every worker of a cell so far, closed since, did what it was asked."""
        return cell in self._begun and cell not in self._failed

    def link(self, cell: CellPlan, log: Path | None) -> Link:
        """Start what a cell's worker runs in, with the environment that its device and threads need."""
        if not self.is_isolated:
            return InProcessWorker(self._cancellation)
        variables = {**environment.thread_environment(cell.threads), **cell.device.environment}
        return WorkerProcess(
            self._switchboard, self._guard, variables, self.plan.limits, log, cell.interpreter
        )

    def open_cell(
        self, worker: CellWorker, passes: Sequence[str] = ("timing",), *, with_data: bool = False
    ) -> bool:
        """Let a worker import, build and take its first steps; tell whether it did.

        Args:
            worker: the worker.
            passes: which meters take part.
            with_data: whether it needs the whole data set.
        """
        self.begin_to_open(worker, passes, with_data=with_data)
        return worker.hear(frames.Ready) is not None

    def begin_to_open(
        self,
        worker: CellWorker,
        passes: Sequence[str],
        *,
        with_data: bool = False,
        batches: int = BATCH_COUNT,
    ) -> Path | None:
        """As `open_cell`, without waiting: the worker's `hear` waits for `Ready`.

        Args:
            worker: the worker.
            passes: which meters take part.
            with_data: whether it needs the whole data set.
            batches: how many it is given, in turn.

        Returns:
            The folder with its inputs; None where they could not be had, and the worker has failed.
        """
        cell = worker.cell
        try:
            inputs = self._inputs(cell, with_data=with_data, batches=batches)
        except FwprofError as error:
            # Data that is not there is this cell's failure: the other cells go on.
            worker.fail(
                Failure(
                    fate="unsupported" if isinstance(error, PluginError) else "failed",
                    stage="build",
                    message=": ".join(filter(None, (error.what, error.cause))),
                    next=error.next,
                )
            )
            return None
        order = frames.Open(
            cell=cell,
            schedule=self.plan.schedule,
            inputs=str(inputs),
            cache=str(self.cache()),
            passes=tuple(passes),
        )
        worker.tell(order)
        return inputs

    def cache(self) -> Path:
        """Return a new empty folder for what a framework caches on disk."""
        return self.scratch("cache-")

    def scratch(self, prefix: str) -> Path:
        """Return a new empty folder that lives as long as the run."""
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self._scratch))

    def _inputs(self, cell: CellPlan, *, with_data: bool, batches: int = BATCH_COUNT) -> Path:
        """Return the folder with a cell's weights and batches; cells with equal work share it."""
        if cell.workload.spec is None or cell.batch_size is None:
            return self._scratch
        wanted = (cell.workload, cell.batch_size, cell.seed, with_data, batches)
        key = hashlib.sha256(encode(wanted)).hexdigest()[:16]
        folder = self._scratch / f"inputs-{key}"
        if not folder.exists():
            folder.mkdir()
            try:
                write_inputs(
                    cell.workload,
                    cell.batch_size,
                    cell.seed,
                    folder,
                    with_data_set=with_data,
                    batch_count=batches,
                    # Every seed of a training is judged by the same samples: what differs is the training.
                    data_seed=self.plan.request.seed,
                )
            except FwprofError:
                # The next cell would take what is there for all of it.
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder

    def close(self, workers: Sequence[CellWorker]) -> None:
        """End workers, whatever they do, and close their journals."""
        for worker in list(workers):
            worker.close()
            if worker in self._open:
                self._open.remove(worker)
            if worker in self._own:
                self._own.remove(worker)
                if not worker.is_alive:
                    self._failed.add(worker.cell.id)
        # Compiled code of a large model takes gigabytes: none is left for the next worker.
        if not self._open:
            for folder in self._scratch.glob("cache-*"):
                shutil.rmtree(folder, ignore_errors=True)
