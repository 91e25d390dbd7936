"""What meters of a plugin read while something runs, in the passes of the core that are not timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fwprof.execution.passes import take_readings
from fwprof.plugin import Meter, Reading


class _Steps:
    """Programs of which S alone is asked for."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step

    def run(self, staged: Any) -> None:  # noqa: ARG002 (a batch that is none)
        self._step()

    def wait(self, result: None) -> None:
        """Do nothing."""


def read_while(
    step: Callable[[], None],
    meters: Sequence[Meter],
    *,
    seconds: float = 0.0,
    rest_seconds: float = 0.0,
    rate_hz: float = 200.0,
) -> dict[str, Reading]:
    """Return what meters read while `step` runs again and again, as the core would store it.

    Args:
        step: stands for a training step.
        meters: of a plugin's hook `measure`; each is asked in the passes that it takes part in.
        seconds: how long, and at least five steps.
        rest_seconds: how long nothing runs before, where energy is counted.
        rate_hz: how often meters are sampled.
    """
    readings: dict[str, Reading] = {}
    for name in sorted({name for meter in meters for name in meter.passes}):
        chosen = [meter for meter in meters if name in meter.passes]
        programs: Any = _Steps(step)
        readings |= take_readings(programs, [None], chosen, seconds, rate_hz, rest_seconds)
    return readings
