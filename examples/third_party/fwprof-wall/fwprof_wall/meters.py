"""Reads a counter that another program keeps in a file, such as one that asks a metering plug."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fwprof.plugin import Reading

VARIABLE = "FWPROF_WALL_COUNTER"
"""Names the file. It holds one number: the joules that the meter counted so far."""
MICRO = 1e6


class WallMeter:
    """Counts `wall.energy_window`: what the whole machine took from the wall between `start` and `stop`.

    Args:
        counter: the file; None: nobody named one.
    """

    passes: Sequence[str] = ("energy",)

    def __init__(self, counter: Path | None) -> None:
        self._counter = counter
        self._samples: list[tuple[int, float]] = []
        self._reason = ""
        self._began_ns = 0

    def start(self) -> None:
        """Begin to count."""
        self._samples, self._reason = [], ""
        self._began_ns = time.perf_counter_ns()
        self.sample()

    def sample(self) -> None:
        """Look at the counter."""
        if self._counter is None:
            self._reason = f"{VARIABLE} names no file"
        if self._counter is None or self._reason:
            return
        try:
            joules = float(self._counter.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            self._reason = f"{self._counter}: {error}"
            return
        self._samples.append((time.perf_counter_ns() - self._began_ns, joules * MICRO))

    def stop(self) -> Mapping[str, Reading]:
        """Return what was counted, in uJ."""
        self.sample()
        values = [value for _, value in self._samples]
        if not self._reason and values[-1] < values[0]:
            self._reason = f"{self._counter} went back: its counter began anew"
        if self._reason:
            return {"wall.energy_window": Reading(value=None, unit="uJ", reason=self._reason)}
        reading = Reading(
            value=values[-1] - values[0],
            unit="uJ",
            basis=f"the counter in {self._counter}, of the whole machine",
            samples=tuple(self._samples),
        )
        return {"wall.energy_window": reading}
