"""The host's meter of memory: the peak of this process and its children, and that of one window.

Owns how peaks of windows are told apart, where the kernel keeps only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fwprof import host
from fwprof.records import Reading

CAME_BEFORE = (
    "this kernel keeps one peak for the life of a process (it takes no 5 in /proc/self/clear_refs), and the "
    "peak came before these steps"
)


class _Peak(NamedTuple):
    """What was held at most in a window, or before the first: in bytes."""

    own: int
    children: int = 0
    samples: int = 0

    @property
    def total(self) -> int:
        return self.own + self.children

    @property
    def basis(self) -> str:
        return (
            f"this process's VmHWM ({self.own}) + largest sum of its children's PSS "
            f"({self.children}, in {self.samples} samples)"
        )


class MemoryMeter:
    """The peak memory of this process and its children, import and build included.

    The children's shared pages are split among those who share them (PSS), and are seen only at
    `sample` (10 Hz).
    """

    passes: Sequence[str] = ("memory",)

    def __init__(self, root: Path = host.ROOT) -> None:
        self._root = root
        self._peaks: list[_Peak] = []
        self._children = self._samples = 0
        self._floor: int | None = None

    def start(self) -> None:
        """Begin: children are counted from here on, this process since its first instruction."""
        before = host.peak_bytes(self._root)
        if not self._peaks and before is not None:
            # Between later windows other meters may have worked, which no training does.
            self._peaks.append(_Peak(before))
        # Without a reset the kernel tells of a window only where its peak is above all before.
        self._floor = None if host.forget_peak(self._root) else before
        self._children = self._samples = 0
        self.sample()

    def sample(self) -> None:
        """Look at the children once."""
        self._children = max(self._children, host.children_bytes(self._root))
        self._samples += 1

    def stop(self) -> Mapping[str, Reading]:
        """Return, in bytes, `host_peak` of all windows and before, and `host_steady_peak` of this one."""
        self.sample()
        own = host.peak_bytes(self._root)
        if own is None:
            nothing = Reading(value=None, unit="bytes", reason=host.NO_PROC)
            return {"host_peak": nothing, "host_steady_peak": nothing}
        window = _Peak(own, self._children, self._samples)
        self._peaks.append(window)
        highest = max(self._peaks, key=lambda peak: peak.total)
        is_known = self._floor is None or own > self._floor
        return {
            "host_peak": Reading(value=highest.total, unit="bytes", basis=highest.basis),
            "host_steady_peak": Reading(
                value=window.total if is_known else None,
                unit="bytes",
                reason="" if is_known else CAME_BEFORE,
                basis=f"{window.basis}, in this window",
            ),
        }
