"""One figure, derived from what was measured."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record


class MetricValue(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One figure for people and tools; derived. `p50`… for series, `value` for single figures.

    What each process has one value of has `value` alone from one process, and all of them from several.
    """

    unit: str
    kind: Literal["measured", "marginal", "derived"] = "measured"
    p50: float | None = None
    p10: float | None = None
    ci95: tuple[float, float] | None = None
    """95 % interval of the p50."""
    count: int | None = None
    """Rounds behind it, over all sessions; of what a process has one value of, the processes."""
    outliers: int | None = None
    """Of these rounds, how many lie far outside; they are kept, and count in everything."""
    value: float | int | None = None
    reason: str | None = None
    """Why there is no value."""
    basis: str | None = None
    """What exactly was counted, where that differs between sources."""
