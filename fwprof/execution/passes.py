"""The untimed passes of one worker: meters over program S.

They run in fresh processes, apart from timing, since every one of them slows the step down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

from fwprof.contracts import Meter, Programs, Staged
from fwprof.records import Reading

MIN_STEPS = 5
ENERGY_WINDOW = "energy_window"
"""A meter's reading of this name is divided by the steps of the window: `energy`, uJ/step."""


def take_readings(
    programs: Programs, staged: Sequence[Staged], meters: Sequence[Meter], seconds: float, rate_hz: float
) -> dict[str, Reading]:
    """Run program S for `seconds` (at least 5 steps) with the meters on.

    Where no meter can read anything, the window is not run: the reasons are the answer.
    """
    trial = _window(meters)
    if all(reading.value is None for reading in trial.values()):
        return trial
    steps = 0
    for meter in meters:
        meter.start()
    with _sampling(meters, rate_hz):
        end = time.monotonic() + seconds
        for batch in cycle(staged):
            programs.wait(programs.run(batch))
            steps += 1
            if steps >= MIN_STEPS and time.monotonic() >= end:
                break
    readings = {name: reading for meter in meters for name, reading in meter.stop().items()}
    return _per_step(readings, steps)


@contextmanager
def watched(meters: Sequence[Meter], rate_hz: float) -> Iterator[dict[str, Reading]]:
    """Have meters look at what is done inside; their readings are in the mapping afterwards."""
    readings: dict[str, Reading] = {}
    for meter in meters:
        meter.start()
    with _sampling(meters, rate_hz):
        yield readings
    readings.update({name: reading for meter in meters for name, reading in meter.stop().items()})


def _window(meters: Sequence[Meter]) -> dict[str, Reading]:
    """Open and close an empty window: what cannot be read says so at once."""
    for meter in meters:
        meter.start()
    return _per_step({name: reading for meter in meters for name, reading in meter.stop().items()}, 1)


def _per_step(readings: dict[str, Reading], steps: int) -> dict[str, Reading]:
    if (window := readings.pop(ENERGY_WINDOW, None)) is not None:
        value = None if window.value is None else window.value / steps
        readings["energy"] = Reading(
            value=value,
            unit="uJ/step",
            reason=window.reason,
            basis=f"{window.basis}; {steps} steps" if value is not None else window.basis,
            samples=window.samples,
        )
    return readings


@contextmanager
def _sampling(meters: Sequence[Meter], rate_hz: float) -> Iterator[None]:
    """Let every meter take a sample at a steady rate, from a thread."""
    over = threading.Event()

    def sample() -> None:
        while not over.wait(1 / rate_hz):
            for meter in meters:
                meter.sample()

    thread = threading.Thread(target=sample, name="fwprof-sampler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
