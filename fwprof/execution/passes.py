"""The untimed passes of one worker: meters over program S.

They run in fresh processes, apart from timing, since every one of them slows the step down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import cycle

import msgspec

from fwprof.contracts import Meter, Programs, Staged
from fwprof.execution.energy import Window, energy_of
from fwprof.records import Reading

MIN_STEPS = 5
MIN_SAMPLES = 2
"""Below, there is no rate."""
ENERGY_WINDOW = "energy_window"
"""A meter's reading of this name is divided by the steps of the window: `energy`, uJ/step. A further
meter counts in its own namespace: `wall.energy_window` becomes `wall.energy`."""
REST_SECONDS = 3.0
"""How long the device is looked at while nothing runs, for the energy it takes all the same."""


def take_readings(
    programs: Programs,
    staged: Sequence[Staged],
    meters: Sequence[Meter],
    seconds: float,
    rate_hz: float,
    rest_seconds: float = REST_SECONDS,
) -> dict[str, Reading]:
    """Run program S for `seconds` (at least 5 steps) with the meters on.

    Where no meter can read anything, the window is not run: the reasons are the answer. Where one
    counts energy, the device is first looked at while it rests.
    """
    with _window(meters) as trial:
        pass
    if all(reading.value is None for reading in trial.readings.values()):
        return _with_energy(trial, 1, trial)
    rest = trial
    if any(trial.readings[name].value is not None for name in _counters(trial)):
        with _window(meters, rate_hz) as rest:
            time.sleep(rest_seconds)
    steps = 0
    with _window(meters, rate_hz) as busy:
        end = time.monotonic() + seconds
        for batch in cycle(staged):
            programs.wait(programs.run(batch))
            steps += 1
            if steps >= MIN_STEPS and time.monotonic() >= end:
                break
    return {name: _with_rate(reading) for name, reading in _with_energy(busy, steps, rest).items()}


def _with_rate(reading: Reading) -> Reading:
    """Say how often a meter was really sampled: its thread waits for the same interpreter as the steps."""
    if len(reading.samples) < MIN_SAMPLES:
        return reading
    seconds = (reading.samples[-1][0] - reading.samples[0][0]) / 1e9
    rate = f"{(len(reading.samples) - 1) / seconds:.3g} a second" if seconds else "at once"
    sampled = f"{len(reading.samples)} samples, {rate}"
    return msgspec.structs.replace(reading, basis="; ".join(filter(None, (reading.basis, sampled))))


@dataclass
class _Window:
    """What meters read from their start to their stop."""

    readings: dict[str, Reading] = field(default_factory=dict)
    seconds: float = 0.0


@contextmanager
def _window(meters: Sequence[Meter], rate_hz: float | None = None) -> Iterator[_Window]:
    """Have meters look at what is done inside; what they read is there afterwards."""
    window = _Window()
    begin = time.perf_counter()
    with watched(meters, rate_hz) as window.readings:
        yield window
    window.seconds = time.perf_counter() - begin


def _counters(window: _Window) -> Sequence[str]:
    """Return which readings count energy."""
    return [name for name in window.readings if name.rpartition(".")[2] == ENERGY_WINDOW]


def _with_energy(busy: _Window, steps: int, rest: _Window) -> dict[str, Reading]:
    """Return readings, those that count energy by the step."""
    readings = dict(busy.readings)
    for name in _counters(busy):
        found = energy_of(
            Window(readings.pop(name), busy.seconds), steps, Window(rest.readings[name], rest.seconds)
        )
        readings |= {name.removesuffix(ENERGY_WINDOW) + key: reading for key, reading in found.items()}
    return readings


@contextmanager
def watched(meters: Sequence[Meter], rate_hz: float | None) -> Iterator[dict[str, Reading]]:
    """Have meters look at what is done inside; their readings are in the mapping afterwards.

    Args:
        meters: are started before, and stopped after it.
        rate_hz: how often they sample meanwhile; None: not at all.
    """
    readings: dict[str, Reading] = {}
    for meter in meters:
        meter.start()
    with nullcontext() if rate_hz is None else _sampling(meters, rate_hz):
        yield readings
    readings.update({name: reading for meter in meters for name, reading in meter.stop().items()})


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
