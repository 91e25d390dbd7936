"""One layer of the fake framework alone: NumPy's mathematics, of known length in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fwprof.plugin import Gradients, LayerCase, UnsupportedError

if TYPE_CHECKING:
    from fwprof.testing.fake_framework import FakeModel
    from fwprof.testing.numpy_network import Array


@dataclass
class LayerOutcome:
    """What a layer gave."""

    outputs: Array
    gradients: dict[str, Array] = field(default_factory=dict)


class FakeLayer:
    """F and G of one layer; each lasts as long as the phases of the whole model do.

    Args:
        model: whose parameters the layer has.
        case: the layer and what goes into it.

    Raises:
        UnsupportedError: the first layer, under the fault `refuse_layer`.
    """

    def __init__(self, model: FakeModel, case: LayerCase) -> None:
        if model.cell.choice.options.get("fault") == "refuse_layer" and case.layer.path == "0":
            raise UnsupportedError("the fault that was asked for")
        self.model = model
        self.case = case
        is_ids = case.inputs.dtype.kind == "i"
        self.inputs = case.inputs if is_ids else case.inputs.astype(model.dtype)
        self.upstream = case.upstream.astype(model.dtype)

    def forward(self) -> LayerOutcome:
        """F: the outputs."""
        with self.model.phases.lasting("forward"):
            return LayerOutcome(self._apply()[0])

    def forward_backward(self) -> LayerOutcome:
        """G: outputs and gradients."""
        with self.model.phases.lasting("forward"):
            outputs, pull = self._apply()
        gradients: dict[str, Array] = {}
        with self.model.phases.lasting("backward"):
            pulled = pull(self.upstream, gradients)
        if self.case.has_input_gradient:
            gradients["inputs"] = pulled
        return LayerOutcome(outputs, gradients)

    def wait(self, result: LayerOutcome) -> None:
        """Return at once: NumPy has finished when it returns."""

    def read(self, result: LayerOutcome) -> tuple[Array, Gradients]:
        """Return copies of outputs and gradients."""
        return np.array(result.outputs), {name: np.array(one) for name, one in result.gradients.items()}

    def _apply(self) -> Any:
        return self.model.network.apply(self.case.layer, self.inputs, is_training=True)
