"""Times the training loops that a framework brings along: what they cost beside program S.

Owns how many steps and calls. Knows a model, programs and a clock; no framework and no file.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping

from fwprof.contracts import Clock, Model, Programs

MIN_CALLS = 5
MIN_STEPS = 10
CALL_NS = 200_000_000
"""A call lasts about this long: what a loop does once (callbacks, epoch ends) is spread over its
steps, as it is when a user trains."""
CAP_NS = 2_000_000_000
"""Of all the calls of one loop; what its first call may compile stands outside."""


def time_loops(model: Model, programs: Programs, clock: Clock, step_ns: float) -> dict[str, tuple[int, ...]]:
    """Return loop → ns a step, one value a call; empty where the framework has no loop.

    Args:
        model: reset to the canonical start before each loop.
        programs: may have `api()`.
        clock: the clock of every figure.
        step_ns: about how long a step takes; 0: not known.
    """
    api = getattr(programs, "api", None)
    loops: Mapping[str, Callable[[int], None]] = api() if api is not None else {}
    steps = _step_count(step_ns)
    return {name: _time_calls(model, loop, clock, steps) for name, loop in loops.items()}


def _step_count(step_ns: float) -> int:
    """Return the steps of one call: at least ten, but all calls fit under the cap."""
    if not step_ns:
        return MIN_STEPS
    wanted = max(MIN_STEPS, math.ceil(CALL_NS / step_ns))
    return max(1, min(wanted, int(CAP_NS / ((MIN_CALLS + 1) * step_ns))))


def _time_calls(model: Model, loop: Callable[[int], None], clock: Clock, steps: int) -> tuple[int, ...]:
    model.reset()
    loop(steps)
    values: list[int] = []
    begin = clock.now_ns()
    while len(values) < MIN_CALLS and not (values and clock.now_ns() - begin >= CAP_NS):
        # As in a block: collected before, not meanwhile.
        gc.collect()
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            start = clock.now_ns()
            loop(steps)
            values.append((clock.now_ns() - start) // steps)
        finally:
            if was_enabled:
                gc.enable()
    return tuple(values)
