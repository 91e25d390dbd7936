"""The workload language by its definitions, in float64 NumPy.

Forward only, one plain formula for each layer, loss and optimizer. Knows no framework and no check,
and shares no formula with `numpy_network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from fwprof.plugin import Batch, LoadedWorkload, ResolvedLayer, Workload, layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def outputs_of(
    workload: LoadedWorkload, weights: Mapping[str, Array], batch: Batch, *, is_training: bool
) -> Array:
    """Return the outputs `(batch, classes)`.

    Args:
        weights: canonical parameters and statistics by name.
        is_training: whether batch norm takes the batch's own statistics; dropout drops nothing.

    Source: each layer as `fwprof.records.workload` writes it.
    """
    x = batch.inputs.astype(np.float64) if batch.inputs.dtype.kind == "f" else batch.inputs
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    return _chain(workload.layers, x, exact, is_training)


def loss_of(workload: LoadedWorkload, weights: Mapping[str, Array], batch: Batch) -> float:
    """Return the mean loss in training mode, of the arguments of `outputs_of`.

    Of a batch whose gradients are accumulated: the mean over its parts, each one by itself.
    """
    parts = spec_of(workload).accumulate
    losses = [
        _loss_of_part(workload, weights, Batch(inputs, targets))
        for inputs, targets in zip(np.split(batch.inputs, parts), np.split(batch.targets, parts), strict=True)
    ]
    return float(np.mean(losses))


def update(
    optimizer: layers.Optimizer,
    weight: Array,
    gradient: Array,
    state: dict[str, Any],
    t: int,
    *,
    canonical: bool = True,
) -> Array:
    """Return a weight after step `t` of its optimizer.

    Args:
        state: of this weight; empty before the first step, and changed here.
        t: from 1.
        canonical: whether Adam adds ε to √v, as it is verified; else to √v̂.

    Source: as `fwprof.records.workload` writes them.
    """
    updated: Array
    if isinstance(optimizer, layers.Sgd):
        state["v"] = optimizer.momentum * state.get("v", 0) + gradient
        updated = weight - optimizer.learning_rate * state["v"]
        return updated
    beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
    state["m"] = beta_1 * state.get("m", 0) + (1 - beta_1) * gradient
    state["v"] = beta_2 * state.get("v", 0) + (1 - beta_2) * gradient**2
    correction = np.sqrt(1 - beta_2**t)
    epsilon = optimizer.epsilon if canonical else optimizer.epsilon * correction
    step = correction / (1 - beta_1**t) * state["m"] / (np.sqrt(state["v"]) + epsilon)
    updated = weight * (1 - optimizer.learning_rate * optimizer.weight_decay) - optimizer.learning_rate * step
    return updated


def spec_of(workload: LoadedWorkload) -> Workload:
    """Return the neutral workload that was loaded."""
    assert workload.spec is not None, "the definitions are those of neutral workloads"
    return workload.spec


def _loss_of_part(workload: LoadedWorkload, weights: Mapping[str, Array], batch: Batch) -> float:
    outputs, targets = outputs_of(workload, weights, batch, is_training=True), batch.targets
    match spec_of(workload).loss:
        case "binary_cross_entropy":
            return float((np.logaddexp(0, outputs) - targets * outputs).mean())
        case "mean_squared_error":
            return float(((outputs - targets) ** 2).mean())
        case "cross_entropy":
            log_shares = special.log_softmax(outputs, axis=-1)
            return float(-np.take_along_axis(log_shares, targets[..., None], axis=-1).mean())


def _chain(
    resolved_layers: Sequence[ResolvedLayer], x: Array, weights: Mapping[str, Array], is_training: bool
) -> Array:
    for resolved in resolved_layers:
        x = _apply(resolved, x, weights, is_training)
    return x


def _apply(resolved: ResolvedLayer, x: Array, weights: Mapping[str, Array], is_training: bool) -> Array:
    layer = resolved.layer
    w = {name.removeprefix(f"{resolved.path}."): value for name, value in weights.items()}
    is_training = is_training and not resolved.is_frozen
    y: Array
    match layer:
        case layers.Dense():
            y = x @ w["kernel"] + w.get("bias", 0)
            y = y + x @ w["lora_a"] @ w["lora_b"] if layer.lora_rank else y
            y = _ACTIVATIONS[layer.activation](y)
        case layers.Conv2d():
            y = _ACTIVATIONS[layer.activation](_convolve(x, w["kernel"], layer) + w.get("bias", 0))
        case layers.Conv1d():
            # An image of one row, whose kernel is one row high.
            row = _convolve(x[:, None], w["kernel"][None], layer)
            y = _ACTIVATIONS[layer.activation](row[:, 0] + w.get("bias", 0))
        case layers.MaxPool2d():
            around = (layer.padding, layer.padding)
            x = np.pad(x, [(0, 0), around, around, (0, 0)], constant_values=-np.inf)
            y = _windows(x, (layer.size, layer.size), layer.stride or layer.size).max((-2, -1))
        case layers.AveragePool2d():
            y = _windows(x, (layer.size, layer.size), layer.size).mean((-2, -1))
        case layers.Flatten():
            y = x.reshape(len(x), -1)
        case layers.Activation():
            y = _ACTIVATIONS[layer.function](x)
        case layers.Dropout():
            y = x
        case layers.BatchNorm():
            axes = tuple(range(x.ndim - 1))
            mean, variance = (
                (x.mean(axes), x.var(axes)) if is_training else (w["moving_mean"], w["moving_variance"])
            )
            y = (x - mean) / np.sqrt(variance + layer.epsilon) * w["gamma"] + w["beta"]
        case layers.LayerNorm():
            mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            y = (x - mean) / np.sqrt(variance + layer.epsilon) * w["gamma"] + w["beta"]
        case layers.Embedding():
            y = w["table"][x]
        case layers.PositionEmbedding():
            y = x + w["table"]
        case layers.Attention():
            y = _attend(x, w, layer)
        case layers.Lstm():
            y = _remember(x, w, layer)
        case layers.Gru():
            y = _remember_gated(x, w, layer)
        case layers.AverageOverSequence():
            y = x.mean(1)
        case layers.MaxOverSequence():
            y = x.max(1)
        case layers.FirstOfSequence():
            y = x[:, 0]
        case layers.AverageOverImage():
            y = x.mean((1, 2))
        case layers.PairwiseProducts():
            one, other = np.triu_indices(x.shape[1], k=1)
            y = (x[:, one] * x[:, other]).sum(-1)
        case layers.TiedDense():
            y = x @ weights[resolved.table or ""].T
        case layers.Chain():
            y = _chain(resolved.inner, x, weights, is_training)
        case layers.Branches():
            each = [_chain((inner,), x, weights, is_training) for inner in resolved.inner]
            y = np.concatenate(each, axis=-1) if layer.join == "concatenate" else np.sum(each, axis=0)
        case layers.Residual():
            y = x + _chain(resolved.inner, x, weights, is_training)
        case _:
            raise TypeError(f"{type(layer).__name__} has no definition here")
    return y


_ACTIVATIONS: Mapping[layers.ActivationName | None, Callable[[Array], Array]] = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * special.ndtr(x),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softmax": lambda x: special.softmax(x, axis=-1),
}


def _windows(x: Array, size: tuple[int, int], stride: int) -> Array:
    """Return the windows of images as (batch, row, column, channels, height, width)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    # A row of one pixel has one window, whatever the stride.
    return windows[:, ::stride, ::stride]


