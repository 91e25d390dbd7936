"""How large a batch may be in a given memory: what was tried, and what came of it."""

from __future__ import annotations

from fwprof.records.base import Record
from fwprof.records.measurement import Fate, Reading


class TriedBatch(Record, frozen=True, kw_only=True):
    """One batch size, tried by a few training steps in a fresh process."""

    batch_size: int
    fits: bool
    """Whether it trained and took no more than was given."""
    peak: Reading | None = None
    """Memory at most, in bytes; null: it did not get so far."""
    fate: Fate = "ok"
    reason: str = ""
    """Why it did not get to its end."""


class BatchSearch(Record, frozen=True, kw_only=True):
    """The search for the largest batch of a cell: doubling, then halving the gap."""

    tried: tuple[TriedBatch, ...] = ()
    """In the order of trying."""
    ended: str = ""
    """Why no larger one was tried, where that is not because one was too large."""

    @property
    def largest(self) -> int | None:
        """The largest batch that fits; None: not one that was tried does."""
        return max((one.batch_size for one in self.tried if one.fits), default=None)

    @property
    def too_large(self) -> int | None:
        """The smallest batch that does not fit; None: not one that was tried was too large."""
        return min((one.batch_size for one in self.tried if not one.fits), default=None)
