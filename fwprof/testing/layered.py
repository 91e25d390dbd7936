"""Layers run alone, one into the next: together they must give what the whole model gives.

For the tests of plugins, with workloads of the layers that the conformance suite leaves out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fwprof.contracts import LayerCase, LoadedWorkload
from fwprof.plugin import layers, walk
from fwprof.testing.small import make_workload

if TYPE_CHECKING:
    from fwprof.contracts import Array


def images() -> LoadedWorkload:
    """Return a small convolutional network with a residual block and branches."""
    block = (layers.Conv2d(filters=4, size=3, padding="same", activation="relu"),)
    return make_workload(
        (
            layers.Conv2d(filters=4, size=3, stride=2, padding="same"),
            layers.Activation(function="tanh"),
            layers.Residual(layers=block),
            layers.Branches(layers=(layers.MaxPool2d(size=2), layers.AveragePool2d(size=2))),
            layers.Flatten(),
            layers.Activation(function="relu"),
            layers.Dense(units=3),
        ),
        (8, 12, 2),
        classes=3,
        batch=4,
    )


def words() -> LoadedWorkload:
    """Return a small network over ids, with attention, a recurrent layer and a convolution."""
    attention = (layers.LayerNorm(), layers.Attention(heads=2, causal=True))
    return make_workload(
        (
            layers.Embedding(vocabulary=11, units=6),
            layers.PositionEmbedding(),
            layers.Residual(layers=attention),
            layers.Gru(units=5, return_sequences=True),
            layers.Conv1d(filters=4, size=3, padding="same", activation="gelu"),
            layers.MaxOverSequence(),
            layers.Dense(units=2),
        ),
        (7,),
        classes=2,
        batch=4,
        vocabulary=11,
    )


def chain_layers(model: Any, loaded: LoadedWorkload) -> Array:
    """Return what the last layer gives, `(batch, classes)`, each alone on what the one before it gave.

    G of each must give gradients by its inputs, where asked, and by all its parameters, of their shapes.
    """
    inputs: Array = loaded.batches[0].inputs
    for place, layer in enumerate(loaded.layers):
        upstream = np.ones((len(inputs), *layer.output_shape), np.float32)
        case = LayerCase(layer, inputs, upstream, has_input_gradient=place > 0)
        programs = model.open_layer(case)
        result = programs.forward_backward()
        programs.wait(result)
        _, gradients = programs.read(result)
        shapes = {name: gradient.shape for name, gradient in gradients.items()}
        wanted = {name: shape for each in walk((layer,)) for name, shape in each.parameters.items()} | (
            {"inputs": inputs.shape} if place else {}
        )
        assert shapes == wanted, (layer.path, shapes, wanted)
        result = programs.forward()
        programs.wait(result)
        inputs = programs.read(result)[0]
        assert inputs.shape == (len(loaded.batches[0].inputs), *layer.output_shape), layer.path
    return inputs
