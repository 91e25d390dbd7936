"""What a TPU says of itself: through jax in the worker that has it, and through libtpu where present."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import fmean
from typing import Any

from fwprof.plugin import Device, Reading


@dataclass(frozen=True)
class Counter:
    """One figure: how to read it, and what a window's samples come to."""

    name: str
    unit: str
    read: Callable[[Device], float]
    """Value now; LookupError where there is none, with the reason."""
    fold: Callable[[Sequence[float]], float]
    basis: str


class ChipMeter:
    """Samples the counters of one chip from `start` to `stop`, both included."""

    def __init__(self, device: Device, passes: Sequence[str], counters: Sequence[Counter]) -> None:
        self.passes = passes
        self._device = device
        self._counters = counters
        self._samples: dict[str, list[tuple[int, float]]] = {}
        self._reasons: dict[str, str] = {}
        self._began_ns = 0

    def start(self) -> None:
        """Begin a window with a first sample."""
        self._samples = {counter.name: [] for counter in self._counters}
        self._reasons = {}
        self._began_ns = time.perf_counter_ns()
        self.sample()

    def sample(self) -> None:
        """Read every counter that has not failed."""
        for counter in self._counters:
            if counter.name in self._reasons:
                continue
            try:
                value = counter.read(self._device)
            except LookupError as error:
                self._reasons[counter.name] = str(error.args[0])
            else:
                elapsed_ns = time.perf_counter_ns() - self._began_ns
                self._samples[counter.name].append((elapsed_ns, value))

    def stop(self) -> Mapping[str, Reading]:
        """Take the last sample and return one reading a counter."""
        self.sample()
        return {counter.name: self._reading(counter) for counter in self._counters}

    def _reading(self, counter: Counter) -> Reading:
        if reason := self._reasons.get(counter.name):
            return Reading(value=None, unit=counter.unit, reason=reason)
        samples = self._samples[counter.name]
        return Reading(
            value=counter.fold([value for _, value in samples]),
            unit=counter.unit,
            basis=counter.basis,
            samples=tuple(samples),
        )


def _jax_memory(key: str) -> Callable[[Device], float]:
    def read(device: Device) -> float:
        jax = sys.modules.get("jax")
        if jax is None:
            raise LookupError("this framework tells no memory of a TPU: only jax does")
        platform, _, index = device.native.get("jax", "tpu").partition(":")
        statistics: Mapping[str, int] | None = jax.devices(platform)[int(index or 0)].memory_stats()
        if statistics is None or key not in statistics:
            raise LookupError("jax tells no memory of this device: it is simulated on the host")
        return statistics[key]

    return read


def _busy_share(device: Device) -> float:
    if find_spec("libtpu") is None:
        raise LookupError("libtpu is not installed, which counts how long a TPU is busy")
    try:
        from libtpu.sdk import tpumonitoring  # type: ignore[import-not-found]  # only where there are TPUs

        data: Any = tpumonitoring.get_metric("duty_cycle_pct").data()
    except Exception as error:  # libtpu has no errors of its own
        raise LookupError(f"libtpu cannot tell: {error}") from error
    index = int(device.name.partition(":")[2] or 0)
    if len(data) <= index:
        raise LookupError(f"libtpu tells of {len(data)} chips")
    return float(data[index])


MEMORY = (
    Counter(
        "device_process_memory",
        "bytes",
        _jax_memory("peak_bytes_in_use"),
        max,
        "jax memory_stats: peak of what its allocator handed out on the chip, since the process began",
    ),
    Counter(
        "tpu.memory_in_use",
        "bytes",
        _jax_memory("bytes_in_use"),
        max,
        "jax memory_stats: what is in use; largest sample",
    ),
)
"""Counters of the memory pass."""

ACTIVITY = (
    Counter("utilisation", "percent", _busy_share, fmean, "libtpu, duty cycle of the chip; mean of samples"),
)
"""Counters of the energy pass; no TPU tells its energy."""