def _convolve(x: Array, kernel: Array, layer: layers.Conv2d | layers.Conv1d) -> Array:
    height, width = kernel.shape[:2]
    if layer.padding == "same":
        pairs = zip(x.shape[1:3], (height, width), strict=True)
        totals = [max((-(-side // layer.stride) - 1) * layer.stride + size - side, 0) for side, size in pairs]
        x = np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in totals), (0, 0)])
    elif layer.padding != "valid":
        around = (layer.padding, layer.padding)
        x = np.pad(x, [(0, 0), around, around, (0, 0)])
    y: Array = np.einsum("bijchw,hwco->bijo", _windows(x, (height, width), layer.stride), kernel)
    return y


def _attend(x: Array, w: Mapping[str, Array], layer: layers.Attention) -> Array:
    def heads(part: str) -> Array:
        y: Array = x @ w[f"{part}_kernel"] + w[f"{part}_bias"]
        return y.reshape(*x.shape[:2], layer.heads, -1)

    scores = np.einsum("bihd,bjhd->bhij", heads("query"), heads("key"))
    scores = scores / np.sqrt(x.shape[-1] / layer.heads)
    if layer.causal:
        scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
    mixed = np.einsum("bhij,bjhd->bihd", special.softmax(scores, axis=-1), heads("value"))
    y: Array = mixed.reshape(x.shape) @ w["output_kernel"] + w["output_bias"]
    return y


def _remember(x: Array, w: Mapping[str, Array], layer: layers.Lstm) -> Array:
    h = c = np.zeros((len(x), layer.units))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=1)
        c = special.expit(f) * c + special.expit(i) * np.tanh(g)
        h = special.expit(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1) if layer.return_sequences else h


def _remember_gated(x: Array, w: Mapping[str, Array], layer: layers.Gru) -> Array:
    h = np.zeros((len(x), layer.units))
    outputs = []
    for t in range(x.shape[1]):
        from_input = np.split(x[:, t] @ w["kernel"] + w["bias"], 3, axis=1)
        from_state = np.split(h @ w["recurrent_kernel"] + w["recurrent_bias"], 3, axis=1)
        z, r = (special.expit(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
        h = z * h + (1 - z) * np.tanh(from_input[2] + r * from_state[2])
        outputs.append(h)
    return np.stack(outputs, axis=1) if layer.return_sequences else h
