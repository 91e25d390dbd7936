from __future__ import annotations

import time

import pytest

from fwprof.testing.clock import FakeClock, Phases


def test_a_fake_clock_stands_still_until_it_is_moved():
    clock = FakeClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    clock.sleep_ns(10)
    clock.advance(-3)
    assert clock.now_ns() == 15


def test_phases_move_the_fake_clock_by_exactly_their_length():
    clock = FakeClock()
    phases = Phases({"forward": 700}, slow=2.0, clock=clock)
    with phases.lasting("forward"):
        pass
    phases.spend(11)
    assert clock.now_ns() == 1411


def test_a_phase_without_a_length_still_moves_a_fake_clock():
    clock = FakeClock()
    with Phases({}, clock=clock).lasting("update"):
        pass
    assert clock.now_ns() == Phases.ON_A_FAKE_CLOCK_NS["update"]


def test_jitter_is_the_same_for_the_same_seed():
    lengths = []
    for _ in range(2):
        clock = FakeClock()
        phases = Phases({"forward": 1_000_000}, jitter=0.1, jitter_seed=3, clock=clock)
        for _ in range(3):
            with phases.lasting("forward"):
                pass
        lengths.append(clock.now_ns())
    assert lengths[0] == lengths[1] != 3_000_000


def test_a_real_phase_lasts_at_least_its_length():
    begin = time.perf_counter_ns()
    with Phases({"forward": 2_000_000}).lasting("forward"):
        pass
    # A lower bound only: nothing ends it earlier, whatever the machine does.
    assert time.perf_counter_ns() - begin >= 2_000_000


def test_a_real_phase_without_a_length_is_slowed_by_the_factor():
    outside = time.perf_counter_ns()
    with Phases({}, slow=3.0).lasting("forward"):
        inside = time.perf_counter_ns()
        time.sleep(0.002)
        worked_ns = time.perf_counter_ns() - inside
    # A lower bound again: what is measured inside is a part of the phase.
    assert time.perf_counter_ns() - outside >= 3 * worked_ns


def test_phases_show_the_clock_they_move():
    assert Phases({}, clock=FakeClock(7)).now_ns() == 7
    assert Phases({}).now_ns() <= time.perf_counter_ns()


def test_a_phase_ends_when_its_work_raises():
    clock = FakeClock()
    with pytest.raises(ValueError, match="no data"), Phases({}, clock=clock).lasting("data"):
        raise ValueError("no data")
    assert clock.now_ns() == 0
