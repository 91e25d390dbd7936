"""How often XLA compiled in this process.

A counter inside a traced function would miss half of it: jax also compiles without tracing again,
where an argument's placement changed.
"""

from __future__ import annotations

from functools import cache

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:  # noqa: ARG002 (jax hands them over)
        self.count += event == _EVENT


@cache
def _counter() -> _Counter:
    counter = _Counter()
    jax.monitoring.register_event_duration_secs_listener(counter)
    return counter


def count_compilations() -> int:
    """Return how many programs were compiled since the first call."""
    return _counter().count
