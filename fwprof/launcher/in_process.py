"""A worker inside the caller's process, for embedding and debugging: nothing protects either."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fwprof.cancellation import Cancellation
from fwprof.errors import InterruptedRunError
from fwprof.launcher.link import WorkerEnded
from fwprof.records import Failure, StageName, frames
from fwprof.worker import Worker


class InProcessWorker:
    """Serves orders as they are sent; the same worker code, without limits of time."""

    pid = None

    def __init__(self, cancellation: Cancellation) -> None:
        self.stage: StageName = "start"
        self._cancellation = cancellation
        self._reports: deque[frames.Report] = deque()
        self._worker = Worker(self._reports.append, is_isolated=False)

    def send(self, order: frames.Order) -> None:
        """Carry out one order now."""
        if self._cancellation.is_cancelled:
            raise InterruptedRunError("the run was cancelled", next="what was measured is stored")
        # One that failed has said so, and is asked nothing more.
        if not self._worker.is_over:
            self._worker.serve(order)

    def receive(self) -> frames.Report:
        """Return the next report of the order that was carried out."""
        if not self._reports:
            raise WorkerEnded(self._gone())
        report = self._reports.popleft()
        if isinstance(report, frames.Entered):
            self.stage = report.stage
        return report

    def end(self) -> None:
        """Drop what the worker holds."""
        self._worker = Worker(self._reports.append, is_isolated=False)
        self._worker.is_over = True

    def _gone(self) -> Failure:
        return Failure(fate="failed", stage=self.stage, message="the worker had already ended")


@contextmanager
def imports_restored() -> Iterator[None]:
    """Take the folders that were added to `sys.path` inside off again, and forget their modules.

    The user's own model is imported as a script is. Frameworks stay imported: most cannot be twice.
    """
    before, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        added = {Path(folder) for folder in sys.path} - {Path(folder) for folder in before}
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and added & set(Path(file).parents):
                del sys.modules[name]
