"""Facts of the machine, and the environment a worker needs before anything is imported.

Owns what does not change while a run lasts: cores granted, memory, names. What moves is read by
`fwprof.host`. Must not know plugins or processes. Whatever cannot be read is None; `root` is where
/proc and /sys are looked for.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from fwprof.records import MachineFacts

ROOT = Path("/")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables by which numerical libraries learn, when they load, how many threads to start."""


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that hold numerical libraries to so many threads.

    Raises:
        ValueError: fewer than one thread.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


def granted_cores(root: Path = ROOT) -> int:
    """Return the physical cores this process may use, at least 1.

    Affinity counts, SMT siblings count once, and a cgroup quota (v1 or v2) is rounded down.
    """
    cores = physical_cores(granted_cpus(), root)
    quota = cpu_quota(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def granted_cpus() -> frozenset[int]:
    """Return the numbers of the logical CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def physical_cores(cpus: Iterable[int], root: Path = ROOT) -> int:
    """Count the physical cores behind logical CPUs; a CPU of unknown topology counts as a core."""
    cores = set()
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings = _text(topology / "core_cpus_list") or _text(topology / "thread_siblings_list")
        cores.add(siblings or str(cpu))
    return len(cores)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the CPUs that cgroup limits allow at a time; None: no limit is known.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and
    Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us over cpu.cfs_period_us).
    """
    quotas = []
    for folder in _cgroup_folders("cpu", root):
        quota, _, period = (_text(folder / "cpu.max") or "").partition(" ")
        if not period:
            quota = _text(folder / "cpu.cfs_quota_us") or ""
            period = _text(folder / "cpu.cfs_period_us") or ""
        # "max" (v2) and "-1" (v1) stand for no limit: neither is all digits.
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def granted_memory_bytes(root: Path = ROOT) -> int | None:
    """Return the memory of the machine, or of this process's cgroup where that is less."""
    import psutil

    sizes = [int(psutil.virtual_memory().total)]
    for folder in _cgroup_folders("memory", root):
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes") or ""
        if limit.isdigit():
            sizes.append(int(limit))
    return min(sizes)


def disk_free_bytes(path: Path) -> int | None:
    """Return the bytes free to this user where `path` is, or would be created."""
    absolute = path.absolute()
    for folder in (absolute, *absolute.parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def machine_facts(root: Path = ROOT) -> MachineFacts:
    """Read what a result must say of the machine it was measured on."""
    processor = processor_name(root)
    cores = granted_cores(root)
    cpus = granted_cpus()
    memory = granted_memory_bytes(root)
    return MachineFacts(
        system=platform.system(),
        kernel=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        processor=processor,
        cores=cores,
        logical_cpus=len(cpus),
        memory_bytes=memory,
        virtualised=_virtualisation(root),
        governor=_text(root / f"sys/devices/system/cpu/cpu{min(cpus, default=0)}/cpufreq/scaling_governor"),
        boot_id=boot_id(root),
        fingerprint=_fingerprint(processor, cores, len(cpus), memory),
    )


def boot_id(root: Path = ROOT) -> str | None:
    """Return what tells this boot of the machine from its others."""
    return _text(root / "proc/sys/kernel/random/boot_id")


def processor_name(root: Path = ROOT) -> str:
    """Return what a person calls the processor; the architecture where nothing says more."""
    return _cpuinfo("model name", root) or platform.processor() or platform.machine() or "unknown"


def _fingerprint(processor: str, cores: int, logical_cpus: int, memory_bytes: int | None) -> str:
    import hashlib

    # Kernels reserve a little more or less at each boot: whole GiB stay the same.
    memory_gib = None if memory_bytes is None else round(memory_bytes / 2**30)
    facts = (platform.system(), platform.machine(), processor, cores, logical_cpus, memory_gib)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _virtualisation(root: Path) -> str | None:
    """Name what runs this system: the hypervisor's maker, `vm`, `none`; None where unknown."""
    flags = _cpuinfo("flags", root)
    if flags is None:
        return _text(root / "sys/hypervisor/type")
    if "hypervisor" not in flags.split():
        return "none"
    return _text(root / "sys/hypervisor/type") or _text(root / "sys/class/dmi/id/sys_vendor") or "vm"


def _cpuinfo(key: str, root: Path) -> str | None:
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip() or None
    return None


def _cgroup_folders(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders whose limits hold for this process: its own cgroup's and all above it."""
    mounts = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tops = [mounts / "unified", mounts]
        elif controller in controllers.split(","):
            tops = [mounts / controllers, mounts / controller]
        else:
            continue
        top = next((top for top in tops if top.is_dir()), None)
        if top is None:
            continue
        # Inside a container the path may be the host's, which is not visible: its tail is
        # missing, and the mount's own top is the container's cgroup.
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder
            if folder == top:
                break


def _text(path: Path) -> str | None:
    """Return a small file's text without outer white space; None: not there, unreadable, empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
