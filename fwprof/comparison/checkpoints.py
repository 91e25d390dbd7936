"""What a cell's checkpoints are good for, and what they cost, from the raw numbers of two processes.

Owns when next losses count as the same. Knows no framework and no file.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fwprof.metrics import metric_of
from fwprof.records import (
    CHECKPOINT_PARTS,
    CellPlan,
    CellResult,
    Checkpoint,
    CheckpointPart,
    CheckpointSummary,
    MetricValue,
)
from fwprof.statistics import median, quantile
from fwprof.workloads.language import moved_parts

ROUNDING = 1e-5
"""Relative; two processes may add the same float32 numbers in another order, and what a checkpoint
forgets shows in 1e-4 and more."""
METRICS = ("save_time", "restore_time", "checkpoint_bytes")


def judge_checkpoints(cell: CellResult, plan: CellPlan) -> tuple[CheckpointSummary, ...]:
    """Say of each format whether a restored checkpoint goes on as training would have."""
    spec = plan.workload.spec
    moved = moved_parts(spec, plan.workload.layers) if spec is not None else ()
    return tuple(_judge(checkpoint, moved) for checkpoint in cell.checkpoints)


def checkpoint_metrics(cell: CellResult) -> dict[str, MetricValue]:
    """Return `save_time.<format>` and the like; without any format, why there is none."""
    found: dict[str, MetricValue] = {}
    for one in cell.checkpoints:
        saved, restored = one.saved, one.restored
        reason = saved.reason or (restored.reason if restored else "it was not restored")
        for name, times in (
            ("save_time", saved.save_ns),
            ("restore_time", restored.restore_ns if restored else ()),
        ):
            found[f"{name}.{saved.format}"] = _series(name, times, reason)
        size = MetricValue(unit=metric_of("checkpoint_bytes").unit, value=saved.size_bytes)
        if saved.size_bytes is None:
            size = MetricValue(unit=size.unit, reason=reason)
        found[f"checkpoint_bytes.{saved.format}"] = size
    return found or {name: _series(name, (), "--checkpoints measures it") for name in METRICS}


def _series(name: str, times: Sequence[int], reason: str) -> MetricValue:
    unit = metric_of(name).unit
    if not times:
        return MetricValue(unit=unit, reason=reason)
    return MetricValue(unit=unit, p50=median(times), p10=quantile(times, 0.1), count=len(times))


def _judge(one: Checkpoint, moved: Sequence[CheckpointPart]) -> CheckpointSummary:
    saved, restored = one.saved, one.restored
    lacks = tuple(part for part in moved if part not in saved.holds)
    found = CheckpointSummary(
        format=saved.format, holds=saved.holds, lacks=lacks, note=saved.note, next_losses="not compared"
    )
    failed = saved if saved.reason else restored
    if failed is None or failed.reason:
        why = failed.reason if failed else "the process that restores ended early"
        sound = failed is not None and failed.is_unsupported
        return replace(found, why=why, is_sound=sound)
    assert restored is not None
    if restored.losses == one.losses:
        return replace(found, next_losses="bit-equal", loss_error=0.0)
    error = _error(restored.losses, one.losses)
    if error <= ROUNDING:
        return replace(found, next_losses="within rounding", loss_error=error)
    why = f"{_listed(lacks)} not saved" if lacks else "by what the format says it holds they should not"
    # Dropout that draws otherwise could hide in the losses that nothing came back at all.
    has_weights = not {"parameters", "statistics"} & set(lacks)
    is_back = not has_weights or _error(restored.outputs, one.outputs) <= ROUNDING
    if not is_back:
        why = "so do the outputs right after the restore, which follow from the weights alone"
    return replace(found, next_losses="differ", loss_error=error, why=why, is_sound=bool(lacks) and is_back)


def _error(found: Sequence[float], wanted: Sequence[float]) -> float:
    if len(found) != len(wanted):
        return 1.0
    largest = max(map(abs, wanted), default=0.0)
    return max((abs(a - b) for a, b in zip(found, wanted, strict=True)), default=0.0) / (largest or 1.0)


def _listed(parts: Sequence[CheckpointPart]) -> str:
    words = [CHECKPOINT_PARTS[part] for part in parts]
    return f"{' and '.join(words)} {'is' if len(words) == 1 else 'are'}"
