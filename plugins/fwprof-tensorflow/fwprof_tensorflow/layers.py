"""One layer of a neutral workload alone: the part of the model between two of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import LayerCase, walk
from fwprof_tensorflow.layout import read_gradient

if TYPE_CHECKING:
    from fwprof.plugin import Gradients
    from fwprof_tensorflow.layout import Slot, VariableSlot
    from fwprof_tensorflow.model import Array
    from fwprof_tensorflow.places import Place
    from fwprof_tensorflow.steps import Steps

    Result = tuple[Any, ...]
    """The outputs; after G the gradients by the variables, then that by the inputs if it was asked for."""


class TensorFlowLayer:
    """F and G of one layer, eager, traced or compiled as the steps of the model are.

    Args:
        between: the model's tensors before and after the layer; they know of what type numbers flow.
        case: what goes in.
        trained: canonical name → slot, of the whole model.
        steps: of the model.
    """

    def __init__(
        self,
        between: tuple[Any, Any],
        case: LayerCase,
        trained: Mapping[str, Slot],
        steps: Steps,
        place: Place,
    ) -> None:
        before, after = between
        layers = list(walk((case.layer,)))
        names = {name for layer in layers for name in layer.parameters} | {layer.table for layer in layers}
        self._slots: dict[str, VariableSlot] = {
            name: slot  # type: ignore[misc]  # those of a model with tensors are of variables
            for name, slot in trained.items()
            if name in names
        }
        self._variables = list({id(slot.variable): slot.variable for slot in self._slots.values()}.values())
        self._has_input_gradient = case.has_input_gradient
        self._place = place
        self._layer = _layer_between(before, after)
        with tf.device(place.name):
            self._inputs = tf.constant(case.inputs, before.dtype)
            self._upstream = tf.constant(case.upstream, after.dtype)
        self._forward = steps.wrap(self._compute, arguments=1)
        self._forward_backward = steps.wrap(self._differentiate)

    def forward(self) -> Result:
        """F: the outputs."""
        return (self._forward(self._inputs),)

    def forward_backward(self) -> Result:
        """G: the outputs and every gradient."""
        outputs, gradients = self._forward_backward(self._inputs, self._upstream)
        return outputs, gradients

    def wait(self, result: Result) -> None:  # noqa: ARG002 (tensorflow waits for a device)
        """Return when everything submitted is finished; on the host it is when a call returns."""
        self._place.wait()

    def read(self, result: Result) -> tuple[Array, Gradients]:
        """Return outputs and gradients in canonical layout."""
        outputs, *rest = result
        found: dict[str, Array] = {}
        if rest:
            gradients = list(rest[0])
            if self._has_input_gradient:
                found["inputs"] = _to_host(gradients.pop())
            of = {id(each): one for each, one in zip(self._variables, gradients, strict=True)}
            found |= {name: read_gradient(of[id(slot.variable)], slot) for name, slot in self._slots.items()}
        return _to_host(outputs), found

    def _compute(self, inputs: Any) -> Any:
        # As in a step, a tape keeps what a backward pass needs.
        with tf.GradientTape() as tape:
            if self._has_input_gradient:
                tape.watch(inputs)
            return self._layer(inputs, training=True)

    def _differentiate(self, inputs: Any, upstream: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            if self._has_input_gradient:
                tape.watch(inputs)
            outputs = self._layer(inputs, training=True)
        sources = [*self._variables, *([inputs] if self._has_input_gradient else [])]
        # Outputs are returned too: what is not, a graph does not compute.
        return outputs, tape.gradient(outputs, sources, output_gradients=upstream)


def _layer_between(before: Any, after: Any) -> Any:
    """Return what makes one tensor of another: a layer where it is a single one, else a part of the model."""
    operation, number, _ = after._keras_history
    call = operation._inbound_nodes[number].arguments
    is_plain = len(call.args) == 1 and call.args[0] is before and not any(call.kwargs.values())
    if isinstance(operation, tf.keras.layers.Layer) and is_plain:
        return operation
    return tf.keras.Model(before, after)


def _to_host(tensor: Any) -> Array:
    return np.array(tf.cast(tensor, tf.float32) if tensor.dtype in (tf.bfloat16, tf.float16) else tensor)
