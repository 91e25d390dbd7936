"""Runs the conformance suite on one plugin, in a child that the plugin may take down.

Owns what is told of a check that did not come back. Knows no check.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from fwprof import environment
from fwprof.cancellation import Cancellation
from fwprof.errors import WorkerCrashedError
from fwprof.launcher.guard import Guard
from fwprof.launcher.link import WorkerEnded
from fwprof.launcher.process import Switchboard, WorkerProcess
from fwprof.records import CheckOutcome, Device, Failure, FrameworkChoice, PluginRef, frames

R = TypeVar("R")

PROGRAM = "fwprof.testing.conformance"
THREADS = 1

Observer = Callable[[str, CheckOutcome | None], None]
"""Is told the name of a check when it begins, and again with its outcome."""


def check_plugin(
    plugin: PluginRef, choice: FrameworkChoice, device: Device, limit_seconds: float, observer: Observer
) -> Sequence[CheckOutcome]:
    """Run every check on a plugin, whatever the ones before found.

    Args:
        plugin: what is checked.
        choice: variant and options of a framework.
        device: where a framework builds, and what a meter reads.
        limit_seconds: how long one check may take.
        observer: is told each check's beginning and end.

    Raises:
        WorkerCrashedError: the suite itself cannot be started.
    """
    outcomes: list[CheckOutcome] = []
    names: Sequence[str] | None = None
    with tempfile.TemporaryDirectory(prefix="fwprof-") as scratch:
        while names is None or len(outcomes) < len(names):
            order = frames.OpenChecks(
                plugin=plugin,
                device=device,
                folder=tempfile.mkdtemp(dir=scratch),
                variant=choice.variant,
                options=choice.options,
            )
            with _child(device, limit_seconds) as link:
                try:
                    names = _answer(link, order, frames.ChecksListed).checks
                except WorkerEnded as ended:
                    raise WorkerCrashedError(
                        "the conformance suite did not start",
                        cause=ended.failure.message,
                        next=_last_line(ended.failure),
                    ) from ended
                _run(link, names[len(outcomes) :], outcomes, limit_seconds, observer)
    return outcomes


def _run(
    link: WorkerProcess,
    names: Sequence[str],
    outcomes: list[CheckOutcome],
    limit_seconds: float,
    observer: Observer,
) -> None:
    """Run checks until one does not come back."""
    for name in names:
        observer(name, None)
        try:
            outcome = _answer(link, frames.RunCheck(check=name), frames.CheckDone).outcome
        except WorkerEnded as ended:
            outcome = CheckOutcome(
                check=name, verdict="error", message=_what_happened(ended.failure, limit_seconds)
            )
            outcomes.append(outcome)
            observer(name, outcome)
            return
        outcomes.append(outcome)
        observer(name, outcome)


def _answer(link: WorkerProcess, order: frames.Order, answer: type[R]) -> R:
    link.send(order)
    report = link.receive()
    assert isinstance(report, answer)
    return report


@contextmanager
def _child(device: Device, limit_seconds: float) -> Iterator[WorkerProcess]:
    switchboard = Switchboard(Cancellation())
    guard = Guard()
    variables = {**environment.thread_environment(THREADS), **device.environment}
    try:
        link = WorkerProcess(switchboard, guard, variables, {"start": limit_seconds}, program=PROGRAM)
        try:
            yield link
        finally:
            link.end()
    finally:
        guard.close()
        switchboard.close()


def _what_happened(failure: Failure, limit_seconds: float) -> str:
    if failure.fate == "timeout":
        return f"it took longer than {limit_seconds:g} s, and was ended"
    said = _last_line(failure)
    return failure.message.replace("the worker", "its process") + (f": {said}" if said else "")


def _last_line(failure: Failure) -> str:
    """Return where the process died, as Python's fault handler tells it, or what was printed last."""
    lines = failure.traceback.splitlines()
    places = [line for line in lines if line.startswith('  File "')]
    return (places[:1] or lines[-1:] or [""])[0].strip()[:200]
