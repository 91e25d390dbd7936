"""The global state of the fake framework, as every framework has some, and a change behind its back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fwprof.plugin import Scalar


class Runtime:
    """The global state of the fake framework, as every framework has some."""

    def __init__(self) -> None:
        self._threads = 1

    def set_threads(self, count: int) -> None:
        """Use `count` threads from now on."""
        self._threads = count

    def get_threads(self) -> int:
        """Return how many threads are in use."""
        return self._threads


runtime = Runtime()


@contextmanager
def one_thread_more() -> Iterator[tuple[str, Scalar]]:
    """Change the threads of the runtime behind the plugin's back, for a while."""
    before = runtime.get_threads()
    runtime.set_threads(before + 1)
    try:
        yield "threads", before + 1
    finally:
        runtime.set_threads(before)
