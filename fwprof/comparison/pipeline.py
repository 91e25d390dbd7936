"""Figures of the pipeline pass: what its raw loops say of an epoch, and of waiting for data."""

from __future__ import annotations

from collections.abc import Callable

from fwprof.metrics import METRICS
from fwprof.records import CellPlan, CellResult, DataLoop, MetricValue, PipelineRun
from fwprof.statistics import mean_interval, median
from fwprof.workloads.language import is_trimmed

PIPELINE_METRICS = ("data_stall", "pipeline_epoch_time", "pipeline_throughput")
"""Those that are made of loops."""
NOT_ASKED = "not measured in this run: --pipeline asks for it"
CHANGING = "batches that change their length come from no such pipeline"


def epoch_ns(run: PipelineRun, loop: DataLoop) -> float:
    """Return what an epoch takes by one loop: of one cut short, its start and more of its steps."""
    return loop.start_ns + (loop.loop_ns - loop.start_ns) * run.epoch_steps / loop.steps


def stall_ns(run: PipelineRun, loop: DataLoop) -> float:
    """Return by how much a step of an epoch is longer than one on a staged batch, beside it in time."""
    assert loop.staged_ns is not None
    return epoch_ns(run, loop) / run.epoch_steps - loop.staged_ns / loop.steps


def pipeline_metrics(cell: CellResult, plan: CellPlan, batch_size: int | None) -> dict[str, MetricValue]:
    """Return `data_stall`, `pipeline_epoch_time` and `pipeline_throughput`, or why there are none."""
    spec = plan.workload.spec
    reason = CHANGING if spec is not None and is_trimmed(spec) else NOT_ASKED
    stall = _of(cell, "data_stall", stall_ns, reason)
    epoch = _of(cell, "pipeline_epoch_time", epoch_ns, reason)
    return {
        "data_stall": stall,
        "pipeline_epoch_time": epoch,
        "pipeline_throughput": _throughput(cell.pipeline, epoch, batch_size),
    }


def pipeline_value(cell: CellResult, plan: CellPlan, metric: str, batch_size: int | None) -> float | None:
    """Return one of `PIPELINE_METRICS` as a single value; None where there is none."""
    return pipeline_metrics(cell, plan, batch_size)[metric].p50


def _of(
    cell: CellResult, name: str, value: Callable[[PipelineRun, DataLoop], float], reason: str
) -> MetricValue:
    run, metric = cell.pipeline, METRICS[name]
    loops = [] if run is None else [loop for loop in run.loops if loop.staged_ns is not None]
    if run is None or not loops:
        if run is not None:
            reason = f"no loop was finished: the cell is {cell.fate}"
        return MetricValue(unit=metric.unit, kind=metric.kind, reason=reason)
    values = [value(run, loop) for loop in loops]
    interval = mean_interval(values)[1:] if len(values) > 1 else None
    return MetricValue(
        unit=metric.unit, kind=metric.kind, p50=median(values), ci95=interval, count=len(values)
    )


def _throughput(run: PipelineRun | None, epoch: MetricValue, batch_size: int | None) -> MetricValue:
    metric = METRICS["pipeline_throughput"]
    if run is None or epoch.p50 is None or batch_size is None:
        return MetricValue(unit=metric.unit, kind=metric.kind, reason=epoch.reason)
    samples = run.epoch_steps * batch_size * 1e9
    low, high = epoch.ci95 or (None, None)
    interval = (samples / high, samples / low) if low is not None and high is not None and low > 0 else None
    return MetricValue(
        unit=metric.unit, kind=metric.kind, p50=samples / epoch.p50, ci95=interval, count=epoch.count
    )
