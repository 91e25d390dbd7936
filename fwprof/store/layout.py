"""Names of the files in a run's folder, and the one line of limits.jsonl."""

from __future__ import annotations

from fwprof.records import Reading, Record

PLAN, MACHINE, LIMITS, RESULT, CELLS = "plan.json", "machine.json", "limits.jsonl", "run.json", "cells"
REPLICA = ".replica"
MEMORY = "memory"
"""Journal of the first process that memory was measured in; `memory.1` is the next."""
TRAINING = "training"
"""Name of the journal of the training pass; of further seeds `training.1`, `training.2`, …"""
VERIFICATION, EQUIVALENCE = "verification", "equivalence.json"
"""Within a cell's folder: what its verifying workers said, and what came of it."""
CHECKPOINTS, TRAINED = "checkpoints", "trained.npz"
"""Within a cell's folder: checkpoints while they are measured, and the parameters that were kept."""


class MeasuredLimits(Record, frozen=True, kw_only=True):
    """One line of limits.jsonl."""

    key: str
    readings: dict[str, Reading]
