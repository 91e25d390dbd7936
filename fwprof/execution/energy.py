"""Energy of a training step: what a counter grew by over many steps, beside what it grows by at rest.

The counter is the whole device's: its idle share is in it, and it moves in steps of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fwprof.records import Reading

LEAST_MOVES = 20
"""So often a counter must move in a window: at either end up to one move is missing or too many."""
LEAST_ABOVE_REST = 0.1
"""Share of the energy that must be above that of the device at rest: below, the figure would be that of
how long a step takes."""


@dataclass(frozen=True)
class Window:
    """What a meter's counter grew by in some time.

    Args:
        growth: µJ, with the samples it was taken from where the meter keeps them.
        seconds: how long.
    """

    growth: Reading
    seconds: float

    @property
    def watts(self) -> float | None:
        """Mean power; None where the counter could not be read."""
        return None if self.growth.value is None else self.growth.value / self.seconds / 1e6


def energy_of(busy: Window, steps: int, rest: Window) -> dict[str, Reading]:
    """Return the energy of a step, the device's power at rest, and what the step adds to it.

    Args:
        busy: while steps ran.
        steps: how many.
        rest: as long as the counter needs, with the model built and nothing running.

    Returns:
        `energy` and `energy_above_rest`, uJ/step, and `rest_power`, mW; null with the reason.
    """
    reason = busy.growth.reason if busy.growth.value is None else _why_not(busy, rest)
    # Of a counter that cannot be read there is no window to tell of.
    unread = busy.growth.value is None
    basis = busy.growth.basis if unread else f"{busy.growth.basis}; {steps} steps in {busy.seconds:.1f} s"
    energy = Reading(
        value=None if reason else _value(busy) / steps,
        unit="uJ/step",
        reason=reason,
        basis=basis,
        samples=busy.growth.samples,
    )
    if rest.watts is None:
        return {"energy": energy} | {
            name: Reading(value=None, unit=unit, reason=rest.growth.reason)
            for name, unit in (("energy_above_rest", "uJ/step"), ("rest_power", "mW"))
        }
    above = _value(busy) - rest.watts * busy.seconds * 1e6 if busy.growth.value is not None else 0.0
    return {
        "energy": energy,
        "energy_above_rest": Reading(
            value=None if reason else above / steps,
            unit="uJ/step",
            reason=reason,
            basis=basis if unread else f"{basis}; less what the device takes at rest",
        ),
        "rest_power": Reading(
            value=rest.watts * 1e3,
            unit="mW",
            basis=f"{rest.growth.basis}; {rest.seconds:.1f} s with the model built and nothing running",
            samples=rest.growth.samples,
        ),
    }


def _why_not(busy: Window, rest: Window) -> str:
    """Return why a counter's growth says nothing of the steps; empty where it does."""
    values = [value for _, value in busy.growth.samples]
    moves = sum(after != before for before, after in pairwise(values))
    if values and moves < LEAST_MOVES:
        return (
            f"the counter moved {moves} times in {busy.seconds:.1f} s: the window is too short for it "
            f"({LEAST_MOVES} are needed)"
        )
    if rest.watts is not None and busy.watts is not None:
        share = 1 - rest.watts / busy.watts if busy.watts else 0.0
        if share < LEAST_ABOVE_REST:
            return (
                f"the device was mostly idle: {busy.watts:.1f} W while steps ran, {rest.watts:.1f} W at rest"
            )
    return ""


def _value(window: Window) -> float:
    assert window.growth.value is not None
    return float(window.growth.value)
