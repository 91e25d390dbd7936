"""Cases of every layer, loss and optimizer, and checks of a plugin against their definitions.

Models are checked as they are verified, in float64 and without dropout; gradients by finite
differences. Knows no framework; the formulas are those of `definitions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from fwprof.plugin import Gradients, LoadedWorkload, Model, Programs, Result, layers
from fwprof.testing.conformance.verdicts import expect, expect_close, expect_names, expect_same
from fwprof.testing.definitions import loss_of, outputs_of, spec_of, update
from fwprof.testing.small import make_workload
from fwprof.workloads.language import parameter_shapes

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
    "gru": partial(
        make_workload, (layers.Gru(units=4, return_sequences=True), layers.Gru(units=3)), SEQUENCE
    ),
    "numbers to predict": partial(
        make_workload,
        (layers.Dense(units=4, activation="tanh"), layers.Dense(units=3)),
        (4,),
        loss="mean_squared_error",
    ),
    # Each part has statistics of its own: a plugin that takes the batch undivided is seen.
    "gradients accumulated": partial(
        make_workload,
        (layers.Dense(units=4, activation="tanh"), layers.BatchNorm(), layers.Dense(units=3)),
        (4,),
        accumulate=2,
    ),
    "numbered padding and strides": partial(
        make_workload,
        (
            layers.Conv2d(filters=4, size=3, stride=2, padding=1, use_bias=False),
            layers.BatchNorm(),
            layers.MaxPool2d(size=3, stride=2, padding=1),
            layers.MaxPool2d(size=2, stride=1),
            layers.AverageOverImage(),
            layers.Dense(units=3),
        ),
        (9, 8, 2),
    ),
    "branches that are added": partial(
        make_workload,
        (
            layers.Conv2d(filters=2, size=3, padding=1),
            layers.Branches(
                layers=(
                    layers.Chain(
                        layers=(
                            layers.Conv2d(filters=4, size=3, stride=2, padding=1, activation="tanh"),
                            layers.Conv2d(filters=4, size=3, padding=1),
                        )
                    ),
                    layers.Conv2d(filters=4, size=1, stride=2),
                ),
                join="add",
            ),
            layers.Activation(function="relu"),
            layers.Flatten(),
            layers.Dense(units=3),
        ),
        IMAGE,
    ),
    "branches side by side": partial(
        make_workload,
        (
            layers.Embedding(vocabulary=VOCABULARY, units=6),
            layers.Branches(
                layers=(
                    layers.Chain(
                        layers=(
                            layers.Conv1d(filters=4, size=2, activation="tanh"),
                            layers.MaxOverSequence(),
                        )
                    ),
                    layers.Chain(
                        layers=(
                            layers.Conv1d(filters=3, size=3, stride=2, padding="same", use_bias=False),
                            layers.AverageOverSequence(),
                        )
                    ),
                    layers.FirstOfSequence(),
                    layers.Flatten(),
                    layers.PairwiseProducts(),
                )
            ),
            layers.Dense(units=3),
        ),
        IDS,
        vocabulary=VOCABULARY,
    ),
    "the next id, by a tied table": partial(
        make_workload,
        (
            layers.Embedding(vocabulary=VOCABULARY, units=6),
            layers.PositionEmbedding(),
            layers.Residual(layers=(layers.LayerNorm(), layers.Attention(heads=2, causal=True))),
            layers.LayerNorm(),
            layers.TiedDense(),
        ),
        IDS,
        classes=VOCABULARY,
        vocabulary=VOCABULARY,
    ),
    "frozen layers": partial(
        make_workload,
        (
            layers.Dense(units=4, activation="tanh"),
            layers.Frozen(
                layers=(
                    layers.BatchNorm(),
                    layers.Residual(layers=(layers.Attention(heads=2), layers.Dense(units=4))),
                    layers.LayerNorm(),
                    layers.Lstm(units=4, return_sequences=True),
                    layers.Gru(units=4, return_sequences=True),
                )
            ),
            layers.AverageOverSequence(),
            layers.Dense(units=3),
        ),
        SEQUENCE,
    ),
    "a frozen backbone": partial(
        make_workload,
        (
            layers.Frozen(
                layers=(layers.Embedding(vocabulary=VOCABULARY, units=6), layers.PositionEmbedding())
            ),
            layers.AverageOverSequence(),
            layers.Dense(units=3),
        ),
        IDS,
        vocabulary=VOCABULARY,
    ),
    "low-rank adaptation": partial(
        make_workload,
        (
            layers.Dense(units=5, activation="gelu", lora_rank=2),
            layers.Dense(units=3, use_bias=False, lora_rank=1),
        ),
        (4,),
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
    optimizer = spec_of(workload).optimizer
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
