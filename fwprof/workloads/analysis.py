"""Counts parameters, floating-point operations and bytes of a training step from shapes alone.

Owns the analytic formulas. Knows no measurement and no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fwprof.records import Optimizer, ResolvedLayer
from fwprof.records import workload as kinds
from fwprof.workloads.language import parameter_shapes, walk

FLOAT_BYTES = 4
ID_BYTES = 8


@dataclass(frozen=True)
class _Products:
    """Multiply-adds of one layer's matrix products for one sample, forward."""

    from_input: int = 0
    """Of a weight with the layer's own input: the ones whose dX the first layer can leave out."""
    inside: int = 0
    """Of everything after those."""


def parameter_count(layers: Sequence[ResolvedLayer]) -> int:
    """Return how many trainable numbers the layers have."""
    return sum(prod(shape) for shape in parameter_shapes(layers).values())


def training_flops(layers: Sequence[ResolvedLayer], batch_size: int) -> int:
    """Return the FLOP of the matrix products in one training step.

    Two for each multiply-add, three products for each one forward: the forward itself, the
    gradient of the weight (dW) and of the input (dX); a product of two activations (attention's
    scores and averages) has two dX. The first layer with parameters needs no dX for its input; the
    recurrent product of an LSTM needs its own, which goes to the position before. A causal mask and
    an LSTM's zero start save nothing here. Elementwise work, norms, pooling, look-ups, loss and update
    are left out.

    Source: Kaplan et al., Scaling Laws for Neural Language Models, 2020, section 2.1 (the backward
    pass costs two forward ones); attention products as in Vaswani et al. 2017, section 3.2.
    """
    total = 0
    is_first = True
    for layer in walk(layers):
        products = _products(layer)
        total += (2 if is_first else 3) * products.from_input + 3 * products.inside
        is_first = is_first and not layer.parameters
    return 2 * batch_size * total


def traffic_bytes(layers: Sequence[ResolvedLayer], batch_size: int, optimizer: Optimizer) -> int:
    """Return the least bytes one float32 training step moves if nothing stays in a cache.

    With P parameters, T of them in look-up tables, R table entries looked up, F parameters of the
    first layer that has any, A stored activations, s optimizer slots a parameter (Adam 2, SGD with
    momentum 1, else 0), I bytes of input:

        4·[(P − T + R) + (P − T − F) + 2·P + (2 + 2s)·P + 2·A] + 2·I

    in this order: parameters read forward, read backward (for dX), gradients written and read,
    parameters and slots read and written by the update, activations written and read back, input
    read forward and backward. Activations are the outputs of products, look-ups, pools and means,
    attention's query, key, value and average, and an LSTM's four gates, cell state and output at each
    position; elementwise layers and norms are taken as fused into their neighbours, attention's scores
    as never stored, an LSTM's kernels as read once, not once a position. A model that fits in a cache
    moves less through memory than this.
    """
    parameters = parameter_count(layers)
    tables = [layer for layer in walk(layers) if isinstance(layer.layer, kinds.Embedding)]
    table_size = parameter_count(tables)
    looked_up = sum(min(prod(layer.output_shape) * batch_size, parameter_count((layer,))) for layer in tables)
    first = next((layer for layer in walk(layers) if layer.parameters), None)
    # A table is in no dX product: as the first layer it is already outside P − T.
    first_size = parameter_count((first,)) if first and first not in tables else 0
    activations = batch_size * sum(_stored(layer) for layer in walk(layers))
    item = ID_BYTES if isinstance(layers[0].layer, kinds.Embedding) else FLOAT_BYTES
    inputs = batch_size * prod(layers[0].input_shape) * item
    forward = parameters - table_size + looked_up
    backward = parameters - table_size - first_size
    gradients = 2 * parameters
    update = (2 + 2 * _slots(optimizer)) * parameters
    return FLOAT_BYTES * (forward + backward + gradients + update + 2 * activations) + 2 * inputs


def _products(layer: ResolvedLayer) -> _Products:
    shape = layer.input_shape
    match layer.layer:
        case kinds.Dense(units=units):
            return _Products(from_input=prod(shape) * units)
        case kinds.Conv2d(size=size):
            return _Products(from_input=prod(layer.output_shape) * size * size * shape[-1])
        case kinds.Attention():
            length, channels = shape
            projection = length * channels * channels
            return _Products(from_input=3 * projection, inside=projection + 2 * length * length * channels)
        case kinds.Lstm(units=units):
            length, channels = shape
            return _Products(from_input=length * channels * 4 * units, inside=length * units * 4 * units)
        case _:
            return _Products()


def _stored(layer: ResolvedLayer) -> int:
    """Return how many numbers the layer stores for one sample."""
    size = prod(layer.output_shape)
    match layer.layer:
        case kinds.Attention():
            return 5 * size
        case kinds.Lstm(units=units):
            return 6 * layer.input_shape[0] * units
        case (
            kinds.Dense()
            | kinds.Conv2d()
            | kinds.MaxPool2d()
            | kinds.AveragePool2d()
            | kinds.Embedding()
            | kinds.AverageOverSequence()
        ):
            return size
        case _:
            return 0


def _slots(optimizer: Optimizer) -> int:
    if isinstance(optimizer, kinds.Adam):
        return 2
    return 1 if optimizer.momentum else 0
