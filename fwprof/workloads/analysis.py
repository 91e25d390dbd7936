"""Counts parameters, floating-point operations and bytes of a training step from shapes alone.

Owns the analytic formulas. Knows no measurement and no framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from fwprof.records import Optimizer, Precision, ResolvedLayer
from fwprof.records import workload as kinds
from fwprof.workloads.language import parameter_shapes, walk

FLOAT_BYTES = 4
ID_BYTES = 8
ACTIVATION_BYTES: Mapping[Precision, int] = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a stored activation. TF32 is a format inside the multiplier: what is stored stays float32."""


@dataclass(frozen=True)
class _Products:
    """Multiply-adds of one layer's matrix products for one sample, forward."""

    from_input: int = 0
    """Of a weight that is trained or frozen with the layer, with its input."""
    further: int = 0
    """Of such a weight with what was computed inside the layer."""
    between: int = 0
    """Of two things that were computed: both have a gradient."""
    low_rank: tuple[int, int] = (0, 0)
    """Of LoRA's first and second matrix."""


def parameter_count(layers: Sequence[ResolvedLayer]) -> int:
    """Return how many trainable numbers the layers have."""
    return sum(prod(shape) for shape in parameter_shapes(layers).values())


def forward_flops(layers: Sequence[ResolvedLayer], batch_size: int) -> int:
    """Return the FLOP of the matrix products in one forward pass, as `training_flops` counts them."""
    found = [_products(layer) for layer in walk(layers)]
    once = sum(each.from_input + each.further + each.between + sum(each.low_rank) for each in found)
    return 2 * batch_size * once


def stored_numbers(layers: Sequence[ResolvedLayer], batch_size: int) -> int:
    """Return how many activations one forward pass stores at least, as `traffic_bytes` counts them."""
    return batch_size * sum(_stored(layer) for layer in walk(layers))


def training_flops(layers: Sequence[ResolvedLayer], batch_size: int) -> int:
    """Return the FLOP of the matrix products in one training step.

    Two for each multiply-add, and for each product the forward itself, the gradient of the weight
    (dW) if it is trained, and of the input (dX) if anything before it is trained; a product of two
    activations (attention's scores and averages) has two dX. The recurrent product of an LSTM or
    GRU needs its dX, which goes to the position before. A causal mask and a zero start save nothing
    here. Elementwise work, norms, pooling, look-ups, loss and update are left out.

    Source: Kaplan et al., Scaling Laws for Neural Language Models, 2020, section 2.1 (the backward
    pass costs two forward ones); attention products as in Vaswani et al. 2017, section 3.2.
    """
    total = 0
    for layer, has_gradient in _with_gradient(layers):
        products, is_trained = _products(layer), _trains_weights(layer)
        # Whatever is computed from a trained weight has a gradient; so has LoRA's sum.
        flows_inside = has_gradient or bool(layer.parameters)
        first, second = products.low_rank
        total += products.from_input * (1 + is_trained + has_gradient)
        total += products.further * (1 + is_trained + flows_inside)
        total += products.between * (1 + 2 * flows_inside)
        total += first * (2 + has_gradient) + second * 3
    return 2 * batch_size * total


