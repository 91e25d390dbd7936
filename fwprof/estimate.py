"""How long a plan takes, about, before anything of it is measured.

Owns what a worker of each kind takes, in round figures of one 2-core machine. What was taken over of
an earlier run takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from fwprof import planning
from fwprof.records import HOST, CellPlan, Group, Measured, Record, RunPlan
from fwprof.workloads.answers import CURVE_STEPS, check_samples
from fwprof.workloads.layer_analysis import LAYER_SECONDS, has_layer_pass
from fwprof.workloads.pipelines import has_pipeline, pipeline_seconds

AT_ONCE = 2
"""Workers that are not timed live so many at a time; more would only wait for each other."""

START_SECONDS = 6.0
"""Import, build and first steps of one worker, the mean of eight frameworks and modes.

Source: docs/eight-cells.md, measured.
"""
CHECK_STEPS = CURVE_STEPS + 4
"""Steps of a worker that is verified: one for the gradients, those of the curve, three with moved weights."""
CHECK_SECONDS = 2.0
"""Guards of a timed worker after its rounds, and a framework's own training loop."""
READING_SECONDS = 2.0
"""Memory of one worker."""
ENERGY_SECONDS = 8.0
"""Energy of one worker, read while it works alone: five seconds of steps, and three at rest."""
BATCHES_TRIED = 12
"""Sizes that the search for the largest batch tries: eight doublings and four halvings of the gap."""
CHECKPOINT_SECONDS = 2.0
"""Saving, or restoring, a checkpoint of a small model in every format, several times."""
STEP_SECONDS = 0.002
"""A step of training whose arithmetic takes nothing: the batch, the call, reading the loss."""
HOST_FLOPS = 1e10
"""FLOP/s of one core in a small network: a tenth of the best."""
DEVICE_FLOPS = 1e12
"""FLOP/s of another device: as rough."""
SAMPLES = 10_000
"""Of a data set whose size the plan does not say."""


class Cost(Record, frozen=True, kw_only=True):
    """What one kind of work takes."""

    workers: int = 0
    """Processes that it starts."""
    seconds: float = 0.0


def estimate_seconds(plan: RunPlan, measured: Measured | None = None) -> float:
    """Return about how long the whole command takes at most, start-up included."""
    return sum(cost.seconds for cost in estimate(plan, measured).values())


def estimate(plan: RunPlan, measured: Measured | None = None) -> Mapping[str, Cost]:
    """Return what each kind of work takes at most, about, in the order in which it is done.

    Args:
        plan: the whole run.
        measured: what of it was taken over.

    Returns:
        Kind of work → its cost; kinds that the plan has nothing of are left out.
    """
    measured = measured or Measured()
    costs = {
        "verifying": _verifying(plan, measured),
        "timing": _timing(plan, measured),
        "memory": _memory(plan, measured),
        "largest batch": _largest_batches(plan, measured),
        "training": _training(plan, measured),
        "checkpoints": _checkpoints(plan, measured),
        "data pipeline": _pipelines(plan, measured),
        "layers": _layers(plan, measured),
        "machine's limits": _limits(plan, measured),
    }
    return {name: cost for name, cost in costs.items() if cost.workers}


def workers_at_once(cells: Iterable[CellPlan]) -> int:
    """Return how many workers of these cells may live at a time while nothing is timed."""
    return 1 if any(cell.device.exclusive for cell in cells) else AT_ONCE


def _verifying(plan: RunPlan, measured: Measured) -> Cost:
    workers, seconds = 0, 0.0
    for group in plan.groups:
        is_asked = plan.request.equivalence != "skip" and plan.is_isolated and len(group.cells) > 1
        if is_asked and group.name not in measured.verified and group.cells[0].workload.spec is not None:
            # Presets and devices share the one that computes in float64, and threads both.
            exact = {(str(cell.choice), cell.environment) for cell in group.cells}
            own = {
                (str(cell.choice), cell.environment, cell.device.name, cell.settings_preset)
                for cell in group.cells
            }
            workers += len(exact) + len(own)
            turns = ceil((len(exact) + len(own)) / workers_at_once(group.cells))
            seconds += turns * (START_SECONDS + _answer_seconds(group.cells[0]))
    return Cost(workers=workers, seconds=seconds)


def _answer_seconds(cell: CellPlan) -> float:
    """Guess what answering takes: steps on a few samples, in float64, each worker on a core of its own."""
    share = check_samples(cell.workload) / (cell.batch_size or 1)
    return CHECK_STEPS * share * (cell.workload.flops or 0) / HOST_FLOPS


