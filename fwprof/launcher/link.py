"""What the launcher needs of a worker, be it a process or an object in this one."""

from __future__ import annotations

from typing import Protocol, TypeVar

from fwprof.records import Failure, StageName, frames

R = TypeVar("R")


class WorkerEnded(Exception):  # noqa: N818 - an event as much as an error: the caller stores it
    """The worker is gone before it answered.

    Args:
        failure: what is known of why.
        report: what it said last, where it said that it failed.
    """

    def __init__(self, failure: Failure, report: frames.Failed | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.report = report


class Link(Protocol):
    """A worker that takes orders and reports back."""

    stage: StageName
    """The stage it entered last."""

    @property
    def pid(self) -> int | None:
        """Its process; None where it shares this one."""
        ...

    def send(self, order: frames.Order) -> None:
        """Give one order; `receive` tells what became of it.

        Raises:
            InterruptedRunError: the run was cancelled.
        """
        ...

    def receive(self) -> frames.Report:
        """Wait for the next report.

        Raises:
            WorkerEnded: it died, or took longer than its stage may.
            InterruptedRunError: the run was cancelled outside a block.
        """
        ...

    def end(self) -> None:
        """End it, whatever it does, and see that nothing of it is left."""
        ...


def ask(link: Link, order: frames.Order, answer: type[R]) -> R:
    """Have one order answered by a worker that serves nothing else, and end it.

    Raises:
        WorkerEnded: it failed, died, or took longer than it may.
        InterruptedRunError: the run was cancelled.
    """
    try:
        link.send(order)
        while True:
            report = link.receive()
            if isinstance(report, answer):
                return report
            if isinstance(report, frames.Failed):
                raise WorkerEnded(report.failure, report)
    finally:
        link.end()
