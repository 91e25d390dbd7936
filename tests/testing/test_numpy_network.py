from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fwprof.errors import UnsupportedError
from fwprof.plugin import Workload, layers
from fwprof.testing.numpy_losses import binary_cross_entropy, cross_entropy
from fwprof.testing.numpy_network import Network, Update, without_dropout
from fwprof.workloads.language import resolve

FEATURES, CLASSES, BATCH = 4, 3, 5
DENSE = layers.Dense(units=CLASSES)
HIDDEN = {
    "a dense layer": (),
    "flatten": (layers.Flatten(),),
    "relu": (layers.Dense(units=6, activation="relu"),),
    "tanh": (layers.Dense(units=6), layers.Activation(function="tanh")),
    "sigmoid": (layers.Dense(units=6, activation="sigmoid", use_bias=False),),
    "dropout": (layers.Dense(units=6), layers.Dropout(rate=0.4)),
    "batch norm": (layers.Dense(units=6), layers.BatchNorm()),
}


def resolve_stack(stack):
    """Resolve layers in front of the one that gives the logits; only they are returned."""
    return resolve(
        Workload(
            name="stack",
            input=layers.InputSpec(shape=(FEATURES,)),
            layers=(*stack, DENSE),
            classes=CLASSES,
            optimizer=layers.Sgd(learning_rate=0.1),
        )
    )[: len(stack)]


def make_network(stack, seed):
    resolved = resolve_stack(stack)
    random = np.random.default_rng(seed)
    shapes = {name: shape for each in resolved for name, shape in {**each.parameters, **each.state}.items()}
    values = {name: 0.5 + random.random(shape) for name, shape in shapes.items()}
    return Network(resolved, values, seed), random


def make_sequence_network(seed):
    spec = Workload(
        name="sequence",
        input=layers.InputSpec(shape=(6,), dtype="int64"),
        layers=(
            layers.Embedding(vocabulary=7, units=3),
            layers.Lstm(units=4, return_sequences=True),
            layers.Lstm(units=2),
            layers.Dense(units=2),
        ),
        classes=2,
        loss="binary_cross_entropy",
        optimizer=layers.Sgd(learning_rate=0.1),
    )
    resolved = resolve(spec)
    random = np.random.default_rng(seed)
    values = {name: random.normal(size=shape) for each in resolved for name, shape in each.parameters.items()}
    return Network(resolved, values, seed, spec.loss), random


def loss_at(network, values, inputs, targets):
    """The loss with other values, under the same dropout, leaving the network as it was."""
    copies = {name: value.copy() for name, value in values.items()}
    return Network(network.layers, copies, 11, network.loss_kind).loss(inputs, targets)


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN.keys())
@given(seed=st.integers(0, 2**16))
@settings(max_examples=8)
def test_gradients_are_the_slope_of_the_loss(hidden, seed):
    network, random = make_network((*hidden, DENSE), seed)
    inputs, targets = random.normal(size=(BATCH, FEATURES)), random.integers(0, CLASSES, BATCH)
    expect_slopes(network, inputs, targets, random)


def test_gradients_through_time_are_the_slope_of_the_loss():
    network, random = make_sequence_network(seed=2)
    inputs, targets = random.integers(0, 7, (BATCH, 6)), random.integers(0, 2, (BATCH, 2)).astype(float)
    expect_slopes(network, inputs, targets, random)


def expect_slopes(network, inputs, targets, random):
    start = {name: value.copy() for name, value in network.values.items()}
    copies = {name: value.copy() for name, value in start.items()}
    fresh = Network(network.layers, copies, 11, network.loss_kind)
    gradients = fresh.loss_and_pull(inputs, targets)[1]()

    assert gradients.keys() == set(network.trainable)
    for name in network.trainable:
        # One random direction a parameter: as sharp as each element, and much faster.
        direction = random.normal(size=start[name].shape)
        up, down = (
            loss_at(network, {**start, name: start[name] + step * direction}, inputs, targets)
            for step in (1e-6, -1e-6)
        )
        assert (up - down) / 2e-6 == pytest.approx(
            float((gradients[name] * direction).sum()), rel=1e-4, abs=1e-7
        )


def test_an_lstm_computes_its_gates_in_canonical_order():
    """Each gate by hand, from biases alone: one unit, no inputs, two positions."""
    network, _ = make_sequence_network(seed=0)
    resolved = [network.layers[1]]
    i, f, g, o = 0.3, 0.7, -0.4, 1.1
    values = {
        "1.kernel": np.zeros((3, 16)),
        "1.recurrent_kernel": np.zeros((4, 16)),
        "1.bias": np.repeat([i, f, g, o], 4),
    }
    outputs, _ = Network(resolved, values, 0).outputs(np.zeros((1, 2, 3)), is_training=True)
    si, sf, so = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
    cells = [si * np.tanh(g), sf * si * np.tanh(g) + si * np.tanh(g)]
    assert outputs[0, :, 0] == pytest.approx([so * np.tanh(cell) for cell in cells])


def test_without_dropout_nothing_is_dropped_in_training_either():
    network, _ = make_network((layers.Dropout(rate=0.25),), seed=1)
    ones = np.ones((10, FEATURES))
    quiet = Network(without_dropout(network.layers), {}, seed=0)
    assert np.array_equal(quiet.outputs(ones, is_training=True)[0], ones)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes():
    loss, gradient = cross_entropy(np.zeros((2, 4)), np.array([0, 3]))
    assert loss == pytest.approx(np.log(4))
    assert gradient.tolist() == [[-0.375, 0.125, 0.125, 0.125], [0.125, 0.125, 0.125, -0.375]]


