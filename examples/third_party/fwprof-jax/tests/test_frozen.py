"""What is not trained, and what is trained twice: frozen layers, low rank, a tied table."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from fwprof.plugin import layers, walk
from fwprof.testing.small import make_workload, train
from fwprof_jax import plugin

VOCABULARY = 12
FROZEN = (
    layers.Dense(units=4, activation="tanh"),
    layers.Frozen(
        layers=(
            layers.BatchNorm(),
            layers.Residual(layers=(layers.LayerNorm(), layers.Dense(units=4))),
            layers.Gru(units=4, return_sequences=True),
        )
    ),
    layers.BatchNorm(),
    layers.Dense(units=4, lora_rank=2),
    layers.AverageOverSequence(),
    layers.Dense(units=3),
)
TRAINED = {"0.kernel", "0.bias", "4.gamma", "4.beta", "5.lora_a", "5.lora_b", "7.kernel", "7.bias"}


@pytest.fixture
def frozen(build):
    workload = make_workload(
        FROZEN, (5, 6), optimizer=layers.Adam(learning_rate=0.01, weight_decay=0.1), accumulate=2
    )
    model = build(workload)
    return workload, model, plugin.train_step(model=model)


def test_only_what_is_trained_moves_in_three_steps(frozen):
    workload, model, programs = frozen
    losses = train(model, programs, workload.batches, 3)
    after = model.parameters()
    assert set(after) == set(workload.weights)
    kept = {name for name, value in after.items() if np.array_equal(value, workload.weights[name])}
    state = {name for layer in walk(workload.layers) for name in layer.state}
    assert kept == state - {"4.moving_mean", "4.moving_variance"}
    assert {"1.moving_mean", "1.moving_variance", "2.1.kernel", "3.recurrent_bias", "5.kernel"} < kept
    model.reset()
    assert train(model, programs, workload.batches, 3) == losses


def test_gradients_counts_and_the_optimizer_hold_what_is_trained(frozen):
    workload, model, programs = frozen
    _, gradients = programs.read(programs.forward_backward(model.stage(workload.batches[0])))
    assert set(gradients) == TRAINED
    count = sum(workload.weights[name].size for name in TRAINED)
    assert model.describe().parameter_count == count
    # Adam keeps two numbers for each, and counts its steps.
    assert sum(leaf.size for leaf in jax.tree.leaves(model.optimizer_state)) == 2 * count + 1


def test_what_is_frozen_is_saved_loaded_and_reset_like_the_rest(frozen, tmp_path):
    workload, model, _ = frozen
    moved = {name: value + 1 for name, value in workload.weights.items()}
    model.load_parameters(moved)
    model.save(tmp_path / "saved")
    model.reset()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[name], err_msg=name)
    model.restore(tmp_path / "saved")
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, moved[name], err_msg=name)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
def test_a_tied_table_is_one_with_the_gradients_of_both_its_uses(build, is_frozen):
    embedding = layers.Embedding(vocabulary=VOCABULARY, units=4)
    first = layers.Frozen(layers=(embedding,)) if is_frozen else embedding
    specs = (first, layers.LayerNorm(), layers.TiedDense())
    workload = make_workload(
        specs, (3,), classes=VOCABULARY, vocabulary=VOCABULARY, batch=2, optimizer=layers.Sgd(learning_rate=1)
    )
    model = build(workload)
    programs = plugin.train_step(model=model)
    staged = model.stage(workload.batches[0])
    _, gradients = programs.read(programs.forward_backward(staged))
    programs.wait(programs.run(staged))
    table = model.parameters()["0.table"]
    if is_frozen:
        np.testing.assert_array_equal(table, workload.weights["0.table"])
        return
    # Rows of ids that are not in the batch get a gradient from the output alone.
    unused = np.setdiff1d(np.arange(VOCABULARY), workload.batches[0].inputs)
    assert len(unused)
    assert np.all(gradients["0.table"][unused].any(axis=1))
    np.testing.assert_allclose(table, workload.weights["0.table"] - gradients["0.table"], rtol=1e-5)
    assert model.describe().parameter_count == VOCABULARY * 4 + 2 * 4
