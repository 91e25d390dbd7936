"""The workload language by its definitions, in float64 NumPy, and checks of a plugin against them.

Forward only, one plain formula for each layer, loss and optimizer: gradients are checked by finite
differences. The checks take models as they are verified, in float64 and without dropout. Knows no
framework and shares no formula with `numpy_network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from fwprof.plugin import (
    Batch,
    Gradients,
    LoadedWorkload,
    Model,
    Programs,
    ResolvedLayer,
    Result,
    Workload,
    layers,
)
from fwprof.testing.conformance.verdicts import expect, expect_close, expect_names, expect_same
from fwprof.testing.small import make_workload
from fwprof.workloads.language import parameter_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

IMAGE, SEQUENCE, IDS, VOCABULARY = (6, 5, 2), (4, 6), (5,), 9

LAYER_CASES: Mapping[str, Callable[..., LoadedWorkload]] = {
    "dense": partial(
        make_workload,
        (
            layers.Dense(units=6, activation="relu"),
            layers.Dense(units=5, activation="tanh", use_bias=False),
            layers.Dense(units=3),
        ),
        (4,),
    ),
    "dense over a sequence": partial(
        make_workload,
        (layers.Dense(units=5, activation="softmax"), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "dense over an image": partial(
        make_workload,
        (layers.Dense(units=4, activation="softmax"), layers.Flatten(), layers.Dense(units=3)),
        IMAGE,
    ),
    "convolution, maximum and dropout": partial(
        make_workload,
        (
            layers.Conv2d(filters=4, size=2, activation="gelu"),
            layers.MaxPool2d(size=2),
            layers.Flatten(),
            layers.Dropout(rate=0.5),
            layers.Activation(function="sigmoid"),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "same padding and average": partial(
        make_workload,
        (
            layers.Conv2d(filters=3, size=3, stride=2, padding="same", activation="tanh"),
            layers.Conv2d(filters=2, size=2, padding="same"),
            layers.AveragePool2d(size=2),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "flatten that ends in a norm": partial(
        make_workload,
        (layers.Conv2d(filters=2, size=3), layers.Flatten(), layers.LayerNorm(), layers.Dense(units=3)),
        IMAGE,
    ),
    "flatten at the end": partial(
        make_workload,
        (layers.Conv2d(filters=3, size=5, activation="tanh"), layers.Flatten()),
        (5, 5, 2),
    ),
    "norms over an image": partial(
        make_workload,
        (
            layers.Conv2d(filters=3, size=2, stride=2, use_bias=False),
            layers.BatchNorm(),
            layers.LayerNorm(),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "batch norm over features": partial(
        make_workload, (layers.Dense(units=4), layers.BatchNorm(), layers.Dense(units=3)), (4,)
    ),
    "batch norm over a sequence": partial(
        make_workload, (layers.BatchNorm(), layers.AverageOverSequence(), layers.Dense(units=3)), SEQUENCE
    ),
    "transformer": partial(
        make_workload,
        (
            layers.Embedding(vocabulary=VOCABULARY, units=6),
            layers.PositionEmbedding(),
            layers.Residual(layers=(layers.LayerNorm(), layers.Attention(heads=2))),
            layers.Residual(layers=(layers.Dense(units=8, activation="gelu"), layers.Dense(units=6))),
            layers.AverageOverSequence(),
            layers.Dense(units=3),
        ),
        IDS,
        vocabulary=VOCABULARY,
    ),
    "causal attention": partial(
        make_workload,
        (layers.Attention(heads=3, causal=True), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "lstm": partial(
        make_workload, (layers.Lstm(units=4, return_sequences=True), layers.Lstm(units=3)), SEQUENCE
    ),
    "yes or no": partial(
        make_workload, (layers.Lstm(units=4), layers.Dense(units=3)), SEQUENCE, loss="binary_cross_entropy"
    ),
}
"""Every kind of layer and loss: what makes a workload of it, with any change that `make_workload` takes."""

OPTIMIZERS: Mapping[str, layers.Optimizer] = {
    "sgd": layers.Sgd(learning_rate=0.1),
    "momentum": layers.Sgd(learning_rate=0.1, momentum=0.9),
    # Epsilon is so large that the form of Adam shows.
    "adam": layers.Adam(learning_rate=0.01, epsilon=1e-3),
    "adamw": layers.Adam(learning_rate=0.01, epsilon=1e-3, weight_decay=0.1),
}

STATISTICS_CASES: Mapping[str, Callable[..., LoadedWorkload]] = {
    name: partial(
        make_workload, (layers.BatchNorm(momentum=momentum), layers.Flatten(), layers.Dense(units=3)), shape
    )
    for name, momentum, shape in (
        ("features", 0.8, (4,)),
        ("sequence", 0.0, SEQUENCE),
        ("image", 0.9, IMAGE),
    )
}
"""A batch norm of each kind in front, for `check_statistics`."""

AGREES = 1e-9
"""Share of a tensor's largest value by which an answer in float64 may be off."""
SLOPE, SLOPE_STEP = 1e-5, 1e-6
"""The same of a central difference, and the step it is taken by."""


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
    """Return the mean loss in training mode, of the arguments of `outputs_of`."""
    logits = outputs_of(workload, weights, batch, is_training=True)
    if _spec_of(workload).loss == "binary_cross_entropy":
        return float((np.logaddexp(0, logits) - batch.targets * logits).mean())
    log_shares = special.log_softmax(logits, axis=-1)
    return float(-log_shares[np.arange(len(logits)), batch.targets].mean())


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


