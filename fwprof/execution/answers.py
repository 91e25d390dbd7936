"""Asks a model what it computes: outputs, loss, gradients, and where training takes it.

Knows no framework and judges nothing: the launcher compares what workers answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np

from fwprof.contracts import Gradients, Model, Programs, Result, Staged
from fwprof.workloads.answers import CURVE_STEPS, PARAMETER_STEPS, Answers

MOVES = 3
MOST_SCALES = 20
"""So often a scale of the loss may be halved until no gradient overflows: from 2^16 to below 1."""


def take_answers(
    model: Model, programs: Programs, staged: Sequence[Staged], *, rounding: float = 0.0
) -> Answers:
    """Return what the model answers to these batches, from its canonical start.

    Args:
        model: built for verification.
        programs: its own.
        staged: the check batches.
        rounding: by such a share of itself each weight is moved at random, to see how far that moves
            gradients; 0: it is not asked. Only float64 can be asked.
    """
    model.reset()
    outputs = model.predict(staged[0])
    loss, gradients = _differentiate(model, programs, staged[0])
    model.reset()
    losses = []
    parameters = {}
    for number, batch in enumerate(islice(cycle(staged), CURVE_STEPS), start=1):
        losses.append(_read(programs, programs.run(batch))[0])
        if number == PARAMETER_STEPS:
            parameters = dict(model.parameters())
    sensitivity = _sensitivity(model, programs, staged[0], gradients or {}, rounding) if rounding else {}
    return Answers(
        outputs=outputs,
        loss=loss,
        gradients=gradients or {},
        parameters=parameters,
        losses=tuple(losses),
        sensitivity=sensitivity,
    )


def _differentiate(model: Model, programs: Programs, batch: Staged) -> tuple[float, Gradients | None]:
    """Return loss and gradients at the start.

    Where a gradient overflows under a scaled loss, a step is taken first, as training does: it finds
    the same, changes no parameter, and goes on with a smaller scale.
    """
    loss, gradients = _read(programs, programs.forward_backward(batch))
    for _ in range(MOST_SCALES):
        if all(np.isfinite(each).all() for each in (gradients or {}).values()):
            break
        before = model.parameters()
        _read(programs, programs.run(batch))
        after = model.parameters()
        if any(not np.array_equal(before[name], after[name]) for name in gradients or {} if name in before):
            break  # nothing scales this loss: what overflowed is the model's
        loss, gradients = _read(programs, programs.forward_backward(batch))
    return loss, gradients


def _read(programs: Programs, result: Result) -> tuple[float, Gradients | None]:
    programs.wait(result)
    return programs.read(result)


def _sensitivity(
    model: Model, programs: Programs, batch: Staged, gradients: Gradients, rounding: float
) -> Mapping[str, float]:
    """Return by how much each gradient moves at most, where the weights move as if they were rounded.

    Where an activation bends, or a maximum changes its place, a gradient jumps: by that much it may
    differ in any program of that precision, and in one it need not.
    """
    random = np.random.default_rng(0)
    found = dict.fromkeys(gradients, 0.0)
    for _ in range(MOVES):
        model.reset()
        start = model.parameters()
        model.load_parameters(
            {
                name: value * (1 + rounding * random.standard_normal(value.shape))
                for name, value in start.items()
            }
        )
        for name, moved in (_read(programs, programs.forward_backward(batch))[1] or {}).items():
            if name in found:
                difference = float(np.abs(moved - gradients[name]).max(initial=0.0))
                found[name] = max(found[name], difference)
    model.reset()
    return found
