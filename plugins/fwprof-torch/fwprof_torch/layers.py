"""One layer of a neutral workload alone: the model's own modules on inputs of their own.

Owns how a layer's inputs and outputs lie in torch, and how it is compiled by itself.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fwprof.plugin import walk
from fwprof_torch.layout import image_to_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from fwprof.plugin import Gradients, LayerCase
    from fwprof_torch.layout import Slot
    from fwprof_torch.network import Image, Step
    from fwprof_torch.places import Place
    from fwprof_torch.precision import Precision

    Array = NDArray[Any]

_IMAGES = 4
"""Axes of images with the batch's."""


class TorchLayer:
    """F and G of one layer.

    Args:
        step: its modules.
        case: what goes in.
        trained: canonical name → slot, of the whole model.
        dtype: of floats that flow into it.
        is_compiled: whether it is compiled, by itself.
    """

    def __init__(
        self,
        step: Step,
        case: LayerCase,
        trained: Mapping[str, Slot],
        place: Place,
        precision: Precision,
        dtype: torch.dtype,
        *,
        is_compiled: bool,
    ) -> None:
        self._step = step
        self._place = place
        layers = list(walk((case.layer,)))
        names = [name for layer in layers for name in layer.parameters]
        tables = [layer.table for layer in layers if layer.table in trained and layer.table not in names]
        self._slots = {name: trained[name] for name in (*names, *map(str, tables))}
        self._parameters = list({id(p): p for p in self._modules.parameters() if p.requires_grad}.values())
        self._inputs = torch.tensor(_to_torch(case.inputs, step.flattened_before), device=place.device)
        if self._inputs.is_floating_point():
            self._inputs = self._inputs.to(dtype).requires_grad_(case.has_input_gradient)

        def call(inputs: torch.Tensor) -> torch.Tensor:
            with precision.context():
                outputs: torch.Tensor = modules(inputs)
                return outputs

        modules = self._modules
        upstream = torch.tensor(_to_torch(case.upstream, step.flattened_after), device=place.device)
        # What 16 bits are mixed with, only torch knows.
        self._upstream = upstream.to(call(self._inputs).dtype)
        self._call = _compiled(call, case.layer.path) if is_compiled else call

    @property
    def _modules(self) -> nn.Module:
        modules = self._step.modules
        return modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def forward(self) -> torch.Tensor:
        """F: the outputs, with what a backward pass needs."""
        return self._call(self._inputs)

    def forward_backward(self) -> torch.Tensor:
        """G: clear gradients, outputs, every gradient."""
        self._inputs.grad = None
        for parameter in self._parameters:
            parameter.grad = None
        outputs = self._call(self._inputs)
        torch.autograd.backward(outputs, self._upstream)
        # Without its graph, as a backward pass leaves it.
        return outputs.detach()

    def wait(self, result: torch.Tensor) -> None:  # noqa: ARG002 (torch waits for a device, not for a value)
        """Return when everything submitted to the device is finished."""
        self._place.wait()

    def read(self, result: torch.Tensor) -> tuple[Array, Gradients]:
        """Return outputs and gradients in canonical layout."""
        outputs = _to_canonical(result, self._step.flattened_after)
        if result.requires_grad or result.grad_fn is not None:
            return outputs, {}
        gradients = {name: slot.read_gradient() for name, slot in self._slots.items()}
        if self._inputs.grad is not None:
            gradients["inputs"] = _to_canonical(self._inputs.grad, self._step.flattened_before)
        return outputs, gradients


def flowing_types(
    steps: Mapping[str, Step], inputs: torch.Tensor, precision: Precision
) -> dict[str, torch.dtype]:
    """Return of what type the numbers are that flow into each step, for two samples or more."""
    found = {}
    with torch.no_grad(), precision.context():
        for path, step in steps.items():
            found[path] = inputs.dtype
            for module in step.modules:
                inputs = module(inputs)
    return found


def _compiled(function: Callable[..., Any], path: str) -> Callable[..., Any]:
    """Return a function compiled by itself.

    torch counts compilations by code, and gives up after some: each layer has code of its own.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__.replace(co_name=f"layer_{path.replace('.', '_')}")
    own = FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)
    compiled: Callable[..., Any] = torch.compile(own)
    return compiled


def _to_torch(array: Array, image: Image | None) -> Array:
    """Return an array as it lies in torch: images channels first, also those that are flat."""
    if image is not None:
        array = image_to_torch(array.reshape(-1, *image)).reshape(array.shape)
    elif array.ndim == _IMAGES:
        array = image_to_torch(array)
    return np.ascontiguousarray(array)


def _to_canonical(tensor: torch.Tensor, image: Image | None) -> Array:
    array: Array = tensor.detach().float().cpu().numpy()
    if image is not None:
        height, width, channels = image
        images = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return np.array(images.reshape(array.shape))
    return np.array(array.transpose(0, 2, 3, 1) if array.ndim == _IMAGES else array)