def test_binary_cross_entropy_of_no_opinion_is_the_logarithm_of_two():
    loss, gradient = binary_cross_entropy(np.zeros((2, 2)), np.array([[0.0, 1.0], [1.0, 1.0]]))
    assert loss == pytest.approx(np.log(2))
    assert gradient.tolist() == [[0.125, -0.125], [-0.125, -0.125]]


def test_binary_cross_entropy_stands_large_logits():
    loss, gradient = binary_cross_entropy(np.array([[500.0, -500.0]]), np.array([[0.0, 0.0]]))
    assert loss == pytest.approx(250)
    assert gradient == pytest.approx(np.array([[0.5, 0.0]]))


def test_cross_entropy_stands_large_logits():
    loss, gradient = cross_entropy(np.array([[1e4, 0.0]]), np.array([1]))
    assert loss == pytest.approx(1e4)
    assert np.isfinite(gradient).all()


def test_dropout_keeps_the_mean_and_leaves_inference_alone():
    network, _ = make_network((layers.Dropout(rate=0.25),), seed=1)
    ones = np.ones((2000, FEATURES))
    trained, _ = network.outputs(ones, is_training=True)
    inferred, _ = network.outputs(ones, is_training=False)
    assert trained.mean() == pytest.approx(1.0, abs=0.03)
    assert np.unique(trained) == pytest.approx([0.0, 4 / 3])
    assert np.array_equal(inferred, ones)


def test_batch_norm_moves_its_statistics_by_the_share_that_is_not_kept():
    network, random = make_network((layers.BatchNorm(momentum=0.8),), seed=1)
    before = {name: value.copy() for name, value in network.values.items()}
    inputs = random.normal(size=(BATCH, FEATURES))
    network.outputs(inputs, is_training=True)
    wanted = 0.8 * before["0.moving_mean"] + 0.2 * inputs.mean(axis=0)
    assert network.values["0.moving_mean"] == pytest.approx(wanted)
    wanted = 0.8 * before["0.moving_variance"] + 0.2 * inputs.var(axis=0)
    assert network.values["0.moving_variance"] == pytest.approx(wanted)


def test_float32_stays_float32():
    network, random = make_network(
        (layers.Dense(units=6), layers.BatchNorm(), layers.Dropout(rate=0.5), DENSE), 1
    )
    network.values = {name: value.astype(np.float32) for name, value in network.values.items()}
    inputs = random.normal(size=(BATCH, FEATURES)).astype(np.float32)
    gradients = network.loss_and_pull(inputs, np.zeros(BATCH, dtype=np.int64))[1]()
    assert {value.dtype for value in gradients.values()} == {np.dtype(np.float32)}


def test_momentum_gathers_what_gradients_leave():
    update = Update(layers.Sgd(learning_rate=0.1, momentum=0.5))
    values = {"w": np.zeros(1)}
    for _ in range(2):
        update.apply(values, {"w": np.ones(1)})
    # By hand: v is 1, then 1.5.
    assert values["w"] == pytest.approx(-0.25)


def test_adam_takes_its_first_step_by_the_learning_rate():
    update = Update(layers.Adam(learning_rate=0.1, epsilon=1e-12))
    values = {"w": np.array([1.0, -1.0])}
    update.apply(values, {"w": np.array([5.0, -0.01])})
    assert values["w"] == pytest.approx([0.9, -0.9])


def test_adam_takes_the_form_in_which_the_corrections_are_folded_into_the_step():
    update = Update(layers.Adam(learning_rate=0.1, beta_1=0.5, beta_2=0.75, epsilon=1.0))
    values = {"w": np.zeros(1)}
    update.apply(values, {"w": np.array([2.0])})
    update.apply(values, {"w": np.array([4.0])})
    # By hand: m 1, 2.5; v 1, 4.75; √(1 − β₂ᵗ)/(1 − β₁ᵗ): 0.5/0.5, √0.4375/0.75.
    second = 0.4375**0.5 / 0.75 * 2.5 / (4.75**0.5 + 1)
    assert values["w"] == pytest.approx(-0.1 * (1 / 2 + second))


def test_weight_decay_shrinks_before_the_step():
    update = Update(layers.Adam(learning_rate=0.1, weight_decay=0.5))
    values = {"w": np.array([2.0])}
    update.apply(values, {"w": np.zeros(1)})
    assert values["w"] == pytest.approx(1.9)


def test_an_unsupported_layer_is_named():
    (resolved,) = resolve_stack((layers.LayerNorm(),))
    with pytest.raises(UnsupportedError, match="layer 0 is of kind layer_norm"):
        Network([resolved], {}, seed=0)


def test_an_unsupported_activation_is_named():
    (resolved,) = resolve_stack((layers.Dense(units=2, activation="gelu"),))
    with pytest.raises(UnsupportedError, match="layer 0 has the activation gelu"):
        Network([resolved], {}, seed=0)
    with pytest.raises(UnsupportedError, match="layer 0 has the activation softmax"):
        Network([replace(resolved, layer=layers.Activation(function="softmax"))], {}, seed=0)
