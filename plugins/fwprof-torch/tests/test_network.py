"""Layouts and layers against NumPy and finite differences, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from fwprof.plugin import UnsupportedError, layers
from fwprof_torch import plugin


def softmax(x):
    return special.softmax(x, axis=-1)


def activate(name, x):
    return {
        None: lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "gelu": lambda: x * 0.5 * (1 + special.erf(x / np.sqrt(2))),
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: special.expit(x),
        "softmax": lambda: softmax(x),
    }[name]()


def convolve(x, kernel, bias, stride, padding):
    """Cross-correlate (batch, h, w, in) with (size, size, in, out), by the definition."""
    size = kernel.shape[0]
    if padding == "same":
        pads = []
        for side in x.shape[1:3]:
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
    rows = (x.shape[1] - size) // stride + 1
    columns = (x.shape[2] - size) // stride + 1
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = np.tensordot(window, kernel, 3) + bias
    return out


def attend(x, w, layer):
    batch, length, channels = x.shape
    size = channels // layer.heads

    def heads(part):
        y = x @ w[f"{part}_kernel"] + w[f"{part}_bias"]
        return y.reshape(batch, length, layer.heads, size).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.sqrt(size)
    if layer.causal:
        scores = np.where(np.tril(np.ones((length, length))), scores, -np.inf)
    mixed = (softmax(scores) @ heads("value")).transpose(0, 2, 1, 3).reshape(x.shape)
    return mixed @ w["output_kernel"] + w["output_bias"]


def remember(x, w, units):
    output = cell = np.zeros((len(x), units))
    outputs = []
    for t in range(x.shape[1]):
        gates = x[:, t] @ w["kernel"] + output @ w["recurrent_kernel"] + w["bias"]
        i, f, g, o = (gates[:, k * units : (k + 1) * units] for k in range(4))
        cell = special.expit(f) * cell + special.expit(i) * np.tanh(g)
        output = special.expit(o) * np.tanh(cell)
        outputs.append(output)
    return np.stack(outputs, 1)


def apply_layer(resolved, x, weights):
    layer, path = resolved.layer, resolved.path
    w = {name.removeprefix(f"{path}."): value for name, value in weights.items()}
    match layer:
        case layers.Dense():
            return activate(layer.activation, x @ w["kernel"] + w["bias"])
        case layers.Conv2d():
            y = convolve(x, w["kernel"], w["bias"], layer.stride, layer.padding)
            return activate(layer.activation, y)
        case layers.MaxPool2d() | layers.AveragePool2d():
            n, h, width, c = x.shape
            size = layer.size
            x = x[:, : h // size * size, : width // size * size]
            windows = x.reshape(n, h // size, size, width // size, size, c)
            return windows.max((2, 4)) if isinstance(layer, layers.MaxPool2d) else windows.mean((2, 4))
        case layers.Flatten():
            return x.reshape(len(x), -1)
        case layers.Activation():
            return activate(layer.function, x)
        case layers.Dropout():
            return x
        case layers.BatchNorm():
            axes = tuple(range(x.ndim - 1))
            mean, variance = x.mean(axes), x.var(axes)
            return (x - mean) / np.sqrt(variance + layer.epsilon) * w["gamma"] + w["beta"]
        case layers.LayerNorm():
            mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            return (x - mean) / np.sqrt(variance + layer.epsilon) * w["gamma"] + w["beta"]
        case layers.Embedding():
            return w["table"][x]
        case layers.PositionEmbedding():
            return x + w["table"]
        case layers.Attention():
            return attend(x, w, layer)
        case layers.AverageOverSequence():
            return x.mean(1)
        case layers.Lstm():
            y = remember(x, w, layer.units)
            return y if layer.return_sequences else y[:, -1]
        case layers.Residual():
            y = x
            for inner in resolved.inner:
                y = apply_layer(inner, y, weights)
            return x + y
    raise AssertionError(layer)


def loss_of(workload, weights, batch):
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    x = batch.inputs.astype(np.float64) if batch.inputs.dtype.kind == "f" else batch.inputs
    for resolved in workload.layers:
        x = apply_layer(resolved, x, weights)
    logs = special.log_softmax(x, axis=-1)
    return -logs[np.arange(len(x)), batch.targets].mean()


IMAGE, SEQUENCE, IDS = (6, 5, 2), (4, 6), (5,)
CASES = {
    "dense": ((layers.Dense(units=5, activation="tanh"), layers.Dense(units=3)), (4,)),
    "dense over a sequence": (
        (layers.Dense(units=5, activation="softmax"), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "dense over an image": (
        (layers.Dense(units=4, activation="softmax"), layers.Flatten(), layers.Dense(units=3)),
        IMAGE,
    ),
    "conv, pool, flatten": (
        (
            layers.Conv2d(filters=3, size=3, activation="gelu"),
            layers.MaxPool2d(size=2),
            layers.Flatten(),
            layers.Dropout(rate=0.0),
            layers.Activation(function="sigmoid"),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "same padding": (
        (
            layers.Conv2d(filters=3, size=3, stride=2, padding="same", activation="tanh"),
            layers.Conv2d(filters=2, size=2, padding="same"),
            layers.AveragePool2d(size=2),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "flatten that ends in a norm": (
        (layers.Conv2d(filters=2, size=3), layers.Flatten(), layers.LayerNorm(), layers.Dense(units=3)),
        IMAGE,
    ),
    "flatten at the end": (
        (layers.Conv2d(filters=3, size=5, activation="tanh"), layers.Flatten()),
        (5, 5, 2),
    ),
    "norms over an image": (
        (layers.BatchNorm(), layers.LayerNorm(), layers.Flatten(), layers.Dense(units=3)),
        IMAGE,
    ),
    "batch norm over features": ((layers.Dense(units=4), layers.BatchNorm(), layers.Dense(units=3)), (4,)),
    "batch norm over a sequence": (
        (layers.BatchNorm(), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
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
    "lstm": (
        (layers.Lstm(units=4, return_sequences=True), layers.Lstm(units=5), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "causal attention": (
        (layers.Attention(heads=3, causal=True), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
}


@pytest.fixture
def load(make_workload):
    def make(name):
        specs, shape = CASES[name]
        return make_workload(specs, shape, vocabulary=9 if shape == IDS else 0)

    return make


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_a_numpy_network(build, load, name):
    workload = load(name)
    model = build(workload, double=True)
    programs = plugin.train_step(model=model)
    for batch in workload.batches[:2]:
        loss, gradients = programs.read(programs.forward(model.stage(batch)))
        expected = loss_of(workload, workload.weights, batch)
        assert loss == pytest.approx(expected, rel=1e-9)
        assert gradients is None


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_is_that_of_finite_differences(build, load, name):
    workload = load(name)
    model = build(workload, double=True)
    programs = plugin.train_step(model=model)
    batch = workload.batches[0]
    _, gradients = programs.read(programs.forward_backward(model.stage(batch)))
    trained = {
        key: value.astype(np.float64) for key, value in workload.weights.items() if "moving_" not in key
    }
    assert set(gradients) == set(trained)
    random = np.random.default_rng(5)
    for key, value in trained.items():
        direction = random.normal(size=value.shape)
        step = 1e-6
        losses = [
            loss_of(workload, trained | {key: value + sign * step * direction}, batch) for sign in (1, -1)
        ]
        slope = (losses[0] - losses[1]) / (2 * step)
        assert np.vdot(gradients[key], direction) == pytest.approx(slope, rel=1e-5, abs=1e-8), key


@pytest.mark.parametrize("name", CASES)
def test_parameters_come_back_as_they_were_loaded(build, load, name):
    workload = load(name)
    found = build(workload).parameters()
    assert set(found) == set(workload.weights)
    for key, value in workload.weights.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_a_hand_made_convolution_sees_height_width_and_channels_apart(build, make_workload):
    """A kernel with one 1 picks one pixel of one channel: any swapped axis picks another."""
    workload = make_workload((layers.Conv2d(filters=2, size=2), layers.Flatten()), (2, 2, 3), 2, batch=1)
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[0, 1, 2, 0] = 1  # top right pixel, last channel → first filter
    kernel[1, 0, 1, 1] = 1  # bottom left pixel, second channel → second filter
    model = build(workload)
    model.load_parameters({"0.kernel": kernel, "0.bias": np.zeros(2, np.float32)})
    image = workload.batches[0].inputs
    found = model.predict(model.stage(workload.batches[0]))
    np.testing.assert_allclose(found, [[image[0, 0, 1, 2], image[0, 1, 0, 1]]], rtol=1e-6)


def test_prediction_uses_the_moving_statistics_and_changes_nothing(build, make_workload):
    specs = (layers.BatchNorm(), layers.Dropout(rate=0.5), layers.Dense(units=3))
    workload = make_workload(specs, (4,))
    model = build(workload)
    before = torch.get_rng_state()
    x, w = workload.batches[0].inputs, workload.weights
    scaled = (x - w["0.moving_mean"]) / np.sqrt(w["0.moving_variance"] + 1e-5)
    expected = (scaled * w["0.gamma"] + w["0.beta"]) @ w["2.kernel"] + w["2.bias"]
    staged = model.stage(workload.batches[0])
    np.testing.assert_allclose(model.predict(staged), expected, rtol=1e-4, atol=1e-5)
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, w[name])
    assert torch.equal(torch.get_rng_state(), before)
    assert model.module.training


def test_attention_predicts_what_it_trains(build, load):
    workload = load("transformer")
    model = build(workload, double=True)
    batch = workload.batches[0]
    logits = model.predict(model.stage(batch))
    losses = -special.log_softmax(logits, axis=-1)[np.arange(4), batch.targets]
    assert losses.mean() == pytest.approx(loss_of(workload, workload.weights, batch), rel=1e-9)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_moving_statistics_follow_the_biased_batch_statistics(build, make_workload, momentum):
    workload = make_workload(
        (layers.BatchNorm(momentum=momentum), layers.Flatten(), layers.Dense(units=3)), (2, 3, 2)
    )
    model = build(workload, double=True)
    programs = plugin.train_step(model=model)
    mean = workload.weights["0.moving_mean"].astype(np.float64)
    variance = workload.weights["0.moving_variance"].astype(np.float64)
    for batch in workload.batches[:3]:
        programs.run(model.stage(batch))
        x = batch.inputs.astype(np.float64)
        mean = momentum * mean + (1 - momentum) * x.mean((0, 1, 2))
        variance = momentum * variance + (1 - momentum) * x.var((0, 1, 2))
    found = model.parameters()
    np.testing.assert_allclose(found["0.moving_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(found["0.moving_variance"], variance, rtol=1e-10)


@pytest.mark.parametrize(
    ("specs", "shape", "words"),
    [
        ((layers.Conv2d(filters=2, size=1),), (4, 4), "Conv2d at 0 takes an image"),
        ((layers.Embedding(vocabulary=3, units=2),), (4, 4), r"Embedding at 0 takes ids"),
        ((layers.Lstm(units=2),), (4,), r"Lstm at 0 takes \(length, channels\)"),
        ((layers.Attention(heads=1),), (4,), r"Attention at 0 takes \(length, channels\)"),
        ((layers.BatchNorm(),), (2, 2, 2, 2), "batch_norm at 0 takes at most"),
    ],
)
def test_a_layer_in_a_place_it_cannot_have_is_refused_by_name(build, make_workload, specs, shape, words):
    with pytest.raises(UnsupportedError, match=words):
        build(make_workload(specs, shape))


def test_unknown_parameters_and_wrong_shapes_are_refused_by_name(build, load):
    model = build(load("dense"))
    with pytest.raises(ValueError, match=r"unknown parameter '7\.kernel'"):
        model.load_parameters({"7.kernel": np.zeros((4, 5), np.float32)})
    with pytest.raises(ValueError, match=r"parameter '0\.kernel': shape \(5, 4\) instead of \(4, 5\)"):
        model.load_parameters({"0.kernel": np.zeros((5, 4), np.float32)})
