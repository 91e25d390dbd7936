"""Guards against programs that do less than they say: every gradient, and no change but by S.

Knows a model and its programs through their Protocols; times nothing.
"""

from __future__ import annotations

import math

from fwprof.contracts import Model, Programs, Staged
from fwprof.records import Check


def check_gradients(
    model: Model, programs: Programs, staged: Staged, trained: frozenset[str] | None
) -> tuple[Check, ...]:
    """Run F, G and S on one batch and compare what they leave behind; one check a guard.

    Args:
        model: at its canonical start.
        programs: of the model.
        staged: a batch.
        trained: names of the parameters that must have gradients; None: those that have one.
    """
    import numpy as np

    before = model.parameters()
    forward = programs.forward(staged)
    programs.wait(forward)
    result = programs.forward_backward(staged)
    programs.wait(result)
    loss, gradients = programs.read(result)
    kept = model.parameters()
    result = programs.run(staged)
    programs.wait(result)
    after = model.parameters()

    expected = trained if trained is not None else frozenset(gradients or ())
    gradients = gradients or {}
    changed = {name for name in expected & before.keys() if not np.array_equal(kept[name], after[name])}
    problems = []
    if missing := sorted(expected - gradients.keys()):
        problems.append(f"no gradient for {', '.join(missing[:3])}")
    if not gradients:
        problems.append("forward_backward returned no gradients")
    for name in sorted(expected & gradients.keys()):
        if name in before and gradients[name].shape != before[name].shape:
            problems.append(f"gradient of {name} has shape {gradients[name].shape}, not {before[name].shape}")
        elif not np.all(np.isfinite(gradients[name])):
            problems.append(f"gradient of {name} is not finite")
        elif name in changed and not np.any(gradients[name]):
            problems.append(f"gradient of {name} is zero, yet a step changes the parameter")
    moved = sorted(name for name in expected & before.keys() if not np.array_equal(before[name], kept[name]))
    return (
        Check(name="gradients_complete", passed=not problems, detail="; ".join(problems[:3])),
        Check(
            name="forward_changes_nothing",
            passed=not moved,
            detail=f"forward or forward_backward changed {', '.join(moved[:3])}" if moved else "",
        ),
        Check(
            name="step_trains",
            passed=bool(changed) or not expected & before.keys(),
            detail="" if changed else "a training step changed no parameter",
        ),
        Check(
            name="loss_finite",
            passed=math.isfinite(loss),
            detail="" if math.isfinite(loss) else f"loss {loss}",
        ),
    )
