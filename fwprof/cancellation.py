"""How a run is asked to stop from outside: another thread, a signal handler, a notebook."""

from __future__ import annotations

import os
import threading


class Cancellation:
    """Asks a run to stop; safe to call from signal handlers and other threads.

    The run finishes the block it is in, stores what it has and returns a result with
    `is_interrupted`. One object serves one run.
    """

    def __init__(self) -> None:
        self._is_cancelled = False
        self._reader: int | None = None
        self._writer: int | None = None
        # Reentrant: a signal handler may come while its own thread holds it.
        self._lock = threading.RLock()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Ask the run to stop. Calling it again changes nothing."""
        with self._lock:
            is_first, self._is_cancelled = not self._is_cancelled, True
            if is_first and self._writer is not None:
                # Wakes the launcher, which sleeps in poll while a worker measures.
                os.write(self._writer, b"!")

    def open_descriptor(self) -> int:
        """Return a descriptor that becomes readable on `cancel`. For the launcher."""
        with self._lock:
            if self._reader is None:
                self._reader, self._writer = os.pipe()
                if self._is_cancelled:
                    os.write(self._writer, b"!")
            return self._reader

    def close_descriptor(self) -> None:
        """Close what `open_descriptor` opened. For the launcher."""
        with self._lock:
            reader, writer = self._reader, self._writer
            self._reader = self._writer = None
        for descriptor in (reader, writer):
            if descriptor is not None:
                os.close(descriptor)
