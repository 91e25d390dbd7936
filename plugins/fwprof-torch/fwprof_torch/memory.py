"""What the memory of a training step is made of: torch's own tensors, by what they are for.

Sizes are those of the tensors. What comes and goes within a pass is told by the device's allocator, or
on the host, whose allocator keeps no count, by torch's profiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fwprof.plugin import Staged
    from fwprof_torch.model import TorchModel
    from fwprof_torch.places import Place
    from fwprof_torch.programs import TorchPrograms

_MEMORY_EVENT = "[memory]"
"""The profiler's name of one allocation, or of one release (of fewer than no bytes).

Source: torch/autograd/profiler_util.py, MEMORY_EVENT_NAME.
"""
_TENSORS = "sizes of torch's tensors"
_KEPT = "what torch keeps of the forward pass for the backward pass"


def read_memory(model: TorchModel, programs: TorchPrograms, staged: Staged) -> Mapping[str, Reading]:
    """Return the memory of a step by category, in bytes; on the host also its peak.

    Args:
        model: that took training steps, so that its optimizer has its state.
        programs: of the model.
        staged: one batch.
    """
    optimizer, place = model.optimizer, model.place
    parameters = _size({**dict(model.module.named_parameters()), **dict(model.module.named_buffers())})
    programs.forward_backward(staged)
    place.wait()
    gradients = _size([parameter.grad for parameter in model.module.parameters()])
    optimizer.zero_grad()
    state = _size(dict(optimizer.state))
    found = {
        "parameter_memory": _reading(parameters, _TENSORS),
        "gradient_memory": _reading(gradients, _TENSORS),
        "optimizer_memory": _reading(state, _TENSORS),
    }
    if not place.is_host and not place.has_allocator:
        reason = f"torch keeps no count of memory on {place.device.type}"
        return {**found, "activation_memory": Reading(value=None, unit="bytes", reason=reason)}
    # Of a batch in parts, one part's are kept at a time.
    part, which = (staged[0], " of one part") if model.part_count > 1 else (staged, "")
    kept, _ = _allocated(place, lambda: model.loss(*part))
    found["activation_memory"] = _reading(kept, f"{_KEPT}{which}, by {_source(place)}")
    if place.is_host:
        optimizer.zero_grad()
        _, most = _allocated(place, lambda: programs.run(staged))
        basis = (
            "parameters, statistics, optimizer state and one batch, by their sizes, + the most that a steady "
            f"step held besides, by {_source(place)}"
        )
        found["tensor_peak"] = _reading(parameters + state + _size(staged) + most, basis)
    return found


def _reading(size: int, basis: str) -> Reading:
    return Reading(value=size, unit="bytes", basis=basis)


def _source(place: Place) -> str:
    return "torch's profiler" if place.is_host else "torch's caching allocator"


def _allocated(place: Place, program: Callable[[], Any]) -> tuple[int, int]:
    """Return what a program holds while its result lives, and the most it held: new bytes."""
    if not place.is_host:
        return _counted(place, program)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = program()
    del result
    session = profiled.profiler
    assert session is not None
    held = most = 0
    events = [event for event in session.kineto_results.events() if event.name() == _MEMORY_EVENT]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return held, most


def _counted(place: Place, program: Callable[[], Any]) -> tuple[int, int]:
    place.wait()
    module, device = place.module, place.device
    before = module.memory_allocated(device)
    module.reset_peak_memory_stats(device)
    result = program()
    place.wait()
    held, most = module.memory_allocated(device), module.max_memory_allocated(device)
    del result
    return held - before, most - before


def _size(tree: Any) -> int:
    """Return the bytes of all tensors in a tree; memory that several share counts once."""
    storages = {storage.data_ptr(): storage.nbytes() for storage in _storages(tree)}
    return sum(storages.values())


def _storages(tree: Any) -> Iterator[Any]:
    if isinstance(tree, torch.Tensor):
        # A gradient that lists rows has two tensors: which rows, and their values.
        dense: Iterable[torch.Tensor] = (tree._indices(), tree._values()) if tree.is_sparse else (tree,)
        yield from (tensor.untyped_storage() for tensor in dense)
    elif hasattr(tree, "values"):
        for each in tree.values():
            yield from _storages(each)
    elif isinstance(tree, tuple | list):
        for each in tree:
            yield from _storages(each)
