"""What NVML counts on one card, sampled over a window.

A counter the card or driver does not support is null with NVML's own reason; the others go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import or_
from statistics import fmean
from typing import Any

from fwprof.plugin import Reading
from fwprof_cuda.cards import nvml_session, nvml_words
from fwprof_cuda.processes import foreign_among, processes_on

_OTHER_NUMBERS = "NVML lists no process of this pid (in a container it knows other numbers)"
_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""Power cap, hardware slow-down, heat by software and by hardware, power brake: not an idle card, nor
clocks that somebody chose. Source: nvml.h, nvmlClocksEventReasons."""


@dataclass(frozen=True)
class Counter:
    """One figure of a card: how to read it, and what a window's samples come to."""

    name: str
    unit: str
    read: Callable[[Any, Any], float]
    """(pynvml, card handle) → value now; LookupError where NVML has none."""
    fold: Callable[[Sequence[float]], float]
    basis: str


class CardMeter:
    """Samples the counters of one card from `start` to `stop`, both included."""

    def __init__(self, uuid: str, passes: Sequence[str], counters: Sequence[Counter]) -> None:
        self.passes = passes
        self._uuid = uuid
        self._counters = counters
        self._samples: dict[str, list[tuple[int, float]]] = {}
        self._reasons: dict[str, str] = {}
        self._open = ExitStack()
        self._nvml: Any = None
        self._handle: Any = None
        self._began_ns = 0

    def start(self) -> None:
        """Open the card and take the first sample."""
        import pynvml

        self._samples = {counter.name: [] for counter in self._counters}
        self._reasons = {}
        try:
            self._nvml = self._open.enter_context(nvml_session())
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(self._uuid)
        except pynvml.NVMLError as error:
            self._reasons = dict.fromkeys(self._samples, nvml_words(error))
        self._began_ns = time.perf_counter_ns()
        self.sample()

    def sample(self) -> None:
        """Read every counter that has not failed."""
        for counter in self._counters:
            if counter.name not in self._reasons:
                self._read(counter)

    def stop(self) -> Mapping[str, Reading]:
        """Take the last sample, close the card, and return one reading a counter."""
        self.sample()
        self._open.close()
        return {counter.name: self._reading(counter) for counter in self._counters}

    def _read(self, counter: Counter) -> None:
        try:
            value = counter.read(self._nvml, self._handle)
        except LookupError as error:
            self._reasons[counter.name] = str(error.args[0])
        except self._nvml.NVMLError as error:
            self._reasons[counter.name] = nvml_words(error)
        else:
            elapsed_ns = time.perf_counter_ns() - self._began_ns
            self._samples[counter.name].append((elapsed_ns, value))

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


def _process_memory(nvml: Any, card: Any) -> float:
    for process in processes_on(nvml, card):
        if process.pid == os.getpid():
            if process.memory_bytes is None:
                raise LookupError("NVML does not tell memory by process here")
            return process.memory_bytes
    raise LookupError(_OTHER_NUMBERS)


def _foreign_processes(nvml: Any, card: Any) -> float:
    processes = processes_on(nvml, card)
    if all(process.pid != os.getpid() for process in processes):
        raise LookupError(_OTHER_NUMBERS)
    return len(foreign_among(processes))


def _is_throttled(nvml: Any, card: Any) -> float:
    reasons = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card))
    return bool(reasons & _SLOWED)


def _growth(values: Sequence[float]) -> float:
    return values[-1] - values[0]


def _any_bit(values: Sequence[float]) -> float:
    return reduce(or_, map(int, values))


MEMORY = (
    Counter(
        "device_process_memory",
        "bytes",
        _process_memory,
        max,
        "NVML, this process on the card, context included; largest sample",
    ),
    Counter(
        "cuda.card_memory",
        "bytes",
        lambda nvml, card: int(nvml.nvmlDeviceGetMemoryInfo(card).used),
        max,
        "NVML, all that is allocated or reserved on the card; largest sample",
    ),
    Counter(
        "foreign_processes",
        "1",
        _foreign_processes,
        max,
        "NVML, processes that compute on the card and are not of this run; most in any sample",
    ),
)
"""Counters of the memory pass."""

ACTIVITY = (
    Counter(
        "energy_window",
        "uJ",
        lambda nvml, card: int(nvml.nvmlDeviceGetTotalEnergyConsumption(card)) * 1000,
        _growth,
        "NVML total energy of the card, idle share included",
    ),
    Counter(
        "utilisation",
        "percent",
        lambda nvml, card: int(nvml.nvmlDeviceGetUtilizationRates(card).gpu),
        fmean,
        "NVML, share of time with a kernel on the card, however small; mean of samples",
    ),
    Counter(
        "power",
        "mW",
        lambda nvml, card: int(nvml.nvmlDeviceGetPowerUsage(card)),
        fmean,
        "NVML power reading, which covers only a part of the time on recent cards; mean of samples",
    ),
    Counter(
        "throttled",
        "percent",
        _is_throttled,
        lambda values: 100 * fmean(values),
        "NVML clock event reasons of power cap, heat, power brake or hardware slow-down; share of samples",
    ),
    Counter(
        "temperature",
        "degC",
        lambda nvml, card: int(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
        max,
        "NVML, die; largest sample",
    ),
    Counter(
        "cuda.sm_clock",
        "MHz",
        lambda nvml, card: int(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)),
        fmean,
        "NVML, SM clock; mean of samples",
    ),
    Counter(
        "cuda.throttle_reasons",
        "1",
        lambda nvml, card: int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card)),
        _any_bit,
        "NVML bit mask: every reason for a lower clock that was seen in any sample",
    ),
)
"""Counters of the energy pass."""
