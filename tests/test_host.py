"""The host's meters: parsers on text, and the real /proc where this is Linux."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwprof import host
from fwprof.contracts import PeakKernels

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")

STAT = "cpu  100 20 30 4000 50 6 7 8 90 1\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"


def burn(count: int) -> int:
    return sum(range(count))


def test_busy_time_holds_everything_but_waiting_and_guests() -> None:
    assert host.parse_machine_cpu(STAT, 10) == ((100 + 20 + 30 + 6 + 7) * 10, 80)


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n"])
def test_a_stat_that_lacks_fields_counts_nothing(text: str) -> None:
    assert host.parse_machine_cpu(text, 10) == (None, None)


def test_pressure_is_the_total_of_some_in_ns() -> None:
    text = "some avg10=0.79 avg60=1.09 avg300=0.32 total=5645718\nfull avg10=0.00 total=9\n"
    assert host.parse_pressure(text) == 5645718000


def test_no_pressure_file_is_none() -> None:
    assert host.parse_pressure("") is None


@pytest.mark.parametrize(
    ("text", "runnable"), [("0.33 1.13 1.41 2/81 23858\n", 2), ("", None), ("0.33 1.13 1.41", None)]
)
def test_runnable_tasks_are_the_fourth_field(text: str, runnable: int | None) -> None:
    assert host.parse_runnable(text) == runnable


@on_linux
def test_the_one_who_looks_is_runnable() -> None:
    assert (host.runnable_tasks() or 0) >= 1


def test_ending_a_window_that_was_not_begun_is_refused() -> None:
    with pytest.raises(RuntimeError, match="called before begin"):
        host.HostProbe().end()


def test_a_window_ends_once() -> None:
    probe = host.HostProbe()
    probe.begin()
    probe.end()
    with pytest.raises(RuntimeError, match="called before begin"):
        probe.end()


@on_linux
def test_the_probe_counts_this_process() -> None:
    probe = host.HostProbe()
    probe.begin()
    burn(300_000)
    counters = probe.end()
    assert counters.window_ns > 0
    assert counters.cpu_ns is not None
    assert counters.cpu_ns > 0
    assert counters.run_delay_ns is not None
    assert counters.run_delay_ns >= 0
    assert counters.involuntary_switches is not None
    assert counters.steal_ns is not None


def fake_proc(root: Path, busy_ticks: int, delays: dict[int, int], pressure_us: int) -> None:
    proc = root / "proc"
    (proc / "pressure").mkdir(parents=True, exist_ok=True)
    (proc / "stat").write_text(f"cpu {busy_ticks} 0 0 0 0 0 0 3 0 0\n")
    (proc / "pressure/cpu").write_text(f"some avg10=0 avg60=0 avg300=0 total={pressure_us}\n")
    for thread, delay in delays.items():
        (proc / f"self/task/{thread}").mkdir(parents=True, exist_ok=True)
        (proc / f"self/task/{thread}/schedstat").write_text(f"1000 {delay} 5\n")


def test_run_delay_sums_threads_and_a_new_thread_starts_at_zero(tmp_path: Path) -> None:
    fake_proc(tmp_path, 100, {1: 500, 2: 700}, 10)
    probe = host.HostProbe(tmp_path)
    probe.begin()
    fake_proc(tmp_path, 100, {1: 600, 2: 700, 3: 40}, 12)
    counters = probe.end()
    assert counters.run_delay_ns == 140
    assert counters.pressure_ns == 2000
    assert counters.steal_ns == 0


def test_other_cpu_is_what_the_machine_used_and_we_did_not(tmp_path: Path) -> None:
    fake_proc(tmp_path, 100, {}, 0)
    probe = host.HostProbe(tmp_path)
    probe.begin()
    fake_proc(tmp_path, 300, {}, 0)
    counters = probe.end()
    assert counters.other_cpu_ns is not None
    assert counters.cpu_ns is not None
    ticks = os.sysconf("SC_CLK_TCK")
    assert counters.other_cpu_ns + counters.cpu_ns == 200 * (1_000_000_000 // ticks)


def test_without_proc_the_probe_still_has_time(tmp_path: Path) -> None:
    probe = host.HostProbe(tmp_path)
    probe.begin()
    counters = probe.end()
    assert counters.window_ns > 0
    assert counters.cpu_ns is not None
    assert counters.run_delay_ns is None
    assert counters.steal_ns is None
    assert counters.pressure_ns is None
    assert counters.other_cpu_ns is None


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process in a group of its own, that has burnt some CPU and now sleeps."""
    code = "sum(range(3_000_000)); print(flush=True); import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_cpu_time_of_another_process_is_read(sleeper: subprocess.Popen[bytes]) -> None:
    used = host.process_cpu_ns(sleeper.pid)
    assert used is not None
    assert used > 1_000_000


