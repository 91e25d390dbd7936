"""A step against what its machine can do: shares of the best, intensity, mfu, and what bounds it.

Owns the formulas and the thresholds (docs/reference/limits.md). Measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from fwprof.comparison.known_limits import KNOWN
from fwprof.metrics import METRICS
from fwprof.records import CellPlan, MetricValue, Reading, RunResult

Bound = Literal["overhead", "compute", "memory", "data"]

BOUND_SHARE = 50.0
"""Percent of the machine's best that a step must reach for it to be called the limit: above half,
nothing else can take up more of the step."""
OVERHEAD_SHARE = 25.0
"""Below a quarter of both the arithmetic and the bandwidth, most of the step is neither: it is the
framework's own work of launching operations, or kernels far from what the machine can do."""
DATA_SHARE = 0.5
"""Of the step time: fetching a batch that takes longer than this cannot hide behind the step."""
SLOWER = 0.8
"""Of the best known of this machine: a session below it is told apart from repetitions, which are within
10 % of each other (docs/benchmarks.md)."""
REPEATABLE = "best_gemm"
"""The limit of which that holds."""
SHARES = ("share_of_best_gemm", "share_of_copy", "mfu")


def limits_of(result: RunResult, plan: CellPlan) -> dict[str, Reading]:
    """Return what a cell is held against; nothing where it was not measured."""
    key = plan.limits_key
    if not result.limits_by_library:
        # Older results keep one limit for all presets, and do not say which library reached what.
        key = key.removesuffix(f"/{plan.settings_preset}")
    return result.limits.get(key, {})


def limit_metrics(
    plan: CellPlan, step_ns: float | None, limits: Mapping[str, Reading], why_no_time: str
) -> dict[str, MetricValue]:
    """Return FLOPs, intensity and shares of one cell, each null with its reason where it has no value.

    Args:
        plan: the cell.
        step_ns: the p50 of its step time.
        limits: from `limits_of`.
        why_no_time: why there is no step time.
    """
    flops, traffic = plan.workload.flops, plan.workload.traffic_bytes
    intensity = flops / traffic if flops is not None and traffic else None
    unknown = "what the model needs is not known"

    def share(name: str, amount: int | None, peak: float | None, why_no_peak: str) -> MetricValue:
        if amount is None:
            return _metric(name, None, unknown)
        if step_ns is None:
            return _metric(name, None, why_no_time)
        return _metric(name, 100.0 * amount / (step_ns * 1e-9) / peak if peak else None, why_no_peak)

    def measured(limit: str) -> tuple[float | None, str]:
        best = limits.get(limit)
        return (best.value, best.reason) if best else (None, "the machine's best was not measured")

    return {
        "flops": _metric("flops", flops, "not known for a model of the user's own"),
        "arithmetic_intensity": _metric("arithmetic_intensity", intensity, unknown),
        "share_of_best_gemm": share("share_of_best_gemm", flops, *measured("best_gemm")),
        "share_of_copy": share("share_of_copy", traffic, *measured("best_copy")),
        "mfu": share("mfu", flops, *_promised(plan)),
    }


def _promised(plan: CellPlan) -> tuple[float | None, str]:
    """Return the peak of the device's data sheet in the cell's precision, or why there is none."""
    device = plan.device
    if device.no_peaks:
        return None, device.no_peaks
    if not device.peaks:
        return None, "not measured: the device plugin names no datasheet peak"
    if plan.precision not in device.peaks:
        return None, f"the datasheet of {device.title or device.name} names no peak in {plan.precision}"
    return device.peaks[plan.precision].flops_per_s, ""


def _metric(name: str, value: float | None, reason: str) -> MetricValue:
    metric = METRICS[name]
    if value is None:
        return MetricValue(unit=metric.unit, kind=metric.kind, reason=reason)
    return MetricValue(unit=metric.unit, kind=metric.kind, value=value)


def bound_of(metrics: Mapping[str, MetricValue]) -> Bound | None:
    """Return what bounds the step, as far as its shares of the machine's best tell."""
    step, data = metrics["step_time"].p50, metrics["data_time"].p50
    if step is None:
        return None
    if data is not None and data > DATA_SHARE * step:
        return "data"
    gemm, copy = metrics["share_of_best_gemm"].value, metrics["share_of_copy"].value
    if gemm is not None and gemm >= BOUND_SHARE:
        return "compute"
    if copy is not None and copy >= BOUND_SHARE:
        return "memory"
    if gemm is not None and copy is not None and max(gemm, copy) < OVERHEAD_SHARE:
        return "overhead"
    return None


def slower_than_known(limits: Mapping[str, Reading]) -> dict[str, float]:
    """Return what this session's best product is of the best known of this machine, where it is far below.

    The best copy is left out: processes differ in it by as much (docs/benchmarks.md).

    Args:
        limits: from `limits_of`.
    """
    best, known = limits.get(REPEATABLE), limits.get(KNOWN[REPEATABLE])
    if not (best and known and best.value and known.value):
        return {}
    share = best.value / known.value
    return {REPEATABLE: share} if share < SLOWER else {}


def limit_labels(metrics: Mapping[str, MetricValue], limits: Mapping[str, Reading]) -> Iterator[str]:
    """Yield what a reader of the shares must keep in mind.

    Args:
        metrics: from `limit_metrics`.
        limits: what the shares are of.
    """
    values = [metrics[name].value for name in SHARES]
    if any(value is not None and value > 100 for value in values):
        yield "above_best"
    if slower_than_known(limits):
        yield "slower_machine"
