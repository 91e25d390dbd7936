"""Energy of a step, from what a counter grew by while steps ran and while the device rested."""

from __future__ import annotations

from fwprof.execution.energy import LEAST_MOVES, Window, energy_of
from fwprof.records import Reading

NS = 10**9


def window(joules: float, seconds: float, moves: int | None = None) -> Window:
    """Return a window in which a counter grew so much, in that many moves (None: without samples)."""
    samples = () if moves is None else tuple((i * NS, float(min(i, moves))) for i in range(max(moves, 1) + 5))
    return Window(Reading(value=joules * 1e6, unit="uJ", basis="a counter", samples=samples), seconds)


UNREADABLE = Window(Reading(value=None, unit="uJ", reason="permission denied"), 3.0)


def test_a_step_takes_its_share_of_the_growth_and_less_without_what_rest_takes() -> None:
    found = energy_of(window(500.0, 5.0), 1000, window(90.0, 3.0))  # 100 W, of which 30 W at rest
    assert {name: (each.value, each.unit) for name, each in found.items()} == {
        "energy": (500_000.0, "uJ/step"),
        "energy_above_rest": (350_000.0, "uJ/step"),
        "rest_power": (30_000.0, "mW"),
    }
    assert found["energy"].basis == "a counter; 1000 steps in 5.0 s"
    assert found["rest_power"].basis == "a counter; 3.0 s with the model built and nothing running"


def test_a_counter_that_moved_too_seldom_says_nothing() -> None:
    found = energy_of(window(500.0, 5.0, moves=LEAST_MOVES - 1), 1000, window(0.0, 3.0))
    assert (found["energy"].value, found["energy_above_rest"].value) == (None, None)
    assert found["energy"].reason == (
        "the counter moved 19 times in 5.0 s: the window is too short for it (20 are needed)"
    )
    assert energy_of(window(500.0, 5.0, moves=LEAST_MOVES), 1000, window(0.0, 3.0))["energy"].value


def test_a_counter_that_stands_still_is_no_energy_of_zero() -> None:
    found = energy_of(window(0.0, 5.0, moves=0), 1000, window(0.0, 3.0, moves=0))
    assert found["energy"].value is None
    assert found["energy"].reason.startswith("the counter moved 0 times in 5.0 s")


def test_a_device_that_was_mostly_idle_gives_no_energy_of_a_step() -> None:
    found = energy_of(window(500.0, 5.0), 1000, window(279.0, 3.0))  # 100 W beside 93 W
    assert found["energy"].value is None
    assert found["energy"].reason == "the device was mostly idle: 100.0 W while steps ran, 93.0 W at rest"
    assert found["rest_power"].value == 93_000.0


def test_what_could_not_be_read_at_rest_leaves_the_energy_of_a_step() -> None:
    found = energy_of(window(500.0, 5.0), 1000, UNREADABLE)
    assert found["energy"].value == 500_000.0
    assert {(found[name].value, found[name].reason) for name in ("energy_above_rest", "rest_power")} == {
        (None, "permission denied")
    }


def test_what_could_not_be_read_while_steps_ran_is_null_with_its_reason() -> None:
    found = energy_of(UNREADABLE, 1000, window(90.0, 3.0))
    assert (found["energy"].value, found["energy"].reason) == (None, "permission denied")
    assert found["energy"].basis == found["energy_above_rest"].basis == ""  # no window of no counter
    assert (found["energy_above_rest"].value, found["energy_above_rest"].reason) == (
        None,
        "permission denied",
    )
