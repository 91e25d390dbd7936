"""A framework's own training loops are timed apart from the programs, a fair number of steps a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwprof.execution.own_loops import CAP_NS, time_loops
from fwprof.execution.session import Session
from fwprof.testing.clock import FakeClock

MS = 1_000_000


class Loops:
    """Model and programs at once: every step of the loop takes as long as it is told."""

    def __init__(self, clock: FakeClock, step_ns: int) -> None:
        self.clock = clock
        self.step_ns = step_ns
        self.calls: list[str] = []

    def reset(self) -> None:
        self.calls.append("reset")

    def api(self) -> dict[str, Callable[[int], None]]:
        return {"fit": self._train, "train_on_batch": self._train}

    def _train(self, steps: int) -> None:
        self.calls.append(str(steps))
        self.clock.advance(steps * self.step_ns)


def timed(clock: FakeClock, step_ns: int) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    loops: Any = Loops(clock, step_ns)
    return time_loops(loops, loops, clock, step_ns), loops.calls


def test_each_loop_starts_from_the_canonical_start_and_leads_in_once(clock: FakeClock) -> None:
    times, calls = timed(clock, MS)
    assert times == {"fit": (MS,) * 5, "train_on_batch": (MS,) * 5}
    assert calls == ["reset", *["200"] * 6] * 2


def test_slow_steps_come_ten_at_a_time(clock: FakeClock) -> None:
    assert timed(clock, 25 * MS)[1][1] == "10"


@pytest.mark.parametrize(("step_ns", "steps"), [(100 * MS, 3), (300 * MS, 1), (900 * MS, 1)])
def test_slower_ones_fit_under_the_cap(clock: FakeClock, step_ns: int, steps: int) -> None:
    times, calls = timed(clock, step_ns)
    assert calls[1] == str(steps)
    assert (len(times["fit"]) - 1) * steps * step_ns < CAP_NS
    assert set(times["fit"]) == {step_ns}


def test_steps_of_unknown_length_come_ten_at_a_time(clock: FakeClock) -> None:
    loops: Any = Loops(clock, MS)
    time_loops(loops, loops, clock, 0.0)
    assert loops.calls[1] == "10"


def test_a_framework_without_loops_has_no_times(scripted: Callable[..., tuple[Any, Session]]) -> None:
    script, session = scripted()
    assert session.time_api() == {}
    assert script.calls == []


def test_the_loop_of_the_fake_costs_what_it_adds(built: Callable[..., Session]) -> None:
    session = built(loop_us=500)
    session.warm_up("run", 10**9)
    (times,) = session.time_api().values()
    # 100 + 200 + 50 µs are the step's phases on the fake clock.
    assert times == (850_000,) * 5
