"""The host's own meters: what this process, and the machine under it, did in a window.

Owns what is read from /proc while a run lasts; `fwprof.environment` holds what stays the same.
Must not know plugins, frames or schedules. Where Linux's /proc is missing, a counter is None and
a reading is null with its reason. `root` is where /proc and /sys are looked for.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fwprof.records import HostCounters

if TYPE_CHECKING:
    from fwprof.contracts import PeakKernels

ROOT = Path("/")
NO_PROC = "this system has no /proc as Linux has it"
COUNT_LAG = 2**20
"""Bytes by which the kernel's count of resident memory may be behind."""


class HostProbe:
    """Counts what the host did between `begin` and `end`: about 0.1 ms each, and 10 µs a thread.

    `other_cpu_ns` is all busy time of the machine without this process's own, so it is right
    while the other workers of a run are idle. The kernel counts busy time in ticks (10 ms): one
    block's value is coarse and may be negative. Sum blocks before judging; never clip one.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._proc = root / "proc"
        self._before: _Snapshot | None = None
        self._delays_ns: Mapping[int, int] | None = None

    def begin(self) -> None:
        """Open a window."""
        # The slow reading stays outside the window, here and in `end`.
        self._delays_ns = _run_delays_ns(self._proc)
        self._before = self._snapshot()

    def end(self) -> HostCounters:
        """Close the window and return what happened in it.

        Raises:
            RuntimeError: no window is open.
        """
        if self._before is None:
            raise RuntimeError("HostProbe.end() was called before begin()")
        before, self._before = self._before, None
        after = self._snapshot()
        delays = _run_delays_ns(self._proc)
        cpu_ns = after.cpu_ns - before.cpu_ns
        busy_ns = _difference(before.busy_ns, after.busy_ns)
        return HostCounters(
            window_ns=after.now_ns - before.now_ns,
            cpu_ns=cpu_ns,
            run_delay_ns=_growth(self._delays_ns, delays),
            involuntary_switches=_difference(before.involuntary_switches, after.involuntary_switches),
            minor_faults=_difference(before.minor_faults, after.minor_faults),
            steal_ns=_difference(before.steal_ns, after.steal_ns),
            pressure_ns=_difference(before.pressure_ns, after.pressure_ns),
            other_cpu_ns=None if busy_ns is None else busy_ns - cpu_ns,
        )

    def _snapshot(self) -> _Snapshot:
        switches, faults = _own_usage()
        busy_ns, steal_ns = parse_machine_cpu(_text(self._proc / "stat"), _tick_ns())
        return _Snapshot(
            involuntary_switches=switches,
            minor_faults=faults,
            pressure_ns=parse_pressure(_text(self._proc / "pressure/cpu")),
            steal_ns=steal_ns,
            busy_ns=busy_ns,
            cpu_ns=time.process_time_ns(),
            now_ns=time.perf_counter_ns(),
        )


class _Snapshot(NamedTuple):
    involuntary_switches: int | None
    minor_faults: int | None
    pressure_ns: int | None
    steal_ns: int | None
    busy_ns: int | None
    cpu_ns: int
    now_ns: int


def parse_machine_cpu(stat: str, tick_ns: int) -> tuple[int | None, int | None]:
    """Return (busy, stolen) CPU time of the whole machine in ns from the text of /proc/stat.

    Source: Linux, Documentation/filesystems/proc.rst §1.7: user, nice, system, idle, iowait, irq,
    softirq, steal. Guest time is contained in user and nice.
    """
    fields = stat.partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq) * tick_ns, steal * tick_ns


def parse_pressure(text: str) -> int | None:
    """Return `some total` in ns from the text of a /proc/pressure file (µs).

    Source: Linux, Documentation/accounting/psi.rst.
    """
    for line in text.splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2]) * 1000
    return None


def process_cpu_ns(pid: int) -> int | None:
    """Return the CPU time all threads of a process used so far; None: it is gone.

    Costs about 1 µs on Linux: the clock's number is built from the pid. Threads that run at this
    moment are counted up to the kernel's last tick: 1 to 10 ms ago.

    Source: Linux, include/linux/posix-timers.h, MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), and
    kernel/sched/cputime.c, thread_group_cputime.
    """
    if sys.platform != "linux":
        return _slow_process_cpu_ns(pid)
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return None


def runnable_tasks() -> int | None:
    """Return how many threads of the machine run or wait for a core, the caller's included.

    None: not readable here. Unlike a CPU clock it is of this moment.
    """
    return parse_runnable(_text(ROOT / "proc/loadavg"))


def is_runnable(pid: int) -> bool:
    """Return whether a thread of the process runs or waits for a core; False where it is not readable.

    Source: Linux, Documentation/filesystems/proc.rst, table 1-4: the state stands behind the name,
    which is in parentheses and may hold any character.
    """
    stats = (_text(path) for path in (ROOT / f"proc/{pid}/task").glob("*/stat"))
    return any(text.rpartition(") ")[2].startswith("R") for text in stats)


def parse_runnable(text: str) -> int | None:
    """Return the number of runnable tasks from the text of /proc/loadavg.

    Source: Linux, Documentation/filesystems/proc.rst §1.8: `0.20 0.18 0.12 1/80 11206`, where the
    fourth field is the runnable over all tasks.
    """
    fields = text.split()
    runnable = fields[3].partition("/")[0] if len(fields) > 3 else ""
    return int(runnable) if runnable.isdecimal() else None


def _slow_process_cpu_ns(pid: int) -> int | None:
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return int((times.user + times.system) * 1e9)


def peak_bytes(root: Path = ROOT) -> int | None:
    """Return the most memory of this process that was resident at once; None: not readable here.

    Since it began, or since `forget_peak`. Source: Linux, Documentation/filesystems/proc.rst, VmHWM.
    """
    return _kib(_text(root / "proc/self/status"), "VmHWM")


def forget_peak(root: Path = ROOT) -> bool:
    """Let the peak of this process begin anew at what is resident now; say whether the kernel did so.

    Source: Linux, Documentation/filesystems/proc.rst §3.3: "To reset the peak resident set size
    ("high water mark") to the process's current value: echo 5 > /proc/PID/clear_refs".
    """
    before = peak_bytes(root)
    try:
        descriptor = os.open(root / "proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(descriptor, b"5")
    except OSError:
        return False
    finally:
        os.close(descriptor)
    after, resident = peak_bytes(root), resident_bytes(root)
    if before is None or after is None or resident is None:
        return False
    # A kernel may take the order and do nothing. Its counts lag by pages it keeps for each CPU.
    return after <= max(resident + COUNT_LAG, before - COUNT_LAG)


def children_bytes(root: Path = ROOT) -> int:
    """Return the memory of this process's descendants; pages they share are split among them (PSS)."""
    proc = root / "proc"
    children = _descendants(os.getpid(), proc)
    return sum(_kib(_text(proc / f"{pid}/smaps_rollup"), "Pss") or 0 for pid in children)


