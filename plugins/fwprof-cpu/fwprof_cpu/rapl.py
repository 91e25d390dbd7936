"""Energy of the processor packages, from the RAPL counters that Linux shows under sysfs.

Source: Linux, Documentation/power/powercap/powercap.rst: `energy_uj` counts µJ and starts again
after `max_energy_range_uj`; zones `intel-rapl:N` are packages (AMD's as well), `intel-rapl:N:M`
parts of one; `intel-rapl-mmio:N` shows the same package a second time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fwprof.plugin import Reading

POWERCAP = Path("/sys/class/powercap")
NO_RAPL = "this machine exposes no RAPL (a virtual machine?)"
ALLOW = "allow it with: sudo chmod a+r /sys/class/powercap/*/energy_uj"


class RaplMeter:
    """Counts `energy_window`: µJ that all packages used between `start` and `stop`.

    The counters hold the whole machine's energy, idle share and neighbours included; DRAM has
    counters of its own on some machines, and is left out so that machines stay comparable.
    `sample` must come more often than a counter wraps (minutes).
    """

    passes: Sequence[str] = ("energy",)

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._powercap = powercap
        self._packages: tuple[_Package, ...] = ()
        self._reason = ""
        self._began_ns = 0
        self._samples: list[tuple[int, float]] = []

    def start(self) -> None:
        """Find the packages and begin to count."""
        self._reason = ""
        self._began_ns = time.perf_counter_ns()
        self._samples = [(0, 0)]
        try:
            self._packages = find_packages(self._powercap)
        except OSError as error:
            self._packages = ()
            self._reason = _why(error)
        else:
            self._reason = "" if self._packages else NO_RAPL

    def sample(self) -> None:
        """Follow the counters, so that none wraps unseen."""
        try:
            for package in self._packages:
                package.follow()
        except OSError as error:
            self._reason = _why(error)
        else:
            self._samples.append((time.perf_counter_ns() - self._began_ns, self._used_uj))

    def stop(self) -> Mapping[str, Reading]:
        """Return `energy_window` in uJ."""
        self.sample()
        if self._reason:
            return {"energy_window": Reading(value=None, unit="uJ", reason=self._reason)}
        names = ", ".join(package.name for package in self._packages)
        basis = f"RAPL counters of {names}, whole machine, idle share included, DRAM not"
        reading = Reading(value=self._used_uj, unit="uJ", basis=basis, samples=tuple(self._samples))
        return {"energy_window": reading}

    @property
    def _used_uj(self) -> int:
        return sum(package.used_uj for package in self._packages)


class _Package:
    def __init__(self, zone: Path) -> None:
        self.name = _text(zone / "name")
        self.used_uj = 0
        self._counter = zone / "energy_uj"
        self._range_uj = int(_text(zone / "max_energy_range_uj"))
        self._last_uj = int(_text(self._counter))

    def follow(self) -> None:
        now_uj = int(_text(self._counter))
        wrapped = now_uj < self._last_uj
        self.used_uj += now_uj - self._last_uj + (self._range_uj if wrapped else 0)
        self._last_uj = now_uj


def find_packages(powercap: Path = POWERCAP) -> tuple[_Package, ...]:
    """Return the package zones in order; none where the machine shows none.

    Raises:
        OSError: a package is there, and this user may not read it.
    """
    zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if (zone / "name").is_file())
    return tuple(_Package(zone) for zone in zones if _text(zone / "name").startswith("package"))


def _why(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}; {ALLOW}"


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
