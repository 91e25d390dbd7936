"""What the memory of a training step is made of: the backend's own tensors, by what they are for.

Sizes are those of the tensors. What comes and goes within a pass, only the backend can say: by its
allocator, its profiler, or the plan of a compiled program.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fwprof_keras.backends import Backend, Staged
    from fwprof_keras.model import KerasModel

_KEPT = "what the backend keeps of the forward pass for the backward pass"
_PASSES = "the most that program G held besides what was there before and its gradients"
_STEP = (
    "parameters, statistics, optimizer state and one batch, by their sizes, + the most that a steady step "
    "held besides"
)
_PLANNED_PASSES = "XLA's plan of program G: its temporary buffers; gradients are its results, and not in them"
_PLANNED_STEP = "XLA's plan of the step: arguments + results + temporary − shared"


class PeakMeter:
    """Peak of the backend's allocator over a window."""

    passes: Sequence[str] = ("memory",)

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def start(self) -> None:
        """Forget earlier peaks."""
        self._backend.reset_peak()

    def sample(self) -> None:
        """Do nothing: the allocator itself keeps the peak."""

    def stop(self) -> Mapping[str, Reading]:
        """Return the peak since `start` in bytes."""
        try:
            return {"tensor_peak": _reading(*self._backend.peak())}
        except ValueError as error:
            return {"tensor_peak": _nothing(str(error))}


def read_memory(model: KerasModel, staged: Staged, gradients: Iterable[Any]) -> Mapping[str, Reading]:
    """Return the memory of a step by category, in bytes, and its peak where no meter reads it.

    Args:
        model: that took training steps.
        staged: one batch.
        gradients: of it, as G returned them.
    """
    # The state of training may lie outside of the variables while steps run.
    model.engine.release()
    sizes = {
        "parameter_memory": _size(variable.value for variable in model.model.weights),
        "gradient_memory": _size(gradients),
        "optimizer_memory": _size(variable.value for variable in model.model.optimizer.variables),
    }
    basis = f"sizes of {model.backend.name}'s tensors"
    found = {name: _reading(size, basis) for name, size in sizes.items()}
    if (plan := model.engine.plan(*staged[0])) is not None:
        passes, step = plan
        return found | {
            "activation_memory": _reading(passes, _PLANNED_PASSES),
            "tensor_peak": _reading(step, _PLANNED_STEP),
        }
    try:
        found["activation_memory"] = _activations(model, staged[0], sizes["gradient_memory"])
    except ValueError as error:
        found["activation_memory"] = _nothing(str(error))
    if not model.backend.has_peak:
        found["tensor_peak"] = _peak(model, staged, sizes)
    return found


def _activations(model: KerasModel, part: Any, gradients: int) -> Reading:
    """Return what one part of a batch keeps, or what its passes hold besides their gradients."""
    engine, backend = model.engine, model.backend
    which = " of one part" if model.parts > 1 else ""
    if engine.keeps_forward:
        engine.release()
        kept, _ = backend.watch(lambda: engine.forward(*part))
        return _reading(kept, f"{_KEPT}{which}, by {backend.watched_by}")
    _, most = backend.watch(lambda: engine.forward_backward(*part))
    return _reading(max(most - gradients, 0), f"{_PASSES}{which}, by {backend.watched_by}")


def _peak(model: KerasModel, staged: Staged, sizes: Mapping[str, int]) -> Reading:
    engine, backend = model.engine, model.backend
    engine.release()
    try:
        # Of a batch in parts each is a step of keras's own.
        most = max(backend.watch(partial(engine.run, *part))[1] for part in staged)
    except ValueError as error:
        return _nothing(str(error))
    batch = _size(tensor for part in staged for tensor in _leaves(part))
    held = sizes["parameter_memory"] + sizes["optimizer_memory"] + batch
    return _reading(held + most, f"{_STEP}, by {backend.watched_by}")


def _reading(size: int, basis: str) -> Reading:
    return Reading(value=size, unit="bytes", basis=basis)


def _nothing(reason: str) -> Reading:
    return Reading(value=None, unit="bytes", reason=reason)


def _leaves(tree: Any) -> Sequence[Any]:
    import keras

    return [leaf for leaf in keras.tree.flatten(tree) if leaf is not None]


def _size(tensors: Iterable[Any]) -> int:
    """Return the bytes of tensors of any backend; one that is named twice counts once."""
    return sum(_bytes_of(tensor) for tensor in {id(tensor): tensor for tensor in tensors}.values())


def _bytes_of(tensor: Any) -> int:
    if hasattr(tensor, "indices") and hasattr(tensor, "values") and not callable(tensor.values):
        # A gradient that lists rows, in tensorflow: which rows, and their values.
        return _bytes_of(tensor.values) + _bytes_of(tensor.indices)
    return int(tensor.nbytes) if hasattr(tensor, "nbytes") else prod(tensor.shape) * int(tensor.dtype.size)