def traffic_bytes(
    layers: Sequence[ResolvedLayer], batch_size: int, optimizer: Optimizer, precision: Precision = "float32"
) -> int:
    """Return the least bytes one training step moves if nothing stays in a cache.

    With P trained parameters, W numbers of all that are read whole (not of look-up tables; a table
    that a last layer shares is read there), R table entries looked up, B of W those that a dX is
    computed with, A stored activations of a bytes (4; in mixed precision with bfloat16 or float16 2),
    s optimizer slots a parameter (Adam 2, SGD with momentum 1, else 0), I bytes of input as it is
    staged (float32, or ids of 8 bytes):

        4·[(W + R) + B + 2·P + (2 + 2s)·P] + a·2·A + 2·I

    in this order: parameters read forward, read backward (for dX), gradients written and read,
    parameters and slots read and written by the update, activations written and read back, input
    read forward and backward. Activations are the outputs of products, look-ups, pools and means,
    attention's query, key, value and average, and of an LSTM (GRU) at each position four gates, cell
    state and output (three gates, the candidate's recurrent part and output); elementwise layers and
    norms are taken as fused into their neighbours, attention's scores as never stored, an LSTM's
    kernels as read once, not once a position. In mixed precision parameters, their gradients and slots
    stay float32, and a product casts a parameter as it reads it; a copy in 16 bits that a framework
    keeps of them comes on top. A model that fits in a cache moves less through memory than this.

    Source: Micikevicius et al., Mixed Precision Training, ICLR 2018, section 3.1 (parameters and their
    update in float32, activations in 16 bits).
    """
    trained = parameter_count(layers)
    whole = backward = looked_up = 0
    for layer, has_gradient in _with_gradient(layers):
        shapes = layer.parameters | (layer.state if _has_frozen_weights(layer) else {})
        size = sum(prod(shape) for shape in shapes.values())
        if isinstance(layer.layer, kinds.Embedding):
            looked_up += min(prod(layer.output_shape) * batch_size, size)
            continue
        if isinstance(layer.layer, kinds.TiedDense):
            size = layer.input_shape[-1] * layer.output_shape[-1]
        whole += size
        backward += size if has_gradient else 0
    activations = stored_numbers(layers, batch_size)
    item = ID_BYTES if isinstance(layers[0].layer, kinds.Embedding) else FLOAT_BYTES
    inputs = batch_size * prod(layers[0].input_shape) * item
    update = (2 + 2 * _slots(optimizer)) * trained
    read = whole + looked_up + backward
    stored = ACTIVATION_BYTES[precision] * 2 * activations
    return FLOAT_BYTES * (read + 2 * trained + update) + stored + 2 * inputs


def _with_gradient(
    layers: Sequence[ResolvedLayer], has_gradient: bool = False
) -> Iterator[tuple[ResolvedLayer, bool]]:
    """Yield every layer with whether its input needs a gradient: something before it is trained."""
    for layer in layers:
        yield layer, has_gradient
        if isinstance(layer.layer, kinds.Branches):
            for branch in layer.inner:
                yield from _with_gradient((branch,), has_gradient)
        else:
            yield from _with_gradient(layer.inner, has_gradient)
        has_gradient = has_gradient or bool(parameter_shapes((layer,)))


def _has_frozen_weights(layer: ResolvedLayer) -> bool:
    return layer.is_frozen or (isinstance(layer.layer, kinds.Dense) and layer.layer.lora_rank is not None)


def _trains_weights(layer: ResolvedLayer) -> bool:
    return not _has_frozen_weights(layer)


def _products(layer: ResolvedLayer) -> _Products:
    shape = layer.input_shape
    match layer.layer:
        case kinds.Dense(units=units, lora_rank=rank):
            low_rank = (prod(shape) * rank, prod(shape[:-1]) * rank * units) if rank else (0, 0)
            return _Products(from_input=prod(shape) * units, low_rank=low_rank)
        case kinds.TiedDense():
            return _Products(from_input=prod(shape) * layer.output_shape[-1])
        case kinds.Conv2d(size=size):
            return _Products(from_input=prod(layer.output_shape) * size * size * shape[-1])
        case kinds.Conv1d(size=size):
            return _Products(from_input=prod(layer.output_shape) * size * shape[-1])
        case kinds.Attention():
            length, channels = shape
            projection = length * channels * channels
            return _Products(
                from_input=3 * projection, further=projection, between=2 * length * length * channels
            )
        case kinds.Lstm(units=units) | kinds.Gru(units=units):
            length, channels = shape
            gates = (4 if isinstance(layer.layer, kinds.Lstm) else 3) * units
            return _Products(from_input=length * channels * gates, further=length * units * gates)
        case kinds.PairwiseProducts():
            return _Products(between=layer.output_shape[0] * shape[1])
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
        case kinds.Gru(units=units):
            return 5 * layer.input_shape[0] * units
        case kinds.Dense(lora_rank=rank) if rank:
            return size + prod(layer.input_shape[:-1]) * rank
        case (
            kinds.Dense()
            | kinds.TiedDense()
            | kinds.Conv2d()
            | kinds.Conv1d()
            | kinds.MaxPool2d()
            | kinds.AveragePool2d()
            | kinds.Embedding()
            | kinds.AverageOverSequence()
            | kinds.MaxOverSequence()
            | kinds.AverageOverImage()
            | kinds.PairwiseProducts()
        ):
            return size
        case _:
            return 0


def _slots(optimizer: Optimizer) -> int:
    if isinstance(optimizer, kinds.Adam):
        return 2
    return 1 if optimizer.momentum else 0
