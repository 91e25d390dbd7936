"""Numbers as people read them: SI units, and never more digits than the interval supports.

Owns rounding and units. Knows no record and no table.
"""

from __future__ import annotations

from math import ceil, floor, isfinite, log10
from typing import NamedTuple

NOT_MEASURED = "not measured"
_MAX_DIGITS = 4


class Unit(NamedTuple):
    """A unit and how many of the stored unit make one of it."""

    name: str
    scale: float


TIMES = (Unit("s", 1e9), Unit("ms", 1e6), Unit("µs", 1e3), Unit("ns", 1.0))
SIZES = (Unit("TB", 1e12), Unit("GB", 1e9), Unit("MB", 1e6), Unit("kB", 1e3), Unit("bytes", 1.0))
ENERGIES = (Unit("kJ", 1e9), Unit("J", 1e6), Unit("mJ", 1e3), Unit("µJ", 1.0))
POWERS = (Unit("kW", 1e6), Unit("W", 1e3), Unit("mW", 1.0))
COUNTS = (Unit("T", 1e12), Unit("G", 1e9), Unit("M", 1e6), Unit("k", 1e3), Unit("", 1.0))


def pick_unit(value: float, units: tuple[Unit, ...]) -> Unit:
    """Return the largest unit of which the value is at least one."""
    return next((unit for unit in units if abs(value) >= unit.scale), units[-1])


def step_unit(nanoseconds: float) -> Unit:
    """Return the unit for the times of a table: ms from 0.1 ms to a second, as people expect."""
    unit = pick_unit(nanoseconds, TIMES)
    return TIMES[1] if unit.name == "µs" and nanoseconds >= 1e5 else unit


def decimals_for(value: float, half_width: float | None = None) -> int:
    """Return how many decimals a value may show; negative: tens, hundreds, …

    With an interval the last digit stands at the place of the half-width's first one, and at
    most four digits are shown. Without one, two digits and no decimals beyond them.
    """
    if value == 0 or not isfinite(value):
        return 0
    first = floor(log10(abs(value)))
    if not half_width or not isfinite(half_width):
        return max(0, 1 - first)
    place = floor(log10(half_width))
    return max(min(-place, _MAX_DIGITS - 1 - first), -first)


def number(value: float, half_width: float | None = None) -> str:
    """Write a number with the digits its interval supports."""
    return rounded(value, decimals_for(value, half_width))


def rounded(value: float, decimals: int) -> str:
    """Write a number with so many decimals, and thin groups of thousands as commas."""
    result = round(value, decimals)
    return f"{result if result else 0.0:,.{max(decimals, 0)}f}"


def half_width_of(ci95: tuple[float, float] | None) -> float | None:
    """Return half the width of an interval; None without one."""
    return (ci95[1] - ci95[0]) / 2 if ci95 else None


def scaled(value: float, ci95: tuple[float, float] | None, unit: Unit) -> str:
    """Write a value in a given unit, without the unit's name."""
    half_width = half_width_of(ci95)
    return number(value / unit.scale, half_width / unit.scale if half_width else None)


def interval(ci95: tuple[float, float] | None, unit: Unit) -> str:
    """Write an interval in a given unit, both ends to the same place: `0.408–0.417`."""
    if ci95 is None:
        return NOT_MEASURED
    low, high = ci95[0] / unit.scale, ci95[1] / unit.scale
    decimals = decimals_for((low + high) / 2 or high, (high - low) / 2)
    if rounded(low, decimals) == rounded(high, decimals):
        decimals = min(decimals + 1, _MAX_DIGITS)
    # A bound that is small beside the width is still not zero.
    first = number(low) if low > 0 and round(low, decimals) == 0 else rounded(low, decimals)
    last = rounded(high, decimals)
    return f"{first} to {last}" if low < 0 else f"{first}–{last}"


def upper_bound(value: float, unit: Unit) -> str:
    """Write a bound, rounded up to two digits, so that it stays one: `< 0.12`."""
    bound = value / unit.scale
    if bound <= 0:
        return "~ 0"
    step = 10.0 ** (floor(log10(bound)) - 1)
    # 1e-9: 0.12 / 0.01 is 12.000000000000002, which must not become 13.
    return f"< {rounded(ceil(bound / step - 1e-9) * step, decimals_for(bound))}"


def duration(nanoseconds: float, ci95: tuple[float, float] | None = None) -> str:
    """Write a duration given in ns, in the unit that suits it."""
    unit = pick_unit(nanoseconds, TIMES)
    return f"{scaled(nanoseconds, ci95, unit)} {unit.name}"


def size(size_bytes: float) -> str:
    """Write a number of bytes in SI units."""
    unit = pick_unit(size_bytes, SIZES)
    return f"{number(size_bytes / unit.scale)} {unit.name}"


def energy(microjoules: float) -> str:
    """Write an energy given in µJ."""
    unit = pick_unit(microjoules, ENERGIES)
    return f"{number(microjoules / unit.scale)} {unit.name}"


def power(milliwatts: float) -> str:
    """Write a power given in mW."""
    unit = pick_unit(milliwatts, POWERS)
    return f"{number(milliwatts / unit.scale)} {unit.name}"


def count(value: float, ci95: tuple[float, float] | None = None) -> str:
    """Write a count with k, M or G: `155 k`."""
    unit = pick_unit(value, COUNTS)
    return f"{scaled(value, ci95, unit)} {unit.name}".rstrip()


def ratio(value: float, ci95: tuple[float, float] | None = None) -> str:
    """Write a ratio: `1.21 ×`."""
    return f"{number(value, half_width_of(ci95))} ×"


def percent(share: float) -> str:
    """Write a share (1 = all) in percent: one decimal below 10 %, none above."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) < 9.95 else f"{value:.0f} %"


def wait(seconds: float) -> str:
    """Write how long something takes for a person who waits: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def plural(amount: int, noun: str) -> str:
    """Write `1 process`, `2 processes`."""
    if amount == 1:
        return f"1 {noun}"
    return f"{amount} {noun}es" if noun.endswith("s") else f"{amount} {noun}s"


def listed(words: list[str]) -> str:
    """Join words: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
