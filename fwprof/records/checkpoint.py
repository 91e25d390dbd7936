"""Checkpoints as they were measured: what each format holds, cost, and led to once restored."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record

CheckpointPart = Literal["parameters", "statistics", "optimizer", "random_state"]
"""What training moves: parameters, batch statistics, the optimizer's state, and the random state
that dropout draws from."""

CHECKPOINT_PARTS: dict[CheckpointPart, str] = {
    "parameters": "parameters",
    "statistics": "statistics",
    "optimizer": "optimizer",
    "random_state": "random state",
}
"""A part → how people call it."""


class SavedCheckpoint(Record, frozen=True, kw_only=True):
    """One format, as the process that trained saw it."""

    format: str
    holds: tuple[CheckpointPart, ...] = ()
    """What the plugin says comes back."""
    note: str = ""
    """What the plugin says besides, e.g. of a part that is written and not read back."""
    save_ns: tuple[int, ...] = ()
    """One value a save, each to a new place; nothing is synced to the disk."""
    size_bytes: int | None = None
    """Of all files of one checkpoint."""
    reason: str = ""
    """Why it was not saved."""
    is_unsupported: bool = False
    """Whether the plugin says that this cell has no such format."""


class RestoredCheckpoint(Record, frozen=True, kw_only=True):
    """One format, as a fresh process saw it."""

    format: str
    restore_ns: tuple[int, ...] = ()
    """One value a restore of the same files, which the first has brought into the page cache."""
    losses: tuple[float, ...] = ()
    """Of the next steps after the last restore."""
    outputs: tuple[float, ...] = ()
    """The first ones in inference mode, right after the last restore."""
    reason: str = ""
    """Why it was not restored."""
    is_unsupported: bool = False


class Checkpoint(Record, frozen=True, kw_only=True):
    """One format of one cell: what both processes saw."""

    saved: SavedCheckpoint
    restored: RestoredCheckpoint | None = None
    losses: tuple[float, ...] = ()
    """Of the next steps in the process that saved and went on training."""
    outputs: tuple[float, ...] = ()
    """The first ones in inference mode, at the moment of saving."""


class StoredWeights(Record, frozen=True, kw_only=True):
    """Trained parameters and statistics, by canonical name, beside the run."""

    path: str
    """Within the run's folder."""
    size_bytes: int
    trained: str
    """How long, in words: `3 epochs`, `5 steps`."""
