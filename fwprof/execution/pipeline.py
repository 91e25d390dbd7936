"""The pipeline pass of one worker: training steps on batches from the framework's own data pipeline.

Owns loops and clock. Each timed loop has a twin of as many steps on staged batches right beside it,
so that what waiting for data costs is a difference within one process and one moment. Knows a
model, programs and a pipeline through their Protocols; knows no framework and no file.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice

from fwprof.contracts import Clock, DataPipeline, Meter, Model, PipelineData, Programs, Result, Staged
from fwprof.errors import PluginContractError
from fwprof.execution.passes import watched
from fwprof.execution.session import InvalidResultError
from fwprof.records import DataLoop, PipelineRun, Reading
from fwprof.records.frames import LoopDone, PipelineOpened, Readings, RunPipeline
from fwprof.workloads.pipelines import PlainPipeline, Samples

MIN_LOOPS, MAX_LOOPS = 3, 10
"""Timed loops: at least so many whatever they take, and no more however short they are."""
NOT_ISOLATED = "measured inside the caller's process, whose memory is not the loops' alone"
SETTLE_NS = 250_000_000
"""How long workers are left alone after a loop that was cut, before anything else is timed."""
SHARES = 9
"""The time of the pass is shared by the warm loop (two), three loops and their twins, and the one that
memory is looked at in: each of them may take one share, or is cut short."""


def measure_pipeline(
    model: Model,
    programs: Programs,
    staged: Sequence[Staged],
    data: PipelineData,
    clock: Clock,
    meters: Sequence[Meter],
    order: RunPipeline,
    send: Callable[[PipelineOpened | LoopDone | Readings], None],
) -> None:
    """Open the model's own pipeline, loop through it, and report each loop and the peak of memory.

    Args:
        staged: batches on the device.
        data: the samples.
        meters: of the host's memory; none where the process is not the worker's own.
        order: how long, and how often meters look.
        send: takes each report.

    Raises:
        PluginContractError, InvalidResultError: as `run_loops`.
    """
    samples, make = Samples(data), getattr(model, "pipeline", None)
    pipeline: DataPipeline = make(data) if make is not None else PlainPipeline(data, model.stage)
    steps, seconds = samples.epoch_steps, order.seconds
    try:
        run = PipelineRun(
            basis=pipeline.basis,
            sample_count=len(samples),
            data_bytes=samples.data_bytes,
            epoch_steps=steps,
        )
        send(PipelineOpened(run=run))
        run_loops(
            model, programs, pipeline, staged, steps, clock, seconds, lambda loop: send(LoopDone(loop=loop))
        )
        # Looking at memory takes time from a loop: it has one of its own.
        with watched(meters, order.rate_hz) as readings:
            model.reset()
            _loop(programs, pipeline, steps, clock, number=0, cap_ns=int(seconds * 1e9 / SHARES))
    finally:
        pipeline.close()
    peak = readings.get("host_peak", Reading(value=None, unit="bytes", reason=NOT_ISOLATED))
    send(Readings(pass_name="pipeline", readings={"pipeline_peak": peak}))


def run_loops(
    model: Model,
    programs: Programs,
    pipeline: DataPipeline,
    staged: Sequence[Staged],
    epoch_steps: int,
    clock: Clock,
    seconds: float,
    report: Callable[[DataLoop], None],
) -> None:
    """Loop over the data: once untimed, then in turn with staged batches until the time is used up.

    Args:
        model: reset before each loop, untimed.
        pipeline: each `iter()` of it is one epoch.
        staged: batches on the device, cycled in the loops beside.
        epoch_steps: full batches in an epoch: a loop takes all of them, or as many as fit its time.
        clock: the clock of every figure.
        seconds: about how long everything takes.
        report: takes each loop as it is done.

    Raises:
        PluginContractError: the pipeline gave fewer batches than the data set holds.
        InvalidResultError: the loss is not a finite number at the end of a loop.
    """
    share_ns = int(seconds * 1e9 / SHARES)
    begin = clock.now_ns()
    with _collected(model):
        warm = _loop(programs, pipeline, epoch_steps, clock, number=0, cap_ns=2 * share_ns)
    report(warm)
    steps = _step_count(warm, epoch_steps, share_ns)
    for number in range(1, MAX_LOOPS + 1):
        if number > MIN_LOOPS and clock.now_ns() - begin > (SHARES - 1) * share_ns:
            break
        staged_ns = 0
        is_first = number % 2 == 1
        if is_first:
            staged_ns = _staged_loop(model, programs, staged, steps, clock)
        with _collected(model):
            loop = _loop(programs, pipeline, steps, clock, number=number)
        if steps < epoch_steps:
            # Workers that stay finish what they had begun of the epoch that was left.
            clock.sleep_ns(min(SETTLE_NS, share_ns))
        if not is_first:
            staged_ns = _staged_loop(model, programs, staged, steps, clock)
        report(
            DataLoop(
                number=number,
                steps=loop.steps,
                start_ns=loop.start_ns,
                loop_ns=loop.loop_ns,
                staged_ns=staged_ns,
            )
        )


def _loop(
    programs: Programs,
    pipeline: DataPipeline,
    steps: int,
    clock: Clock,
    *,
    number: int,
    cap_ns: int | None = None,
) -> DataLoop:
    """Take `steps` steps through the pipeline, fewer where the cap ends first, and wait at the end."""
    run, now = programs.run, clock.now_ns
    result: Result = None
    done = start_ns = 0
    begin = now()
    batches = iter(pipeline)
    try:
        for batch in batches:
            if not done:
                start_ns = now() - begin
            result = run(batch)
            done += 1
            if done == steps or (cap_ns is not None and now() - begin >= cap_ns):
                break
        else:
            raise PluginContractError(
                f"the data pipeline ended after {done} of {steps} batches, in loop {number}",
                cause="an epoch holds every full batch of the data set",
            )
        programs.wait(result)
        loop_ns = now() - begin
    finally:
        # A generator's own way of being told that the epoch is over.
        if (close := getattr(batches, "close", None)) is not None:
            close()
    _require_finite(programs, result, number)
    return DataLoop(number=number, steps=done, start_ns=start_ns, loop_ns=loop_ns)


def _staged_loop(model: Model, programs: Programs, staged: Sequence[Staged], steps: int, clock: Clock) -> int:
    """Take as many steps on staged batches, with one wait; return what they took, ns."""
    with _collected(model):
        run, batches = programs.run, islice(cycle(staged), steps)
        result: Result = None
        start = clock.now_ns()
        for batch in batches:
            result = run(batch)
        programs.wait(result)
        return clock.now_ns() - start


@contextmanager
def _collected(model: Model) -> Iterator[None]:
    """Restore the start and collect garbage before, and none meanwhile: as for a block."""
    model.reset()
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _step_count(warm: DataLoop, epoch_steps: int, share_ns: int) -> int:
    """Return how many steps a loop may take: the epoch, or what fits in one share."""
    each_ns = (warm.loop_ns - warm.start_ns) / warm.steps
    room_ns = share_ns - warm.start_ns
    if each_ns <= 0 or each_ns * epoch_steps <= room_ns:
        return epoch_steps
    return min(epoch_steps, max(MIN_LOOPS, int(room_ns / each_ns)))


def _require_finite(programs: Programs, result: Result, number: int) -> None:
    loss = programs.read(result)[0]
    if not math.isfinite(loss):
        raise InvalidResultError(f"the loss became {loss} in loop {number} through the data pipeline")
