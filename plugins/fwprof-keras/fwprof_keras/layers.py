"""One layer of a neutral workload alone: the model's own layer objects on inputs of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fwprof.plugin import walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fwprof.plugin import Gradients, LayerCase
    from fwprof_keras.model import KerasModel

    Array = NDArray[Any]
    Result = tuple[Any, ...]
    """The outputs; after G also the gradients of the variables, and that of the inputs or None."""


class KerasLayer:
    """F and G of one layer.

    Args:
        model: whose layer it is.
        part: the layer, or a model of several.
        case: what goes in.
        dtype: of its inputs.
    """

    def __init__(self, model: KerasModel, part: Any, case: LayerCase, dtype: str) -> None:
        # A backend may hold the values elsewhere while it steps.
        model.engine.release()
        layers = list(walk((case.layer,)))
        names = [name for layer in layers for name in layer.parameters]
        self._slots = model.slots_of({*names, *(layer.table for layer in layers)})
        self._variables = list({id(s.variable): s.variable for s in self._slots.values()}.values())
        inputs = model.backend.place(case.inputs)
        self._inputs = inputs if case.inputs.dtype.kind == "i" else keras.ops.cast(inputs, dtype)
        outputs = part.compute_dtype if hasattr(part, "compute_dtype") else dtype
        self._upstream = keras.ops.cast(model.backend.place(case.upstream), outputs)
        self._engine = model.backend.open_layer(
            model.model, part, self._variables, has_input_gradient=case.has_input_gradient
        )

    def forward(self) -> Result:
        """F: the outputs."""
        return (self._engine.forward(self._inputs),)

    def forward_backward(self) -> Result:
        """G: the outputs and every gradient."""
        return self._engine.forward_backward(self._inputs, self._upstream)

    def wait(self, result: Result) -> None:
        """Return when the result, and everything submitted with it, is finished."""
        self._engine.wait(result)

    def read(self, result: Result) -> tuple[Array, Gradients]:
        """Return outputs and gradients in canonical layout."""
        outputs, *rest = result
        found: dict[str, Array] = {}
        if rest:
            gradients, of_inputs = rest
            of = {id(v): one for v, one in zip(self._variables, gradients, strict=True)}
            found = {name: slot.to_canonical(of[id(slot.variable)]) for name, slot in self._slots.items()}
            if of_inputs is not None:
                found["inputs"] = _to_host(of_inputs)
        return _to_host(outputs), found


def _to_host(tensor: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))
