"""The host's meter of memory: on text, and on the real /proc where this is Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fwprof import host
from fwprof.contracts import Meter
from fwprof.execution.host_memory import CAME_BEFORE, MemoryMeter

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
resettable = pytest.mark.skipif(
    sys.platform == "linux" and not host.forget_peak(), reason="this kernel does not forget a peak"
)
LARGE, LESS = 200_000_000, 60_000_000


def take_and_give_back(size: int) -> None:
    """Take memory for a moment; ones, since zeros that nobody wrote take none."""
    np.ones(size, dtype=np.uint8)


def process_stat(root: Path, pid: int, parent: int) -> None:
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stat").write_text(f"{pid} (child) S {parent} 1 1 0\n")


def memory_proc(root: Path, children_kib: dict[int, int], own_kib: int = 1000) -> None:
    folder = root / "proc/self"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t    {own_kib} kB\nVmRSS:\t     600 kB\n")
    for pid, kib in children_kib.items():
        process_stat(root, pid, os.getpid())
        (root / f"proc/{pid}/smaps_rollup").write_text(f"00-ff ---p [rollup]\nRss: 9 kB\nPss: {kib} kB\n")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a child that sleeps."""
    code = "print(flush=True); import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_peak_is_this_process_and_the_most_its_children_held_at_once(tmp_path: Path) -> None:
    meter = MemoryMeter(tmp_path)
    memory_proc(tmp_path, {70: 10, 71: 20})
    meter.start()
    memory_proc(tmp_path, {70: 100, 71: 200})
    process_stat(tmp_path, 72, 71)
    (tmp_path / "proc/72/smaps_rollup").write_text("Pss: 5 kB\n")
    meter.sample()
    memory_proc(tmp_path, {70: 1, 71: 1})
    reading = meter.stop()["host_peak"]
    assert reading.value == (1000 + 305) * 1024
    assert reading.unit == "bytes"
    assert "VmHWM" in reading.basis


def test_a_second_window_forgets_the_children_of_the_first_and_the_whole_does_not(tmp_path: Path) -> None:
    meter = MemoryMeter(tmp_path)
    memory_proc(tmp_path, {70: 100})
    meter.start()
    meter.stop()
    memory_proc(tmp_path, {70: 1}, own_kib=1010)
    meter.start()
    memory_proc(tmp_path, {70: 1}, own_kib=1020)
    readings = meter.stop()
    assert readings["host_steady_peak"].value == 1021 * 1024
    assert readings["host_peak"].value == 1100 * 1024


def test_without_a_reset_a_window_below_the_peak_before_is_null_with_its_reason(tmp_path: Path) -> None:
    memory_proc(tmp_path, {})
    meter = MemoryMeter(tmp_path)
    meter.start()
    readings = meter.stop()
    assert readings["host_peak"].value == 1000 * 1024
    assert (readings["host_steady_peak"].value, readings["host_steady_peak"].reason) == (None, CAME_BEFORE)


def test_a_kernel_that_takes_the_order_and_does_nothing_is_noticed(tmp_path: Path) -> None:
    memory_proc(tmp_path, {}, own_kib=90_000)
    orders = tmp_path / "proc/self/clear_refs"
    orders.write_text("")
    assert not host.forget_peak(tmp_path)
    assert orders.read_text() == "5"


def test_a_peak_that_is_what_is_resident_needs_no_forgetting(tmp_path: Path) -> None:
    memory_proc(tmp_path, {}, own_kib=600)
    (tmp_path / "proc/self/clear_refs").write_text("")
    assert host.forget_peak(tmp_path)


def test_without_proc_the_peaks_are_null_with_their_reason(tmp_path: Path) -> None:
    meter = MemoryMeter(tmp_path)
    meter.start()
    for reading in meter.stop().values():
        assert reading.value is None
        assert reading.reason == "this system has no /proc as Linux has it"


@on_linux
def test_the_real_peak_is_at_least_what_is_resident() -> None:
    meter = MemoryMeter()
    assert isinstance(meter, Meter)
    meter.start()
    peak = meter.stop()["host_peak"].value
    resident = host.resident_bytes()
    assert resident is not None
    assert peak is not None
    assert peak >= resident - host.COUNT_LAG


@on_linux
@resettable
def test_a_window_has_a_peak_of_its_own_and_the_whole_keeps_the_highest() -> None:
    meter = MemoryMeter()
    resident = host.resident_bytes() or 0
    meter.start()
    take_and_give_back(LARGE)
    high = meter.stop()["host_steady_peak"].value
    meter.start()
    take_and_give_back(LESS)
    readings = meter.stop()
    low, whole = readings["host_steady_peak"].value, readings["host_peak"].value
    assert high is not None
    assert low is not None
    assert whole is not None
    assert high >= resident + LARGE - host.COUNT_LAG
    assert low < high - (LARGE - LESS) / 2
    assert whole >= high


@on_linux
@resettable
def test_what_came_before_the_first_window_is_in_the_whole() -> None:
    take_and_give_back(LARGE)
    before = host.peak_bytes()
    meter = MemoryMeter()
    meter.start()
    readings = meter.stop()
    assert before is not None
    assert (readings["host_peak"].value or 0) >= before - host.COUNT_LAG
    assert (readings["host_steady_peak"].value or before) < before - LARGE / 2


@on_linux
def test_a_real_child_adds_to_the_peak(sleeper: subprocess.Popen[bytes]) -> None:
    meter = MemoryMeter()
    meter.start()
    readings = meter.stop()
    assert host.children_bytes() > 0
    window = readings["host_steady_peak"]
    own = int(window.basis.partition("(")[2].partition(")")[0])
    assert window.value is None or window.value > own