def check_network(workload: LoadedWorkload, model: Model, programs: Programs) -> None:
    """Check parameters, outputs, losses and every gradient of a model that was just built in float64.

    Raises:
        ConformanceError: one is not what the definitions say; names it.
    """
    batch, staged = workload.batches[0], model.stage(workload.batches[0])
    wanted = outputs_of(workload, workload.weights, batch, is_training=False)
    expect_close(model.predict(staged), wanted, AGREES, "predict")
    expect_same(model.parameters(), workload.weights, AGREES, "parameters()")
    loss = loss_of(workload, workload.weights, batch)
    expect_close(_read(programs, programs.forward(staged))[0], loss, AGREES, "the loss of forward")
    found, gradients = _read(programs, programs.forward_backward(staged))
    expect_close(found, loss, AGREES, "the loss of forward_backward")
    _expect_slopes(workload, gradients)


def check_optimizer(
    workload: LoadedWorkload, model: Model, programs: Programs, *, tolerance: float, canonical: bool = True
) -> None:
    """Check four training steps of a model that was just built in float64.

    Args:
        tolerance: share of a tensor's largest value; some optimizers keep their betas in float32.
        canonical: whether Adam is to take the form in which it is verified.

    Raises:
        ConformanceError: a parameter is not where `update` brings it; names it.
    """
    optimizer = _spec_of(workload).optimizer
    values = {name: workload.weights[name].astype(np.float64) for name in parameter_shapes(workload.layers)}
    states: dict[str, dict[str, Any]] = {name: {} for name in values}
    for t, batch in enumerate(workload.batches[:4], start=1):
        staged = model.stage(batch)
        _, gradients = _read(programs, programs.forward_backward(staged))
        expect_names(gradients, values, "gradients")
        for name, gradient in gradients.items():
            values[name] = update(optimizer, values[name], gradient, states[name], t, canonical=canonical)
        programs.wait(programs.run(staged))
    parameters = model.parameters()
    for name, value in values.items():
        expect_close(parameters[name], value, tolerance, f"{name} after four steps")


def check_statistics(workload: LoadedWorkload, model: Model, programs: Programs) -> None:
    """Check that moving statistics follow the biased ones of the batches, over three training steps.

    Args:
        workload: its first layer is a batch norm.

    Raises:
        ConformanceError: they do not.
    """
    first = workload.layers[0]
    assert isinstance(first.layer, layers.BatchNorm)
    kept, axes = first.layer.momentum, tuple(range(len(first.input_shape)))
    mean, variance = (workload.weights[name].astype(np.float64) for name in first.state)
    for batch in workload.batches[:3]:
        programs.wait(programs.run(model.stage(batch)))
        x = batch.inputs.astype(np.float64)
        mean = kept * mean + (1 - kept) * x.mean(axes)
        variance = kept * variance + (1 - kept) * x.var(axes)
    parameters = model.parameters()
    for name, value in zip(first.state, (mean, variance), strict=True):
        expect_close(parameters[name], value, AGREES, f"{name} after three steps")


def _expect_slopes(workload: LoadedWorkload, gradients: Gradients) -> None:
    """Expect each gradient to be the slope of the loss, along one random direction a parameter."""
    batch, random = workload.batches[0], np.random.default_rng(5)
    weights = {name: value.astype(np.float64) for name, value in workload.weights.items()}
    shapes = parameter_shapes(workload.layers)
    expect_names(gradients, shapes, "gradients")
    for name, shape in shapes.items():
        expect(np.shape(gradients[name]) == shape, f"the gradient of {name} is not of shape {shape}")
        direction = random.normal(size=shape)
        ahead, behind = (
            loss_of(workload, weights | {name: weights[name] + step * direction}, batch)
            for step in (SLOPE_STEP, -SLOPE_STEP)
        )
        slope = np.vdot(gradients[name], direction)
        expect_close(slope, (ahead - behind) / (2 * SLOPE_STEP), SLOPE, f"the gradient of {name}")


def _read(programs: Programs, result: Result) -> tuple[float, Gradients]:
    programs.wait(result)
    loss, gradients = programs.read(result)
    return loss, gradients or {}


def _spec_of(workload: LoadedWorkload) -> Workload:
    assert workload.spec is not None, "the definitions are those of neutral workloads"
    return workload.spec


def _chain(
    resolved_layers: Sequence[ResolvedLayer], x: Array, weights: Mapping[str, Array], is_training: bool
) -> Array:
    for resolved in resolved_layers:
        x = _apply(resolved, x, weights, is_training)
    return x


def _apply(resolved: ResolvedLayer, x: Array, weights: Mapping[str, Array], is_training: bool) -> Array:
    layer = resolved.layer
    w = {name.removeprefix(f"{resolved.path}."): value for name, value in weights.items()}
    y: Array
    match layer:
        case layers.Dense():
            y = _ACTIVATIONS[layer.activation](x @ w["kernel"] + w.get("bias", 0))
        case layers.Conv2d():
            y = _ACTIVATIONS[layer.activation](_convolve(x, w["kernel"], layer) + w.get("bias", 0))
        case layers.MaxPool2d():
            y = _windows(x, layer.size, layer.size).max((-2, -1))
        case layers.AveragePool2d():
            y = _windows(x, layer.size, layer.size).mean((-2, -1))
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
        case layers.AverageOverSequence():
            y = x.mean(1)
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


def _windows(x: Array, size: int, stride: int) -> Array:
    """Return the windows of images as (batch, row, column, channels, size, size)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride]


def _convolve(x: Array, kernel: Array, layer: layers.Conv2d) -> Array:
    if layer.padding == "same":
        totals = [
            max((-(-side // layer.stride) - 1) * layer.stride + layer.size - side, 0) for side in x.shape[1:3]
        ]
        x = np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in totals), (0, 0)])
    y: Array = np.einsum("bijchw,hwco->bijo", _windows(x, layer.size, layer.stride), kernel)
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
