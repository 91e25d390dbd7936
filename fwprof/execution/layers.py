"""The layer pass of one worker: F and G of each layer alone, and of the whole model beside them.

Owns the order and the clock of these calls, and what goes into a layer: the workload's own batch
into those that take it, elsewhere standard normal numbers. A layer that raises is left out with its
reason; the others go on. Knows a model through its Protocols; knows no framework and no file.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

from fwprof.contracts import Clock, LayerCase, LayerPrograms, LoadedWorkload, Model, Programs, Result, Staged
from fwprof.errors import FwprofError
from fwprof.records import LayerBlock, LayerProgram, LayerRun
from fwprof.records import workload as kinds
from fwprof.records.frames import LayersOpened, LayersTimed, MeasureLayers
from fwprof.workloads.layer_analysis import layer_counts

if TYPE_CHECKING:
    from fwprof.contracts import Array

MIN_ROUNDS, MAX_ROUNDS = 5, 30
"""Rounds over all layers: at least so many whatever they take, and no more however short they are."""
BLOCK_NS, LEAD_IN_NS = 3_000_000, 1_000_000
"""Length of a block, and of the untimed calls before it, about."""
MIN_CALLS, MAX_CALLS = 3, 20
WARM_CALLS = 3
"""Calls before the rounds; the first one may compile."""
NO_LAYERS = "the plugin cannot run a layer alone"


@dataclass
class Timed:
    """One program that is timed.

    Args:
        layer: its path; None: the whole model.
        call: runs it, and returns what `wait` waits for.
        typical_ns: a call, with its wait.
    """

    layer: str | None
    program: LayerProgram
    call: Callable[[], Result]
    wait: Callable[[Result], None]
    typical_ns: int = 0


def measure_layers(
    model: Model,
    programs: Programs,
    staged: Sequence[Staged],
    workload: LoadedWorkload,
    clock: Clock,
    order: MeasureLayers,
    send: Callable[[LayersOpened | LayersTimed], None],
    seed: int = 0,
) -> None:
    """Build and warm every layer, report which there are, then time all in rounds.

    Args:
        staged: batches on the device, cycled by the whole model.
        workload: a neutral one, with its batches on the host.
        order: for how long, about, once everything is compiled.
        send: takes each report.
        seed: of random inputs, and of the order within a round.
    """
    assert workload.spec is not None
    parts = workload.spec.accumulate
    samples = len(workload.batches[0].targets) // parts
    timed, refused = open_layers(model, workload, samples, clock, seed)
    reason = "" if timed else next(iter(refused.values()), NO_LAYERS)
    run = LayerRun(
        samples=samples,
        parts=parts,
        fused_by=str(getattr(model, "fused_by", "")),
        refused=refused,
        reason=reason,
    )
    if not timed:
        send(LayersOpened(run=run))
        return
    timed += _whole(programs, staged)
    for one in timed[-2:]:
        _warm(one, clock)
    send(LayersOpened(run=run))
    shuffled, begin = random.Random(seed), clock.now_ns()
    for number in range(MAX_ROUNDS):
        if number >= MIN_ROUNDS and clock.now_ns() - begin > order.seconds * 1e9:
            break
        shuffled.shuffle(timed)
        model.reset()
        gc.collect()
        blocks = tuple(run_block(one, number, place, clock) for place, one in enumerate(timed))
        send(LayersTimed(blocks=blocks))


def open_layers(
    model: Model, workload: LoadedWorkload, samples: int, clock: Clock, seed: int
) -> tuple[list[Timed], dict[str, str]]:
    """Return F and G of every layer that the model can run alone, warm; and path → why not, of the others."""
    make: Callable[[LayerCase], LayerPrograms] | None = getattr(model, "open_layer", None)
    if make is None:
        return [], {}
    timed: list[Timed] = []
    refused: dict[str, str] = {}
    for case, has_gradients in layer_cases(workload, samples, seed):
        path = case.layer.path
        try:
            found = _programs(make(case), path, has_gradients=has_gradients)
            for one in found:
                _warm(one, clock)
        except Exception as error:  # noqa: BLE001  # a framework's or a plugin's code: this row has a reason
            refused[path] = _reason(error)
        else:
            timed += found
    return timed, refused


def layer_cases(workload: LoadedWorkload, samples: int, seed: int) -> list[tuple[LayerCase, bool]]:
    """Return what goes into each layer, and whether a step computes any gradient in it.

    Args:
        samples: how many go in at once.
        seed: of the random numbers.
    """
    import numpy as np

    assert workload.spec is not None
    drawn = np.random.default_rng(seed)
    batch = workload.batches[0].inputs[:samples]
    # Ids stay ids until an embedding takes them; a flattening before it changes their shape alone.
    is_batch, cases = True, []
    for counts in layer_counts(workload.layers, samples, workload.spec.optimizer):
        layer = counts.layer
        shape = (samples, *layer.input_shape)
        inputs: Array = batch.reshape(shape) if is_batch else drawn.standard_normal(shape, dtype=np.float32)
        upstream = drawn.standard_normal((samples, *layer.output_shape), dtype=np.float32)
        is_batch = is_batch and batch.dtype.kind == "i" and isinstance(layer.layer, kinds.Flatten)
        cases.append((LayerCase(layer, inputs, upstream, counts.has_input_gradient), counts.has_gradients))
    return cases


def run_block(one: Timed, round_: int, order: int, clock: Clock) -> LayerBlock:
    """Lead in, then time some calls of one program one by one, each with its wait."""
    call, wait, now = one.call, one.wait, clock.now_ns
    typical_ns = max(one.typical_ns, 1)
    count = min(MAX_CALLS, max(MIN_CALLS, BLOCK_NS // typical_ns))
    values = [0] * count
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(min(MAX_CALLS, max(1, LEAD_IN_NS // typical_ns))):
            wait(call())
        result: Result = None
        for index in range(count):
            start = now()
            result = call()
            wait(result)
            # Freeing a result is a cost of the call.
            result = None
            values[index] = now() - start
    finally:
        if was_enabled:
            gc.enable()
    return LayerBlock(round=round_, order=order, layer=one.layer, program=one.program, call_ns=tuple(values))


def _reason(error: Exception) -> str:
    if isinstance(error, FwprofError):
        return ": ".join(filter(None, (error.what, error.cause)))
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _programs(programs: LayerPrograms, path: str, *, has_gradients: bool) -> list[Timed]:
    found = [Timed(path, "forward", programs.forward, programs.wait)]
    if has_gradients:
        found.append(Timed(path, "forward_backward", programs.forward_backward, programs.wait))
    return found


def _whole(programs: Programs, staged: Sequence[Staged]) -> list[Timed]:
    batches = cycle(staged)

    def over(program: Callable[[Staged], Result]) -> Callable[[], Result]:
        return lambda: program(*islice(batches, 1))

    return [
        Timed(None, "forward", over(programs.forward), programs.wait),
        Timed(None, "forward_backward", over(programs.forward_backward), programs.wait),
    ]


def _warm(one: Timed, clock: Clock) -> None:
    """Make the first calls, which may compile, and note how long the last of them takes."""
    for _ in range(WARM_CALLS):
        start = clock.now_ns()
        one.wait(one.call())
        one.typical_ns = clock.now_ns() - start
