"""Ctrl-C once: finish the block, store, print. Twice: stop now. Only the command line does this."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fwprof.cli.messages import note
from fwprof.errors import ExitCode

if TYPE_CHECKING:
    from types import FrameType

    from fwprof.api import Cancellation

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class Interruption:
    """Which signal came first, if one came."""

    def __init__(self) -> None:
        self.status: ExitCode | None = None


@contextmanager
def interruptible(cancellation: Cancellation) -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into a cancellation, and the second into an immediate stop."""
    seen = Interruption()

    def handle(number: int, _: FrameType | None) -> None:
        if seen.status is not None:
            raise KeyboardInterrupt
        seen.status = _SIGNALS[signal.Signals(number)]
        cancellation.cancel()
        note("\nstopping after this block; what is measured is kept (once more: stop now)")

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
