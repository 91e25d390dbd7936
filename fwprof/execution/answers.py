"""Asks a model what it computes: outputs, loss, gradients, and where training takes it.

Knows no framework and judges nothing: the launcher compares what workers answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from fwprof.contracts import Model, Programs, Staged
from fwprof.workloads.answers import CURVE_STEPS, PARAMETER_STEPS, Answers


def take_answers(model: Model, programs: Programs, staged: Sequence[Staged]) -> Answers:
    """Return what the model answers to these batches, from its canonical start."""
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
    return Answers(
        outputs=outputs,
        loss=loss,
        gradients=gradients or {},
        parameters=parameters,
        losses=tuple(losses),
    )
