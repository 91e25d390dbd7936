"""What the training passes of a run gave: times, the way to a target, and whether curves coincide.

Derives from stored epochs only. Nothing here is ranked: training passes run one after another, so
that the machine's drift falls on cells unequally, and few epochs are no rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from fwprof.metrics import METRICS
from fwprof.records import (
    CellPlan,
    CellResult,
    CurveAgreement,
    Group,
    MetricValue,
    RunRequest,
    RunResult,
    TargetTime,
    TrainingPoint,
)
from fwprof.statistics import median

TIMES = ("epoch_time", "first_epoch_time", "evaluate_time", "predict_time")
TO_TARGET = "time_to_accuracy"
NO_DATA_SET = "a model of the user's own brings batches and no data set to train on"
NO_ACCURACY = "the loss of this workload has no accuracy"
ROUNDING = 1e-9
"""By so little a share may miss the target and still reach it: both were rounded."""


def training_values(cell: CellResult) -> Mapping[str, Sequence[int]]:
    """Return each of `TIMES` → its values over epochs and seeds, ns.

    The first epoch stands apart: whatever is left to compile, as `predict`, compiles there.
    """
    first = [one for one in cell.epoch_times if one.epoch == 1]
    later = [one for one in cell.epoch_times if one.epoch > 1]
    return {
        "epoch_time": [one.train_ns for one in later],
        "first_epoch_time": [one.train_ns for one in first],
        "evaluate_time": [sum(one.predict_ns) for one in later],
        "predict_time": [ns for one in later for ns in one.predict_ns[: one.full_batch_count]],
    }


def training_value(cell: CellResult, plan: CellPlan, request: RunRequest, metric: str) -> float | None:
    """Return one of `TIMES`, or `time_to_accuracy`, as the median of its values, ns."""
    if metric == TO_TARGET:
        found = [one.duration_ns for one in targets_of(cell, plan, request)]
        reached = [duration_ns for duration_ns in found if duration_ns is not None]
        return median(reached) if found and len(reached) == len(found) else None
    values = training_values(cell)[metric]
    return median(values) if values else None


def training_metrics(cell: CellResult, plan: CellPlan, request: RunRequest) -> Mapping[str, MetricValue]:
    """Return the metrics of the training pass, null with its reason where one has no value."""
    values = training_values(cell)
    metrics = {}
    for name in (*TIMES, TO_TARGET):
        targets = targets_of(cell, plan, request) if name == TO_TARGET else ()
        value = training_value(cell, plan, request, name)
        count = len(targets) if name == TO_TARGET else len(values[name])
        metrics[name] = (
            MetricValue(unit=METRICS[name].unit, reason=_why_none(name, cell, plan, request, targets))
            if value is None
            else MetricValue(unit=METRICS[name].unit, p50=value, count=count)
        )
    return metrics


def _why_none(
    name: str, cell: CellResult, plan: CellPlan, request: RunRequest, targets: Sequence[TargetTime]
) -> str:
    if not request.epochs:
        return "nothing was trained: no --epochs"
    if plan.workload.native is not None:
        return NO_DATA_SET
    if not cell.epoch_times:
        return f"the cell is {cell.fate}" if cell.fate != "ok" else "no epoch was trained"
    if name == TO_TARGET:
        return _why_not_reached(plan, request, targets)
    if name == "predict_time" and training_values(cell)["evaluate_time"]:
        return "the validation split is smaller than a batch"
    return "one epoch was trained, and the first stands apart"


def target_accuracy(plan: CellPlan, request: RunRequest) -> float | None:
    """Return the validation accuracy that training is to reach; None: nobody set one."""
    own = plan.workload.spec.target_accuracy if plan.workload.spec is not None else None
    return own if request.target_accuracy is None else request.target_accuracy


def targets_of(cell: CellResult, plan: CellPlan, request: RunRequest) -> tuple[TargetTime, ...]:
    """Return for each seed that was trained when it first reached the target; empty without one."""
    target = target_accuracy(plan, request)
    if target is None or not cell.training:
        return ()
    found = []
    for seed in plan.training_seeds(request.training_seeds):
        points = [point for point in held_out(cell) if point.seed == seed]
        reached = next((point.epoch for point in points if _reaches(point, target)), None)
        upto = [
            one.train_ns
            for one in cell.epoch_times
            if reached is not None and one.seed == seed and one.epoch <= reached
        ]
        found.append(
            TargetTime(
                seed=seed,
                epoch=reached,
                duration_ns=None if reached is None else sum(upto),
                reason="" if reached is not None else _short_of(points, target, request.epochs),
            )
        )
    return tuple(found)


def _reaches(point: TrainingPoint, target: float) -> bool:
    return point.accuracy is not None and point.accuracy >= target - ROUNDING


def _short_of(points: Sequence[TrainingPoint], target: float, epochs: int) -> str:
    known = [point.accuracy for point in points if point.accuracy is not None]
    if points and not known:
        return NO_ACCURACY
    if len(points) < epochs:
        return f"ended after epoch {len(points)} of {epochs}" if points else "no epoch was trained"
    return f"did not reach {_percent(target)} in {epochs} epochs (best {_percent(max(known))})"


def _why_not_reached(plan: CellPlan, request: RunRequest, targets: Sequence[TargetTime]) -> str:
    target = target_accuracy(plan, request)
    if target is None:
        return "no target was set: --target-accuracy, or target_accuracy of the workload"
    short = [one.reason for one in targets if one.duration_ns is None]
    if len(targets) == 1 or NO_ACCURACY in short:
        return short[0]
    missed = sum(reason.startswith("did not reach") for reason in short)
    parts = [f"{missed} of {len(targets)} seeds did not reach {_percent(target)} in {request.epochs} epochs"]
    if cut := len(short) - missed:
        parts = [*(parts if missed else ()), f"{cut} of {len(targets)} seeds did not train to the end"]
    return ", ".join(parts)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def held_out(cell: CellResult) -> Sequence[TrainingPoint]:
    """Return a cell's points of the validation split, seed by seed in the order of epochs."""
    return [point for point in cell.training if point.split == "validation"]