def _timing(plan: RunPlan, measured: Measured) -> Cost:
    schedule, workers, seconds = plan.schedule, 0, 0.0
    for group in plan.groups:
        sessions = sum(not measured.has(group.name, number) for number in range(schedule.sessions))
        alive = len(_timed(group, measured)) + schedule.replica
        visits = 2 if schedule.kind == "sequential" and alive > 1 else 1
        workers += sessions * visits * alive
        each = alive * (visits * START_SECONDS + CHECK_SECONDS)
        seconds += sessions * (each + schedule.max_seconds)
    return Cost(workers=workers, seconds=seconds)


def _timed(group: Group, measured: Measured) -> Sequence[CellPlan]:
    return [cell for cell in group.cells if cell.id not in measured.skipped]


def _pending(plan: RunPlan, measured: Measured, name: str) -> Sequence[CellPlan]:
    """Return the cells of which a pass after the timing is missing."""
    if not plan.schedule.sessions:
        return []
    left_out = measured.skipped | measured.failed
    return [cell for cell in plan.cells() if cell.id not in left_out and not measured.has_pass(cell.id, name)]


def _memory(plan: RunPlan, measured: Measured) -> Cost:
    workers, seconds = 0, 0.0
    for process in range(planning.memory_processes(plan) if plan.request.memory else 0):
        cells = _pending(plan, measured, f"memory.{process}" if process else "memory")
        workers += len(cells)
        seconds += ceil(len(cells) / workers_at_once(cells)) * (START_SECONDS + READING_SECONDS)
        # On the host the counters are the machine's, and few may read them.
        counted = sum(bool(cell.meter_plugins) or cell.device.name != HOST for cell in cells)
        seconds += 0 if process else counted * ENERGY_SECONDS
    return Cost(workers=workers, seconds=seconds)


def _largest_batches(plan: RunPlan, measured: Measured) -> Cost:
    is_asked = plan.request.find_max_batch is not None and plan.is_isolated
    cells = _pending(plan, measured, "largest-batch") if is_asked else []
    workers = BATCHES_TRIED * sum(cell.workload.spec is not None for cell in cells)
    return Cost(workers=workers, seconds=workers * (START_SECONDS + READING_SECONDS))


def _training(plan: RunPlan, measured: Measured) -> Cost:
    workers, seconds = 0, 0.0
    for number in range(plan.request.training_seeds if plan.request.epochs else 0):
        for cell in _pending(plan, measured, f"training.{number}" if number else "training"):
            if cell.workload.spec is not None:
                workers += 1
                seconds += START_SECONDS + plan.request.epochs * _epoch_seconds(cell)
    return Cost(workers=workers, seconds=seconds)


def _checkpoints(plan: RunPlan, measured: Measured) -> Cost:
    """Return what two workers a cell take: one saves, a fresh one restores."""
    cells = _pending(plan, measured, "checkpoint-save") if plan.request.checkpoints else []
    workers = 2 * sum(cell.workload.spec is not None for cell in cells)
    return Cost(workers=workers, seconds=workers * (START_SECONDS + CHECKPOINT_SECONDS))


def _pipelines(plan: RunPlan, measured: Measured) -> Cost:
    workers = sum(has_pipeline(plan, cell) for cell in _pending(plan, measured, "pipeline"))
    return Cost(workers=workers, seconds=workers * (START_SECONDS + pipeline_seconds(plan)))


def _layers(plan: RunPlan, measured: Measured) -> Cost:
    """Return what one worker a cell takes; how long a framework compiles single layers nobody knows."""
    workers = sum(has_layer_pass(plan, cell) for cell in _pending(plan, measured, "layers"))
    return Cost(workers=workers, seconds=workers * (START_SECONDS + LAYER_SECONDS))


def _epoch_seconds(cell: CellPlan) -> float:
    """Guess one epoch: a step on every batch, and a forward pass on every sample to see how good it is."""
    steps = ceil((cell.workload.data_size or SAMPLES) / (cell.batch_size or 1))
    rate = HOST_FLOPS * cell.threads if cell.device.name == HOST else DEVICE_FLOPS
    arithmetic = (cell.workload.flops or 0) / rate
    return steps * (2 * STEP_SECONDS + arithmetic * 4 / 3)


def _limits(plan: RunPlan, measured: Measured) -> Cost:
    if not (plan.schedule.sessions and plan.request.machine_limits and plan.is_isolated):
        return Cost()
    keys = planning.limits_keys(plan)
    workers = sum(len(cells) for key, cells in keys.items() if key not in measured.limits)
    return Cost(workers=workers, seconds=workers * (START_SECONDS + planning.LIMITS_SECONDS))
