"""One layer of a neutral workload alone: the network's own function of it, compiled by itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fwprof.plugin import LayerCase, walk
from fwprof_jax.network import apply_one
from fwprof_jax.places import to_host

if TYPE_CHECKING:
    from fwprof.plugin import Gradients
    from fwprof_jax.model import Array, JaxModel

    Result = tuple[Any, ...]
    """The outputs and the statistics they moved; after G also the gradients, by name, and that of the
    inputs or None."""


class JaxLayer:
    """F and G of one layer.

    Args:
        model: whose parameters and state it has.
        case: what goes in.
        mixed: the format that layers compute in; None: that of the parameters.
        dtype: of floats that flow into the layer.
    """

    def __init__(self, model: JaxModel, case: LayerCase, mixed: Any, dtype: Any) -> None:
        self._model = model
        layers = list(walk((case.layer,)))
        wanted = {name for each in layers for name in each.parameters} | {each.table for each in layers}
        self._names = [name for name in model.params if name in wanted]
        inputs = case.inputs if case.inputs.dtype.kind == "i" else case.inputs.astype(dtype)
        self._inputs = jax.device_put(inputs, model.device)
        apply = partial(apply_one, case.layer, mixed=mixed)
        shape, _ = jax.eval_shape(apply, self._params, model.state, self._inputs)
        self._upstream = jax.device_put(case.upstream.astype(shape.dtype), model.device)

        def differentiate(params: Any, state: Any, inputs: Any, upstream: Any) -> Result:
            if case.has_input_gradient:
                outputs, pull, moved = jax.vjp(
                    lambda params, inputs: apply(params, state, inputs), params, inputs, has_aux=True
                )
                return outputs, moved, *pull(upstream)
            outputs, pull, moved = jax.vjp(lambda params: apply(params, state, inputs), params, has_aux=True)
            return outputs, moved, pull(upstream)[0], None

        self._forward = jax.jit(apply)
        # Outputs are returned too: what is not, the compiler drops.
        self._forward_backward = jax.jit(differentiate)

    @property
    def _params(self) -> dict[str, Any]:
        params = self._model.params
        return {name: params[name] for name in self._names}

    def forward(self) -> Result:
        """F: the outputs."""
        outputs: Result = self._forward(self._params, self._model.state, self._inputs)
        return outputs

    def forward_backward(self) -> Result:
        """G: outputs and every gradient."""
        outputs: Result = self._forward_backward(
            self._params, self._model.state, self._inputs, self._upstream
        )
        return outputs

    def wait(self, result: Result) -> None:
        """Return when every array of the result is there."""
        jax.block_until_ready(result)  # type: ignore[no-untyped-call]  # untyped in jax

    def read(self, result: Result) -> tuple[Array, Gradients]:
        """Return outputs and gradients in canonical layout, which is jax's own."""
        outputs, _, *rest = result
        found: dict[str, Array] = {}
        if rest:
            gradients, of_inputs = rest
            found = {name: to_host(gradient) for name, gradient in gradients.items()}
            if of_inputs is not None:
                found["inputs"] = _float(to_host(of_inputs))
        return _float(to_host(outputs)), found


def _float(array: Array) -> Array:
    return array if array.dtype == np.float64 else array.astype(np.float32)
