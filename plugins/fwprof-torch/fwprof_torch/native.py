"""The user's own torch model: what its factory returned, checked and taken over as it is.

Owns the keys of that dict and what may be behind each. Changes nothing of the model but its
device and training mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fwprof.plugin import Part, RequestError, endless_batches, read_parts
from fwprof_torch.layout import Slot
from fwprof_torch.model import TorchModel
from fwprof_torch.state import StartState

if TYPE_CHECKING:
    from fwprof.plugin import LoadedWorkload, Options, Staged
    from fwprof_torch.modes import Mode
    from fwprof_torch.places import Place

_HELP = "return {'model': …, 'optimizer': …, 'batches': …, 'loss': …} (loss may be left out)"

_PARTS = {
    "model": Part("a torch.nn.Module", lambda value: isinstance(value, torch.nn.Module)),
    "optimizer": Part("a torch.optim.Optimizer", lambda value: isinstance(value, torch.optim.Optimizer)),
    "loss": Part("a callable on output and targets", callable, is_optional=True),
}


@dataclass(frozen=True)
class Parts:
    """What the factory returned, checked."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    batches: Iterable[Any] | Callable[[], Any]
    loss: Callable[[Any, Any], torch.Tensor] | None


class NativeModel(TorchModel):
    """The user's model, optimizer, loss and batches.

    Raises:
        RequestError: the factory's dict, or a batch, is not what torch needs; names the key.
    """

    def __init__(self, workload: LoadedWorkload, place: Place, mode: Mode, options: Options) -> None:
        parts = take_parts(workload.native)
        if not workload.batches:
            raise RequestError("the model's 'batches' gave no batch", next=_HELP)
        module = parts.model.to(place.device).train()
        _move_state(parts.optimizer)
        super().__init__(
            module=module,
            optimizer=parts.optimizer,
            loss=_make_loss(module, parts.loss, workload.batches[0]),
            parameters=_parameter_slots(module),
            state=_statistic_slots(module),
            place=place,
            mode=mode,
            cell=options.cell,
        )
        self._batch_size = _count_samples(self.stage(workload.batches[0]))
        self._pipeline = endless_batches(parts.batches, workload.batches)
        self._start = StartState(module, parts.optimizer, place, options.cache)

    @property
    def batch_size(self) -> int:
        """Samples in the first batch."""
        return self._batch_size

    def stage(self, batch: Any) -> Staged:
        """Put the tensors of one batch on the device and wait.

        Returns:
            `(inputs, targets)`, or `(keyword arguments,)`.
        """
        staged = tuple(_move(part, self.place.device) for part in _split(batch))
        self.place.wait()
        return staged

    def next_batch(self) -> Staged:
        """Fetch the next batch of the user's own `batches` and stage it."""
        return self.stage(next(self._pipeline))

    def reset(self) -> None:
        """Restore the state right after the build, in place."""
        self._start.restore()
        self.precision.clear()

    def infer(self, staged: Staged) -> torch.Tensor:
        """Return the model's outputs; of a model that returns several, its `logits` or the first."""
        outputs = _call(self.module, staged[0])
        if isinstance(outputs, torch.Tensor):
            return outputs
        found = _find(outputs, "logits")
        first = found if found is not None else outputs[0]
        if not isinstance(first, torch.Tensor):
            raise RequestError(f"the model returned a {type(outputs).__name__} without 'logits'")
        return first


def take_parts(native: object) -> Parts:
    """Return the parts of what a factory returned.

    Raises:
        RequestError: as `read_parts`; the optimizer is another model's.
    """
    parts = Parts(**read_parts(native, _PARTS, framework="torch", next=_HELP))
    held = {id(parameter) for group in parts.optimizer.param_groups for parameter in group["params"]}
    if not any(id(parameter) in held for parameter in parts.model.parameters()):
        raise RequestError(
            "the model factory's 'optimizer' holds no parameter of its 'model'",
            next="make the optimizer from model.parameters()",
        )
    return parts


def _split(batch: Any) -> tuple[Any, ...]:
    if isinstance(batch, Mapping):
        return (dict(batch),)
    if isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) == 2:
        return tuple(batch)
    size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise RequestError(
        "the model factory's 'batches' gave something else than a batch",
        cause=f"expected (inputs, targets) or a dict of keywords, found a {type(batch).__name__}{size}",
    )


def _make_loss(
    module: torch.nn.Module, criterion: Callable[[Any, Any], torch.Tensor] | None, batch: Any
) -> Callable[..., torch.Tensor]:
    has_targets = len(_split(batch)) == 2
    if has_targets and criterion is None:
        raise RequestError(
            "the model factory's dict has no 'loss'",
            cause="its batches are (inputs, targets), which need a loss on output and targets",
            next="add 'loss', or give batches as dicts to a model that returns its own .loss",
        )
    if not has_targets and criterion is not None:
        raise RequestError(
            "the model factory's 'loss' has no targets",
            cause="its batches are dicts of keyword arguments, of which the model makes its own .loss",
            next="leave 'loss' out, or give batches as (inputs, targets)",
        )
    if criterion is None:

        def own_loss(arguments: Mapping[str, Any]) -> torch.Tensor:
            loss: torch.Tensor | None = _find(module(**arguments), "loss")
            if loss is None:
                raise RequestError(
                    "the model returned no loss",
                    cause="a batch given as a dict needs a model whose output has .loss",
                    next="put the labels into the batch, or give 'loss' and (inputs, targets)",
                )
            return loss

        return own_loss

    def loss_on_targets(inputs: Any, targets: Any) -> torch.Tensor:
        return criterion(_call(module, inputs), targets)

    return loss_on_targets


def _call(module: torch.nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return module(**inputs)
    if isinstance(inputs, tuple | list):
        return module(*inputs)
    return module(inputs)


def _find(outputs: Any, name: str) -> Any:
    found = getattr(outputs, name, None)
    return outputs.get(name) if found is None and isinstance(outputs, Mapping) else found


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value).to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _move(part, device) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_move(part, device) for part in value)
    return value


def _count_samples(staged: Any) -> int:
    parts = staged.values() if isinstance(staged, Mapping) else staged
    for part in parts:
        if isinstance(part, torch.Tensor) and part.dim():
            return int(part.shape[0])
        if isinstance(part, tuple | Mapping) and (count := _count_samples(part)):
            return count
    return 0


def _move_state(optimizer: torch.optim.Optimizer) -> None:
    if optimizer.state:
        # Loading casts the state to where the parameters are now.
        optimizer.load_state_dict(optimizer.state_dict())


def _parameter_slots(module: torch.nn.Module) -> dict[str, Slot]:
    return {
        name: _slot(module, name) for name, parameter in module.named_parameters() if parameter.requires_grad
    }


def _statistic_slots(module: torch.nn.Module) -> dict[str, Slot]:
    kept = module.state_dict().keys()
    return {
        name: _slot(module, name)
        for name, buffer in module.named_buffers()
        if name in kept and buffer.is_floating_point()
    }


def _slot(module: torch.nn.Module, name: str) -> Slot:
    owner, _, attribute = name.rpartition(".")
    return Slot(module.get_submodule(owner), attribute)
