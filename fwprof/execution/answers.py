"""Asks a model what it computes: outputs, loss, gradients, and where training takes it.

Knows no framework and judges nothing: the launcher compares what workers answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

from fwprof.contracts import Gradients, Model, Programs, Staged
from fwprof.workloads.answers import CURVE_STEPS, PARAMETER_STEPS, Answers

ROUNDING = 2.0**-21
"""By such a share of itself each weight is moved at random: what float32 rounds away over a few layers."""
MOVES = 3


def take_answers(
    model: Model, programs: Programs, staged: Sequence[Staged], *, precision: str = ""
) -> Answers:
    """Return what the model answers to these batches, from its canonical start.

    Args:
        model: built for verification.
        programs: its own.
        staged: the check batches.
        precision: in `float64` it can be asked how far rounding would move its gradients.
    """
    model.reset()
    outputs = model.predict(staged[0])
    result = programs.forward_backward(staged[0])
    programs.wait(result)
    loss, gradients = programs.read(result)
    model.reset()
    losses = []
    parameters = {}
    for number, batch in enumerate(islice(cycle(staged), CURVE_STEPS), start=1):
        result = programs.run(batch)
        programs.wait(result)
        losses.append(programs.read(result)[0])
        if number == PARAMETER_STEPS:
            parameters = dict(model.parameters())
    sensitivity = _sensitivity(model, programs, staged[0], gradients or {}) if precision == "float64" else {}
    return Answers(
        outputs=outputs,
        loss=loss,
        gradients=gradients or {},
        parameters=parameters,
        losses=tuple(losses),
        sensitivity=sensitivity,
    )


def _sensitivity(
    model: Model, programs: Programs, batch: Staged, gradients: Gradients
) -> Mapping[str, float]:
    """Return by how much each gradient moves at most, where the weights move as if they were rounded.

    Where an activation bends, or a maximum changes its place, a gradient jumps: by that much it may
    differ in any program of that precision, and in one it need not.
    """
    import numpy as np

    random = np.random.default_rng(0)
    found = dict.fromkeys(gradients, 0.0)
    for _ in range(MOVES):
        model.reset()
        start = model.parameters()
        model.load_parameters(
            {
                name: value * (1 + ROUNDING * random.standard_normal(value.shape))
                for name, value in start.items()
            }
        )
        result = programs.forward_backward(batch)
        programs.wait(result)
        for name, moved in (programs.read(result)[1] or {}).items():
            if name in found:
                difference = float(np.abs(moved - gradients[name]).max(initial=0.0))
                found[name] = max(found[name], difference)
    model.reset()
    return found