def agreements(result: RunResult) -> Sequence[CurveAgreement]:
    """Return for each group how far the training curves of its cells are apart."""
    cells = {cell.id: cell for cell in result.cells}
    found = (_agreement(group, cells, result.plan.request) for group in result.plan.groups)
    return [one for one in found if one is not None]


def _agreement(group: Group, cells: Mapping[str, CellResult], request: RunRequest) -> CurveAgreement | None:
    """Compare the cells that trained every seed to the end; None where fewer than two did."""
    last: dict[str, list[TrainingPoint]] = {}
    for plan in group.cells:
        points = [point for point in held_out(cells[plan.id]) if point.epoch == request.epochs]
        if request.epochs and len(points) == request.training_seeds:
            last[plan.id] = points
    if len(last) < 2:
        return None
    is_scored = all(point.accuracy is not None for points in last.values() for point in points)
    measure: Literal["accuracy", "loss"] = "accuracy" if is_scored else "loss"
    values = {name: [getattr(point, measure) for point in points] for name, points in last.items()}
    means = {name: sum(column) / len(column) for name, column in values.items()}
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    if low == high:
        low, high = list(means)[:2]
    spread = (
        max(max(values[name]) - min(values[name]) for name in (low, high))
        if request.training_seeds > 1
        else None
    )
    difference = means[high] - means[low]
    start = _start_difference([cells[name] for name in last])
    return CurveAgreement(
        cells=tuple(last),
        epochs=request.epochs,
        seeds=request.training_seeds,
        measure=measure,
        difference=difference,
        between=(low, high),
        spread=spread,
        start_difference=start,
        conclusion=_conclude(measure, difference, (low, high), spread, start, request.training_seeds)
        + _other_work([cells[name] for name in last]),
    )


def _start_difference(cells: Sequence[CellResult]) -> float | None:
    """Return how far the losses of the very first step are apart, where the seed is the same."""
    losses: dict[int, list[float]] = {}
    for cell in cells:
        for point in cell.training:
            if point.epoch == 1 and point.first_loss is not None:
                losses.setdefault(point.seed, []).append(point.first_loss)
    apart = [
        (max(one) - min(one)) / max(map(abs, one))
        for one in losses.values()
        if len(one) == len(cells) and any(one)
    ]
    return max(apart) if apart else None


def _other_work(cells: Sequence[CellResult]) -> str:
    """Say which cells need not learn the same, since they do not compute the same."""
    names = [cell.id for cell in cells if cell.equivalence.status == "not_equivalent"]
    if not names:
        return ""
    return f"; {' and '.join(names)} {'does' if len(names) == 1 else 'do'} not compute the same"


def _conclude(
    measure: str,
    difference: float,
    between: tuple[str, str],
    spread: float | None,
    start: float | None,
    seeds: int,
) -> str:
    """Say in words what the difference is worth."""

    def said(value: float) -> str:
        return f"{100 * value:.2g} points" if measure == "accuracy" else f"{value:.2g}"

    parts = []
    if start is not None:
        parts.append(
            f"the first step's loss agrees to {start:.0e}" if start else "the first step's loss is equal"
        )
    of = f" (means of {seeds} seeds)" if seeds > 1 else ""
    if difference == 0:
        parts.append(f"the final validation {measure} is the same{of}")
        return ", ".join(parts)
    parts.append(
        f"the final validation {measure} differs by {said(difference)} at most{of}, between {between[0]} and"
        f" {between[1]}"
    )
    if spread is None:
        parts.append("one seed: what another one would change is not known")
    elif difference > spread:
        parts.append(f"more than the {said(spread)} by which seeds differ")
    else:
        parts.append(f"no more than the {said(spread)} by which seeds differ")
    return ", ".join(parts)