def resident_bytes(root: Path = ROOT) -> int | None:
    """Return the memory of this process that is resident now."""
    own = _kib(_text(root / "proc/self/status"), "VmRSS")
    if own is not None:
        return own
    import psutil

    try:
        return int(psutil.Process().memory_info().rss)
    except psutil.Error:
        return None


def process_group_members(pgid: int, root: Path = ROOT) -> tuple[int, ...]:
    """Return the pids of a process group's living members; zombies are dead."""
    proc = root / "proc"
    if (proc / "self/stat").exists():
        return tuple(p.pid for p in _processes(proc) if p.pgid == pgid and p.state not in "ZX")
    import psutil

    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (OSError, psutil.Error):
            continue  # it ended while we looked, or belongs to somebody else
    return tuple(members)


def is_group_gone(pgid: int) -> bool:
    """Say whether no living process is left in a process group."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody is there, of another user
    return not process_group_members(pgid)


def kernel_oom_kills(root: Path = ROOT) -> int | None:
    """Return how often the kernel killed a process for memory since boot; None: not readable.

    The cgroup's own count serves where the machine's is hidden, as in some containers.

    Source: Linux, mm/vmstat.c (`oom_kill`); Documentation/admin-guide/cgroup-v2.rst
    (memory.events) and cgroup-v1/memory.rst (memory.oom_control).
    """
    places = ("proc/vmstat", "sys/fs/cgroup/memory.events", "sys/fs/cgroup/memory/memory.oom_control")
    for place in places:
        for line in _text(root / place).splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


class NumpyPeakKernels:
    """NumPy's matrix product and copy, in float32 on the host: the `PeakKernels` of the core.

    The first call of a size allocates: make one before timing.
    """

    def __init__(self) -> None:
        import numpy as np

        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        self.library = f"numpy/{blas.get('name', 'unknown')} {np.__version__}"
        self._np = np
        self._matrices = [np.empty((0, 0), np.float32)] * 3
        self._buffers = [np.empty(0, np.uint8)] * 2

    def gemm(self, size: int) -> None:
        """Multiply two size × size float32 matrices into a third (2·size³ FLOP)."""
        if self._matrices[0].shape != (size, size):
            # Never zeros: pages that were not written share one page, and zeros draw less power.
            values = self._np.random.default_rng(0).random((3, size, size), self._np.float32)
            self._matrices = list(values)
        left, right, product = self._matrices
        self._np.matmul(left, right, out=product)

    def copy(self, size_bytes: int) -> None:
        """Copy size_bytes to another buffer, on one thread (2·size_bytes moved)."""
        if self._buffers[0].size != size_bytes:
            self._buffers = [self._np.full(size_bytes, fill, self._np.uint8) for fill in (1, 2)]
        source, target = self._buffers
        self._np.copyto(target, source)


def numpy_peak_kernels() -> PeakKernels:
    """Return NumPy's kernels; it starts as many threads as the environment said at its import."""
    return NumpyPeakKernels()


