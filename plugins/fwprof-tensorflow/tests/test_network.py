"""Layers and gradients against NumPy and finite differences, in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers
from fwprof_tensorflow import plugin

ACTIVATIONS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + special.erf(x / np.sqrt(2))),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softmax": lambda x: special.softmax(x, axis=-1),
}


def convolve(x, kernel, stride, padding):
    """Cross-correlate (batch, h, w, in) with (size, size, in, out), by the definition."""
    size = kernel.shape[0]
    if padding == "same":
        totals = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in totals), (0, 0)])
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = np.tensordot(window, kernel, 3)
    return out


def pool(x, size, reduce):
    rows, columns = x.shape[1] // size, x.shape[2] // size
    cut = x[:, : rows * size, : columns * size]
    return reduce(cut.reshape(len(x), rows, size, columns, size, x.shape[-1]), axis=(2, 4))


def attend(x, w, layer):
    batch, length, channels = x.shape
    size = channels // layer.heads

    def heads(part):
        y = x @ w[f"{part}_kernel"] + w[f"{part}_bias"]
        return y.reshape(batch, length, layer.heads, size).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.sqrt(size)
    if layer.causal:
        scores = np.where(np.tril(np.ones((length, length))), scores, -np.inf)
    mixed = (special.softmax(scores, axis=-1) @ heads("value")).transpose(0, 2, 1, 3).reshape(x.shape)
    return mixed @ w["output_kernel"] + w["output_bias"]


def remember(x, w, layer):
    h = c = np.zeros((len(x), layer.units))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=1)
        c = special.expit(f) * c + special.expit(i) * np.tanh(g)
        h = special.expit(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1) if layer.return_sequences else h


def normalise(x, axes, w, epsilon):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * w["gamma"] + w["beta"]


def apply_layer(resolved, x, weights):
    layer, path = resolved.layer, resolved.path
    w = {name.removeprefix(f"{path}."): value for name, value in weights.items()}
    match layer:
        case layers.Dense():
            return ACTIVATIONS[layer.activation](x @ w["kernel"] + w.get("bias", 0))
        case layers.Conv2d():
            y = convolve(x, w["kernel"], layer.stride, layer.padding) + w.get("bias", 0)
            return ACTIVATIONS[layer.activation](y)
        case layers.MaxPool2d():
            return pool(x, layer.size, np.max)
        case layers.AveragePool2d():
            return pool(x, layer.size, np.mean)
        case layers.Flatten():
            return x.reshape(len(x), -1)
        case layers.Activation():
            return ACTIVATIONS[layer.function](x)
        case layers.Dropout():
            return x
        case layers.BatchNorm():
            return normalise(x, tuple(range(x.ndim - 1)), w, layer.epsilon)
        case layers.LayerNorm():
            return normalise(x, -1, w, layer.epsilon)
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


def outputs_of(workload, weights, batch):
    x = batch.inputs.astype(np.float64) if batch.inputs.dtype.kind == "f" else batch.inputs
    for resolved in workload.layers:
        x = apply_layer(resolved, x, {name: value.astype(np.float64) for name, value in weights.items()})
    return x


def loss_of(workload, weights, batch):
    logits, targets = outputs_of(workload, weights, batch), batch.targets
    if workload.spec.loss == "binary_cross_entropy":
        return (np.logaddexp(0, logits) - targets * logits).mean()
    return -special.log_softmax(logits, axis=-1)[np.arange(len(logits)), targets].mean()


IMAGE, SEQUENCE, IDS = (6, 5, 2), (4, 6), (5,)
CASES = {
    "perceptron": (
        (layers.Dense(units=5, activation="tanh", use_bias=False), layers.Dense(units=3)),
        (4,),
    ),
    "dense over a sequence": (
        (layers.Dense(units=5, activation="softmax"), layers.AverageOverSequence(), layers.Dense(units=3)),
        SEQUENCE,
    ),
    "valid convolution and maximum": (
        (
            layers.Conv2d(filters=4, size=2, activation="gelu"),
            layers.MaxPool2d(size=2),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "same convolution, stride and average": (
        (
            layers.Conv2d(filters=3, size=3, stride=2, padding="same", use_bias=False),
            layers.Activation(function="sigmoid"),
            layers.AveragePool2d(size=2),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "batch norm over an image": (
        (layers.Conv2d(filters=3, size=2), layers.BatchNorm(), layers.Flatten(), layers.Dense(units=3)),
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
    "memory": (
        (layers.Lstm(units=4, return_sequences=True), layers.Lstm(units=3), layers.Dense(units=3)),
        SEQUENCE,
    ),
}


@pytest.fixture
def load(make_workload):
    def make(name, **changes):
        specs, shape = CASES[name]
        return make_workload(specs, shape, vocabulary=9 if shape == IDS else 0, **changes)

    return make


@pytest.mark.parametrize("name", CASES)
def test_outputs_loss_and_every_gradient_are_those_of_the_definition(build, load, name):
    workload = load(name)
    model = build(workload, verified=True)
    programs = plugin.train_step(model=model)
    batch = workload.batches[0]
    staged = model.stage(batch)
    if name != "batch norm over an image":
        wanted = outputs_of(workload, workload.weights, batch)
        np.testing.assert_allclose(model.predict(staged), wanted, rtol=1e-9, atol=1e-12)
    forward, _ = programs.read(programs.forward(staged))
    loss, gradients = programs.read(programs.forward_backward(staged))
    assert forward == loss == pytest.approx(loss_of(workload, workload.weights, batch), rel=1e-12)
    trained = {
        key: value.astype(np.float64) for key, value in workload.weights.items() if "moving_" not in key
    }
    assert set(gradients) == set(trained)
    random = np.random.default_rng(5)
    for key, value in trained.items():
        direction, step = random.normal(size=value.shape), 1e-6
        losses = [
            loss_of(workload, trained | {key: value + sign * step * direction}, batch) for sign in (1, -1)
        ]
        slope = (losses[0] - losses[1]) / (2 * step)
        assert np.vdot(gradients[key], direction) == pytest.approx(slope, rel=1e-5, abs=1e-8), key


@pytest.mark.parametrize("name", ["perceptron", "memory"])
def test_yes_or_no_targets_have_their_own_loss(build, load, name):
    workload = load(name, loss="binary_cross_entropy")
    model = build(workload, verified=True)
    programs = plugin.train_step(model=model)
    loss, _ = programs.read(programs.forward(model.stage(workload.batches[1])))
    assert loss == pytest.approx(loss_of(workload, workload.weights, workload.batches[1]), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_parameters_come_back_as_they_were_loaded(build, load, name):
    workload = load(name)
    found = build(workload).parameters()
    assert set(found) == set(workload.weights)
    for key, value in workload.weights.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_xla_computes_a_transformer_as_the_definition_has_it(build, load):
    workload = load("transformer")
    model = build(workload, verified=True, variant="xla")
    programs = plugin.train_step(model=model)
    loss, gradients = programs.read(programs.forward_backward(model.stage(workload.batches[0])))
    assert loss == pytest.approx(loss_of(workload, workload.weights, workload.batches[0]), rel=1e-12)
    plain = build(workload, verified=True)
    programs = plugin.train_step(model=plain)
    _, wanted = programs.read(programs.forward_backward(plain.stage(workload.batches[0])))
    for key, value in wanted.items():
        np.testing.assert_allclose(gradients[key], value, rtol=1e-9, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_moving_statistics_follow_the_biased_batch_statistics(build, make_workload, momentum):
    specs = (layers.BatchNorm(momentum=momentum), layers.Flatten(), layers.Dense(units=3))
    workload = make_workload(specs, (2, 3, 2))
    model = build(workload, verified=True)
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
    np.testing.assert_allclose(found["0.moving_variance"], variance, rtol=1e-12)


def test_prediction_uses_the_moving_statistics_and_changes_nothing(build, make_workload):
    specs = (layers.BatchNorm(), layers.Dropout(rate=0.5), layers.Dense(units=3))
    workload = make_workload(specs, (4,))
    model = build(workload)
    x, w = workload.batches[0].inputs, workload.weights
    scaled = (x - w["0.moving_mean"]) / np.sqrt(w["0.moving_variance"] + 1e-5)
    expected = (scaled * w["0.gamma"] + w["0.beta"]) @ w["2.kernel"] + w["2.bias"]
    np.testing.assert_allclose(
        model.predict(model.stage(workload.batches[0])), expected, rtol=1e-4, atol=1e-5
    )
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, w[name])


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layers.Conv2d(filters=2, size=1), "Conv2d at 0 takes an image"),
        (layers.MaxPool2d(size=2), "MaxPool2d at 0 takes an image"),
        (layers.Embedding(vocabulary=3, units=2), "Embedding at 0 takes ids"),
        (layers.Attention(heads=1), r"Attention at 0 takes \(length, channels\)"),
        (layers.Lstm(units=1), r"Lstm at 0 takes \(length, channels\)"),
    ],
)
def test_a_layer_in_a_place_it_cannot_have_is_refused_by_name(build, make_workload, layer, words):
    # The language refuses such workloads itself, which the plugin does not rely on.
    wrong = ResolvedLayer(path="0", layer=layer, input_shape=(4,) * 4, output_shape=(4,) * 4, parameters={})
    with pytest.raises(UnsupportedError, match=words):
        build(dataclasses.replace(make_workload((layers.Dense(units=3),), (4,)), layers=(wrong,)))


def test_unknown_parameters_and_wrong_shapes_are_refused_by_name(build, load):
    model = build(load("perceptron"))
    with pytest.raises(ValueError, match=r"unknown parameter '7\.kernel'"):
        model.load_parameters({"7.kernel": np.zeros((4, 5), np.float32)})
    with pytest.raises(ValueError, match=r"parameter '0\.kernel': shape \(5, 4\) instead of \(4, 5\)"):
        model.load_parameters({"0.kernel": np.zeros((5, 4), np.float32)})


def test_a_default_of_the_users_keras_does_not_reach_the_network(build, load):
    tf.keras.config.set_image_data_format("channels_first")
    try:
        workload = load("valid convolution and maximum")
        model = build(workload, verified=True)
        found = model.predict(model.stage(workload.batches[0]))
    finally:
        tf.keras.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(found, outputs_of(workload, workload.weights, workload.batches[0]), rtol=1e-9)
