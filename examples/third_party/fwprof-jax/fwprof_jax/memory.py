"""What the memory of a training step is made of: jax's own arrays, and XLA's plans of the programs.

On a host as on a card: a plan is what XLA lays out before a program runs, not what was seen to be taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwprof.plugin import Staged
    from fwprof_jax.model import JaxModel
    from fwprof_jax.programs import Result

_ARRAYS = "sizes of jax's arrays"
_STEP = "XLA's plan of the step: arguments + results + temporary − shared"
_PASSES = "XLA's plan of program G: its temporary buffers; gradients are its results, and not in them"
_NO_PLAN = "this XLA gives no plan of the memory of a program"
_NO_JIT = "jit is disabled: nothing plans what a pass holds"


def read_memory(model: JaxModel, differentiated: Result, staged: Staged) -> Mapping[str, Reading]:
    """Return the memory of a step by category and its peak, in bytes.

    Args:
        model: whose programs are compiled once more, for their plans.
        differentiated: what G returned.
        staged: the batch of it.

    Source: jax.stages.Compiled.memory_analysis, jax's documentation.
    """
    sizes = {
        "parameter_memory": _size(model.shown),
        "gradient_memory": _size(differentiated.gradients),
        "optimizer_memory": _size(model.optimizer_state),
    }
    found = {name: Reading(value=size, unit="bytes", basis=_ARRAYS) for name, size in sizes.items()}
    if not model.settings()["jit"]:
        plans: Mapping[str, tuple[int | None, str]] = {
            "activation_memory": (None, ""),
            "tensor_peak": (None, ""),
        }
    else:
        plans = {
            "activation_memory": (model.plan_passes(staged), _PASSES),
            "tensor_peak": (model.plan_memory(), _STEP),
        }
    reason = _NO_PLAN if model.settings()["jit"] else _NO_JIT
    return found | {
        name: Reading(value=size, unit="bytes", basis=basis, reason="" if size is not None else reason)
        for name, (size, basis) in plans.items()
    }


def _size(tree: Any) -> int:
    """Return the bytes of all arrays in a tree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes"))
