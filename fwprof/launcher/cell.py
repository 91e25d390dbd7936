"""One worker of one cell: speak with it, keep its journal, end it.

Knows the order of a conversation; knows nothing of other cells or of rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fwprof.errors import StoreError
from fwprof.events import CellEnded, Observer, StageEntered
from fwprof.launcher.link import Link, WorkerEnded
from fwprof.records import CellPlan, Failure, frames
from fwprof.store import Journal

R = TypeVar("R")


class CellWorker:
    """A worker that measures one cell, or the replica of one.

    Args:
        cell: what it measures.
        link: the worker.
        journal: where its reports are kept.
        observer: who is told.
        session: which session it belongs to.
        is_replica: whether it is the A/A control.
    """

    def __init__(
        self,
        cell: CellPlan,
        link: Link,
        journal: Journal,
        observer: Observer,
        *,
        session: int = 0,
        is_replica: bool = False,
    ) -> None:
        self.cell = cell
        self.link = link
        self.session = session
        self.is_replica = is_replica
        self.failure: Failure | None = None
        self._has_left = False
        self.description: frames.Described | None = None
        self.on_report: Callable[[frames.Report], None] = lambda _: None
        self._journal = journal
        self._observer = observer

    @property
    def is_alive(self) -> bool:
        """Whether it can still take orders."""
        return self.failure is None

    def ask(self, order: frames.Order, answer: type[R]) -> R | None:
        """Give one order and return its answer; None where the worker failed, which is stored."""
        self.tell(order)
        return self.hear(answer)

    def tell(self, order: frames.Order) -> None:
        """Give one order; `hear` waits for what comes of it."""
        if self.is_alive:
            self.link.send(order)

    def hear(self, answer: type[R]) -> R | None:
        """Keep reports until the answer comes, and return it; None where the worker failed."""
        if not self.is_alive:
            return None
        try:
            while True:
                report = self.link.receive()
                match report:
                    case frames.Entered(stage=stage):
                        # Nothing is told, so nothing drawn, once a block may be running.
                        if stage != "block":
                            self._observer(
                                StageEntered(cell=self.cell.id, stage=stage, replica=self.is_replica)
                            )
                        continue
                    case frames.Failed(failure=failure):
                        self.fail(failure)
                        return None
                    case frames.Described():
                        self.description = report
                    case _:
                        pass
                if not isinstance(report, frames.Finished):
                    self.note(report)
                if isinstance(report, answer):
                    return report
        except WorkerEnded as ended:
            self.fail(ended.failure)
            return None

    def note(self, report: frames.Report) -> None:
        """Keep one report."""
        self._journal.append(report)
        self.on_report(report)

    def fail(self, failure: Failure) -> None:
        """Store why this worker gives nothing more, and end it."""
        if self.failure is None:
            self.failure = failure
            self._journal.append(frames.Failed(failure=failure))
            self.link.end()
            self._tell_end(failure)

    def finish(self, *, is_last: bool = True) -> None:
        """Let the worker leave; with `is_last` its journal is complete."""
        if self.is_alive:
            self.ask(frames.Finish(), frames.Finished)
        self.link.end()
        self._has_left = True
        if self.is_alive and is_last:
            self._journal.append(frames.Finished())
            self._tell_end(None)

    def close(self) -> None:
        """End the worker, whatever it does, and close its journal.

        One that had not finished was cut off: the journal says in which stage.
        """
        self.link.end()
        if self.is_alive and not self._has_left:
            cut = Failure(
                fate="interrupted",
                stage=self.link.stage,
                message=f"the run was stopped in stage {self.link.stage}",
            )
            # Closing is also the way out of an error; a full disk was already told then.
            with suppress(StoreError):
                self._journal.append(frames.Failed(failure=cut))
        self._journal.close()

    def _tell_end(self, failure: Failure | None) -> None:
        if not self.is_replica:
            self._observer(
                CellEnded(
                    cell=self.cell.id,
                    session=self.session,
                    fate=failure.fate if failure else "ok",
                    reason=failure.message if failure else "",
                )
            )
