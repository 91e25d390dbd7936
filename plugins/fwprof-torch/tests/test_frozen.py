"""What is not trained, and what is trained twice: frozen layers, low rank, a tied table."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import layers
from fwprof.testing.small import make_workload, train
from fwprof_torch import plugin

VOCABULARY = 12
FROZEN = (
    layers.Dense(units=4, activation="tanh"),
    layers.Frozen(
        layers=(
            layers.BatchNorm(),
            layers.Residual(layers=(layers.LayerNorm(), layers.Attention(heads=2))),
            layers.Lstm(units=4, return_sequences=True),
            layers.Gru(units=4, return_sequences=True),
        )
    ),
    layers.BatchNorm(),
    layers.Dense(units=4, lora_rank=2),
    layers.AverageOverSequence(),
    layers.Dense(units=3),
)
ADAMW = layers.Adam(learning_rate=0.01, weight_decay=0.1)


@pytest.fixture
def frozen(build):
    def make(**changes):
        workload = make_workload(FROZEN, (5, 6), optimizer=ADAMW)
        model = build(workload, **changes)
        return workload, model, plugin.train_step(model=model)

    return make


def test_only_what_is_trained_moves_in_three_steps(frozen):
    workload, model, programs = frozen()
    losses = train(model, programs, workload.batches, 3)
    after = model.parameters()
    assert set(after) == set(workload.weights)
    kept = {name for name, value in after.items() if np.array_equal(value, workload.weights[name])}
    state = {name for layer in workload.layers for each in (layer, *layer.inner) for name in each.state}
    assert kept == state - {"5.moving_mean", "5.moving_variance"}
    assert {"1.moving_mean", "1.moving_variance", "2.1.query_kernel", "4.recurrent_bias", "6.kernel"} < kept
    model.predict(model.stage(workload.batches[0]))
    train(model, programs, workload.batches, 1)
    np.testing.assert_array_equal(model.parameters()["1.moving_mean"], workload.weights["1.moving_mean"])
    model.reset()
    assert train(model, programs, workload.batches, 3) == losses


def test_gradients_counts_and_the_optimizer_hold_what_is_trained(frozen):
    workload, model, programs = frozen()
    _, gradients = programs.read(programs.forward_backward(model.stage(workload.batches[0])))
    trained = {
        *("0.kernel", "0.bias", "5.gamma", "5.beta", "6.lora_a", "6.lora_b", "8.kernel", "8.bias"),
    }
    assert set(gradients) == trained
    assert model.describe().parameter_count == sum(workload.weights[name].size for name in trained)
    (group,) = model.optimizer.param_groups
    assert len(group["params"]) == len(trained)
    assert all(parameter.requires_grad for parameter in group["params"])


def test_a_frozen_lstm_needs_no_second_bias_to_be_kept_out(frozen):
    _, model, _ = frozen(is_verification=True)
    assert model.describe().verified_with == ("float64", "Adam's epsilon scaled to the canonical form")


def test_what_is_frozen_is_saved_loaded_and_reset_like_the_rest(frozen, tmp_path):
    workload, model, _ = frozen()
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
    programs.run(staged)
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