class _Process(NamedTuple):
    pid: int
    state: str
    parent: int
    pgid: int


def _processes(proc: Path) -> Iterator[_Process]:
    for entry in proc.iterdir() if proc.is_dir() else ():
        if entry.name.isdigit():
            # The name in parentheses may hold spaces and parentheses itself.
            fields = _text(entry / "stat").rpartition(")")[2].split()
            if len(fields) >= 3:
                yield _Process(int(entry.name), fields[0], int(fields[1]), int(fields[2]))


def _descendants(pid: int, proc: Path) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in _processes(proc):
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    queue = [pid]
    while queue:
        new = [child for child in children.get(queue.pop(), []) if child not in found]
        found.update(new)
        queue.extend(new)
    return found


def _run_delays_ns(proc: Path) -> dict[int, int] | None:
    """Return thread → ns it waited for a core so far (second field of schedstat)."""
    delays = {}
    try:
        for thread in os.scandir(proc / "self/task"):
            fields = _text(f"{thread.path}/schedstat").split()
            if len(fields) == 3:
                delays[int(thread.name)] = int(fields[1])
    except OSError:
        return None
    return delays or None


def _growth(before: Mapping[int, int] | None, after: Mapping[int, int] | None) -> int | None:
    """Sum what threads waited; one that ended within the window is lost, a new one starts at 0."""
    if before is None or after is None:
        return None
    return sum(delay - before.get(thread, 0) for thread, delay in after.items())


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _own_usage() -> tuple[int | None, int | None]:
    """Return this process's (involuntary switches, page faults that needed no disk) so far."""
    try:
        import resource
    except ImportError:  # Windows has none
        return None, None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nivcsw, usage.ru_minflt


def _tick_ns() -> int:
    return 1_000_000_000 // os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10_000_000


def _kib(text: str, key: str) -> int | None:
    """Return `key:  123 kB` of a /proc text in bytes."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


def _text(path: str | Path) -> str:
    """Return a small file's text; empty where it is missing, unreadable, or its process is gone."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # on the measured path: half of Path.read_text's cost
            return file.read().decode(errors="replace")
    except OSError:
        return ""
