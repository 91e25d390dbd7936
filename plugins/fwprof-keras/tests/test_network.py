"""Layers and gradients against NumPy and finite differences, in float64, on every backend."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import special

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

FUNCTIONS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + special.erf(x / np.sqrt(2))),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softmax": lambda x: special.softmax(x, axis=-1),
}


def convolve(x, kernel, layer):
    """Cross-correlate (batch, h, w, in) with (size, size, in, out), by the definition."""
    size, stride = layer.size, layer.stride
    if layer.padding == "same":
        missing = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *((each // 2, each - each // 2) for each in missing), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.einsum("bijchw,hwco->bijo", windows[:, ::stride, ::stride], kernel)


def pool(x, size, reduce):
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return reduce(windows[:, ::size, ::size], axis=(-2, -1))


def attend(x, w, layer):
    def heads(part):
        y = x @ w[f"{part}_kernel"] + w[f"{part}_bias"]
        return y.reshape(*x.shape[:2], layer.heads, -1)

    scores = np.einsum("bihd,bjhd->bhij", heads("query"), heads("key"))
    scores = scores / np.sqrt(x.shape[-1] / layer.heads)
    if layer.causal:
        scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
    mixed = np.einsum("bhij,bjhd->bihd", special.softmax(scores, axis=-1), heads("value"))
    return mixed.reshape(x.shape) @ w["output_kernel"] + w["output_bias"]


def remember(x, w, layer):
    h = c = np.zeros((len(x), layer.units))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=1)
        c = special.expit(f) * c + special.expit(i) * np.tanh(g)
        h = special.expit(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1) if layer.return_sequences else h


def normalise(x, axes, w, layer):
    deviation = np.sqrt(x.var(axes, keepdims=True) + layer.epsilon)
    return (x - x.mean(axes, keepdims=True)) / deviation * w["gamma"] + w["beta"]


def apply_layer(resolved, x, weights):
    layer = resolved.layer
    w = {name.removeprefix(f"{resolved.path}."): value for name, value in weights.items()}
    match layer:
        case layers.Dense():
            return FUNCTIONS[layer.activation](x @ w["kernel"] + w.get("bias", 0))
        case layers.Conv2d():
            return FUNCTIONS[layer.activation](convolve(x, w["kernel"], layer) + w.get("bias", 0))
        case layers.MaxPool2d():
            return pool(x, layer.size, np.max)
        case layers.AveragePool2d():
            return pool(x, layer.size, np.mean)
        case layers.Flatten():
            return x.reshape(len(x), -1)
        case layers.Activation():
            return FUNCTIONS[layer.function](x)
        case layers.Dropout():
            return x
        case layers.BatchNorm():
            return normalise(x, tuple(range(x.ndim - 1)), w, layer)
        case layers.LayerNorm():
            return normalise(x, -1, w, layer)
        case layers.Embedding():
            return w["table"][x]
        case layers.PositionEmbedding():
            return x + w["table"]
        case layers.Attention():
            return attend(x, w, layer)
        case layers.Lstm():
            return remember(x, w, layer)
        case layers.AverageOverSequence():
            return x.mean(1)
        case layers.Residual():
            y = x
            for inner in resolved.inner:
                y = apply_layer(inner, y, weights)
            return x + y
    raise AssertionError(layer)


def loss_of(workload, weights, batch):
    x = batch.inputs.astype(np.float64) if batch.inputs.dtype.kind == "f" else batch.inputs
    for resolved in workload.layers:
        x = apply_layer(resolved, x, weights)
    if workload.spec.loss == "binary_cross_entropy":
        return (np.logaddexp(0, x) - batch.targets * x).mean()
    return -special.log_softmax(x, axis=-1)[np.arange(len(x)), batch.targets].mean()


IMAGE, SEQUENCE, IDS = (6, 5, 2), (4, 6), (5,)
CASES = {
    "dense over a sequence": (
        (layers.Dense(units=5, activation="softmax"), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "convolution and maximum": (
        (
            layers.Conv2d(filters=4, size=2, activation="gelu"),
            layers.MaxPool2d(size=2),
            layers.Flatten(),
            layers.Dropout(rate=0.5),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "padding, stride, statistics and average": (
        (
            layers.Conv2d(filters=3, size=3, stride=2, padding="same", use_bias=False),
            layers.BatchNorm(),
            layers.Activation(function="sigmoid"),
            layers.AveragePool2d(size=2),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "transformer": (
        (
            layers.Embedding(vocabulary=9, units=6),
            layers.PositionEmbedding(),
            layers.Residual(layers=(layers.LayerNorm(), layers.Attention(heads=2))),
            layers.Residual(layers=(layers.Dense(units=8, activation="gelu"), layers.Dense(units=6))),
            layers.AverageOverSequence(),
            layers.Dense(units=3),
        ),
        IDS,
    ),
    "causal attention": (
        (layers.Attention(heads=3, causal=True), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "lstm": ((layers.Lstm(units=5, return_sequences=True), layers.Lstm(units=3)), SEQUENCE),
    "yes or no": ((layers.Lstm(units=4), layers.Dense(units=3)), SEQUENCE),
}


@pytest.fixture
def load(make_workload):
    def make(name):
        specs, shape = CASES[name]
        loss = "binary_cross_entropy" if name == "yes or no" else "cross_entropy"
        return make_workload(specs, shape, vocabulary=9 if shape == IDS else 0, loss=loss)

    return make


@pytest.mark.parametrize("name", CASES)
def test_loss_and_every_gradient_are_those_of_a_numpy_network(verified, load, name):
    workload = load(name)
    model, programs = verified(workload)
    batch = workload.batches[0]
    loss, gradients = programs.read(programs.forward_backward(model.stage(batch)))
    weights = {key: value.astype(np.float64) for key, value in workload.weights.items()}
    assert loss == pytest.approx(loss_of(workload, weights, batch), rel=1e-9)
    assert set(gradients) == {key for key in weights if "moving_" not in key}
    random, step = np.random.default_rng(5), 1e-6
    for key, gradient in gradients.items():
        direction = random.normal(size=gradient.shape)
        ahead, behind = (
            loss_of(workload, weights | {key: weights[key] + sign * step * direction}, batch)
            for sign in (1, -1)
        )
        slope = (ahead - behind) / (2 * step)
        assert np.vdot(gradient, direction) == pytest.approx(slope, rel=1e-5, abs=1e-8), key


@pytest.mark.parametrize("name", CASES)
def test_parameters_come_back_as_they_were_loaded(build, load, name):
    workload = load(name)
    found = build(workload)[0].parameters()
    assert set(found) == set(workload.weights)
    for key, value in workload.weights.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_a_functional_model_computes_what_a_sequential_one_does(build, load):
    workload = load("convolution and maximum")
    outputs = []
    for kind in ("sequential", "functional"):
        model, _ = build(workload, options={"model": kind})
        assert model.settings()["model"] == kind
        outputs.append(model.predict(model.stage(workload.batches[0])))
    np.testing.assert_allclose(*outputs, rtol=1e-6)


def test_a_layer_that_keras_lacks_is_refused_by_name(build, make_workload):
    class Hologram(layers.LayerBase, frozen=True, kw_only=True, tag="hologram"):
        """A layer that no framework has."""

    workload = make_workload((layers.Dense(units=3),), (4,))
    unknown = ResolvedLayer(path="h", layer=Hologram(), input_shape=(4,), output_shape=(4,), parameters={})
    with pytest.raises(UnsupportedError, match=r"keras has no layer for layer h \(Hologram\)"):
        build(dataclasses.replace(workload, layers=(unknown, *workload.layers)))