def test_the_slow_way_agrees_with_the_fast_one(sleeper: subprocess.Popen[bytes]) -> None:
    fast = host.process_cpu_ns(sleeper.pid)
    slow = host._slow_process_cpu_ns(sleeper.pid)
    assert fast is not None
    assert slow is not None
    assert abs(fast - slow) <= 30_000_000  # psutil counts in ticks of 10 ms, user and system apart


def test_a_process_that_is_gone_has_no_cpu_time() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert host.process_cpu_ns(process.pid) is None
    assert host._slow_process_cpu_ns(process.pid) is None


def test_threads_of_another_process_are_counted_together() -> None:
    before = host.process_cpu_ns(os.getpid())
    thread = threading.Thread(target=burn, args=(500_000,))
    thread.start()
    thread.join()
    after = host.process_cpu_ns(os.getpid())
    assert before is not None
    assert after is not None
    assert after > before


def test_a_living_process_group_is_seen(sleeper: subprocess.Popen[bytes]) -> None:
    assert host.process_group_members(sleeper.pid) == (sleeper.pid,)
    assert not host.is_group_gone(sleeper.pid)


def test_a_living_process_group_is_seen_without_proc(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert host.process_group_members(sleeper.pid, tmp_path) == (sleeper.pid,)


def test_a_zombie_counts_as_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet collected
    try:
        assert host.process_group_members(process.pid) == ()
        assert host.is_group_gone(process.pid)
    finally:
        process.wait()


def test_a_collected_process_group_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    assert host.is_group_gone(process.pid)


def process_stat(root: Path, pid: int, name: str, state: str, parent: int, group: int) -> None:
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stat").write_text(f"{pid} ({name}) {state} {parent} {group} 1 0\n")


def test_a_process_name_with_parentheses_does_not_shift_the_fields(tmp_path: Path) -> None:
    process_stat(tmp_path, 50, "a) Z 1 9 (b", "S", 1, 40)
    process_stat(tmp_path, 51, "gone", "Z", 1, 40)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/stat").write_text("")
    assert host.process_group_members(40, tmp_path) == (50,)


def test_resident_memory_is_known_without_proc(tmp_path: Path) -> None:
    resident = host.resident_bytes(tmp_path)
    assert resident is not None
    assert resident > 2**20


@pytest.mark.parametrize(
    ("place", "text", "count"),
    [
        ("proc/vmstat", "nr_free_pages 5\noom_kill 3\n", 3),
        ("sys/fs/cgroup/memory.events", "low 0\noom 4\noom_kill 2\n", 2),
        ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("proc/other", "oom_kill 9\n", None),
    ],
)
def test_kills_for_memory_are_counted_wherever_the_kernel_says_them(
    tmp_path: Path, place: str, text: str, count: int | None
) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(text)
    assert host.kernel_oom_kills(tmp_path) == count


def test_numpy_kernels_compute_what_they_are_timed_for() -> None:
    import numpy as np

    kernels = host.NumpyPeakKernels()
    for size in (16, 16, 8):
        kernels.gemm(size)
        left, right, product = kernels._matrices
        assert product.shape == (size, size)
        assert product.dtype == np.float32
        np.testing.assert_allclose(product, left @ right, rtol=1e-5)
    kernels.copy(1000)
    source, target = kernels._buffers
    assert source.nbytes == 1000
    np.testing.assert_array_equal(source, target)


def test_numpy_kernels_keep_their_buffers_between_calls() -> None:
    kernels = host.NumpyPeakKernels()
    kernels.gemm(16)
    kernels.copy(64)
    product, target = kernels._matrices[2], kernels._buffers[1]
    kernels.gemm(16)
    kernels.copy(64)
    assert kernels._matrices[2] is product
    assert kernels._buffers[1] is target


def test_numpy_kernels_name_their_library() -> None:
    kernels: PeakKernels = host.numpy_peak_kernels()
    assert kernels.library.startswith("numpy/")
    assert len(kernels.library) > len("numpy/")


@pytest.mark.parametrize(
    ("states", "expected"), [("SR", True), ("SS", False), ("", False)], ids=["one runs", "none", "not here"]
)
def test_a_process_is_runnable_where_one_of_its_threads_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: str, expected: bool
) -> None:
    for number, state in enumerate(states):
        task = tmp_path / "proc" / "7" / "task" / str(number)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{number} (a) R name) {state} 1 1 1")
    monkeypatch.setattr(host, "ROOT", tmp_path)
    assert host.is_runnable(7) is expected
