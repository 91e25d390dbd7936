"""Who computes on a card: this run, or somebody else.

NVML lists numbers of processes. Ours are those that the process descends from which started this one:
it starts the workers, and computes on no card itself. In a container NVML may count as its host does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process on a card.

    Args:
        memory_bytes: what it holds there; None: NVML does not tell.
    """

    pid: int
    memory_bytes: int | None

    @property
    def title(self) -> str:
        """Return its number, with its name where it can be read."""
        try:
            return f"{(PROC / str(self.pid) / 'comm').read_text().strip()} (pid {self.pid})"
        except OSError:  # it has ended, or is another container's
            return f"pid {self.pid}"


def processes_on(nvml: Any, card: Any) -> list[Process]:
    """Return the processes that compute on a card, or on an instance of it.

    Raises:
        pynvml.NVMLError: the driver does not tell.
    """
    try:
        listed = nvml.nvmlDeviceGetComputeRunningProcesses_v3(card)
    except nvml.NVMLError_FunctionNotFound:  # a driver before 510
        listed = nvml.nvmlDeviceGetComputeRunningProcesses_v2(card)
    return [Process(one.pid, None if one.usedGpuMemory is None else int(one.usedGpuMemory)) for one in listed]


def foreign_among(processes: Sequence[Process]) -> list[Process]:
    """Return those that are not of this run, by their numbers."""
    starter = os.getppid()
    return sorted(
        (one for one in processes if one.pid != os.getpid() and starter not in _ancestors(one.pid)),
        key=lambda one: one.pid,
    )


def _ancestors(pid: int) -> list[int]:
    """Return the processes that a process descends from, the nearest first; none where it is not known."""
    found: list[int] = []
    while pid > 1 and pid not in found[:-1]:
        try:
            # pid (name) state parent …: a name may hold anything, brackets too.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        pid = int(fields[1])
        found.append(pid)
    return found
