"""Names of the files in a run's folder, and the one line of limits.jsonl."""

from __future__ import annotations

from fwprof.records import LibraryLimits, Reading, Record

PLAN, MACHINE, LIMITS, RESULT, CELLS = "plan.json", "machine.json", "limits.jsonl", "run.json", "cells"
SESSIONS = "sessions.jsonl"
LOCK = "lock"
REPLICA = ".replica"
MEMORY = "memory"
"""Journal of the first process that memory was measured in; `memory.1` is the next."""
TRAINING = "training"
"""Name of the journal of the training pass; of further seeds `training.1`, `training.2`, …"""
LARGEST_BATCH = "largest-batch"
"""Journal of the search for the largest batch; the folder beside it has one of each size tried."""
DATA_PIPELINE = "pipeline"
"""Name of the journal of the pipeline pass."""
LAYERS = "layers"
"""Name of the journal of the layer pass."""
VERIFICATION, EQUIVALENCE = "verification", "equivalence.json"
"""Within a cell's folder: what its verifying workers said, and what came of it."""
CHECKPOINT_SAVE, CHECKPOINT_RESTORE = "checkpoint-save", "checkpoint-restore"
"""Journals of the two processes of a checkpoint; the second has something to do after the first."""
CHECKPOINTS, TRAINED = "checkpoints", "trained.npz"
"""Within a cell's folder: checkpoints while they are measured, and the parameters that were kept."""


class MeasuredLimits(Record, frozen=True, kw_only=True):
    """One line of limits.jsonl."""

    key: str
    readings: dict[str, Reading]
    libraries: tuple[LibraryLimits, ...] = ()


def nth_journal(name: str, number: int) -> str:
    """Return the name of a journal of one of several passes of a kind, counted from 0."""
    return f"{name}.{number}" if number else name
