"""Known lengths: a clock that only fakes move, and phases that last as long as they are told.

Owns what a fake's time is made of. Knows nothing of hooks or networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import numpy as np

PhaseName = Literal["forward", "backward", "update", "data", "compile", "loop"]


class FakeClock:
    """A `Clock` that stands still until somebody moves it.

    Args:
        now_ns: what it shows at first.
    """

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Return the time shown."""
        return self._now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Let `duration_ns` pass at once."""
        self.advance(duration_ns)

    def advance(self, duration_ns: int) -> None:
        """Let `duration_ns` pass, as work does."""
        self._now_ns += max(0, duration_ns)


class Phases:
    """Makes each phase last a known time.

    With a fake clock the clock is moved by exactly that time; without one the CPU is kept busy,
    after the real computation, until the whole phase has lasted that long.

    Args:
        length_ns: phase → its length; one left out or 0 takes what its computation takes, and on
            a fake clock its entry in `ON_A_FAKE_CLOCK_NS`.
        slow: factor on every phase.
        jitter: standard deviation of the logarithm of every phase's length.
        jitter_seed: None: other numbers in each process.
        clock: the fake clock, or None for real time.
    """

    ON_A_FAKE_CLOCK_NS: Mapping[PhaseName, int] = {
        "forward": 100_000,
        "backward": 200_000,
        "update": 50_000,
        "data": 20_000,
        "compile": 1_000_000,
        "loop": 50_000,
    }

    def __init__(
        self,
        length_ns: Mapping[PhaseName, int],
        *,
        slow: float = 1.0,
        jitter: float = 0.0,
        jitter_seed: int | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self._length_ns = dict(length_ns)
        self._slow = slow
        self._jitter = jitter
        self._random = np.random.default_rng(jitter_seed)
        self._clock = clock

    @contextmanager
    def lasting(self, phase: PhaseName) -> Iterator[None]:
        """Make what is done inside last as long as the phase should."""
        started_ns = time.perf_counter_ns()
        yield
        length_ns = self._length_ns.get(phase, 0)
        if self._clock is not None:
            self._clock.advance(self._vary(length_ns or self.ON_A_FAKE_CLOCK_NS[phase]))
        elif length_ns or self._slow != 1.0 or self._jitter:
            _spin_until(started_ns + self._vary(length_ns or time.perf_counter_ns() - started_ns))

    def spend(self, duration_ns: int) -> None:
        """Let `duration_ns` pass as work does."""
        if self._clock is not None:
            self._clock.advance(duration_ns)
        else:
            _spin_until(time.perf_counter_ns() + duration_ns)

    def now_ns(self) -> int:
        """Return the time on the clock that phases move."""
        return self._clock.now_ns() if self._clock is not None else time.perf_counter_ns()

    def _vary(self, length_ns: int) -> int:
        noise = self._random.normal(0.0, self._jitter) if self._jitter else 0.0
        return round(length_ns * self._slow * math.exp(noise))


def _spin_until(end_ns: int) -> None:
    while time.perf_counter_ns() < end_ns:
        pass
