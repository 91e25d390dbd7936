"""Meters that read what they are told: from a script, or a count.

`fwprof.testing.fake_meter` is the meter plugin that tests install as `fakemeter`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fwprof.plugin import Meter, Reading, hookimpl


class CountingMeter:
    """Reads one number that is known beforehand, in the memory pass.

    Args:
        name: of the reading, in the plugin's own namespace.
        unit: of the number.
        value: the number; None with a `reason`.
        reason: why there is none.
    """

    passes: Sequence[str] = ("memory",)

    def __init__(self, name: str, unit: str, value: int | None, reason: str = "") -> None:
        self._name = name
        self._reading = Reading(value=value, unit=unit, reason=reason)

    def start(self) -> None:
        """Do nothing."""

    def sample(self) -> None:
        """Do nothing."""

    def stop(self) -> dict[str, Reading]:
        """Return the number."""
        return {self._name: self._reading}


class ScriptedMeter:
    """Reads energy from a counter whose values are written down beforehand.

    Args:
        counter_uj: what the counter shows at each look, µJ; the last one from then on.
    """

    passes: Sequence[str] = ("energy",)

    def __init__(self, counter_uj: Sequence[int]) -> None:
        self._counter_uj = tuple(counter_uj)
        self._looks: list[int] = []
        self._next = 0

    def start(self) -> None:
        """Look once."""
        self._looks = [self._look()]

    def sample(self) -> None:
        """Look again."""
        self._looks.append(self._look())

    def stop(self) -> dict[str, Reading]:
        """Look a last time; return what was used and how often it was looked."""
        self.sample()
        used_uj = self._looks[-1] - self._looks[0]
        return {
            "energy": Reading(value=used_uj, unit="uJ", basis="a script"),
            "fakemeter.looks": Reading(value=len(self._looks), unit="1"),
        }

    def _look(self) -> int:
        value = self._counter_uj[min(self._next, len(self._counter_uj) - 1)]
        self._next += 1
        return value


@hookimpl
def measure() -> Sequence[Meter]:
    """Return an energy meter, and one that cannot read its number."""
    return [
        ScriptedMeter(range(0, 1_000_000, 1000)),
        CountingMeter("fakemeter.power", "mW", None, "the fake meter reads no power"),
    ]
