"""What a step trains and what it leaves alone: parts, changing lengths, frozen layers, tied tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import Batch, UnsupportedError, layers
from fwprof.testing import trained
from fwprof.testing.checks import LAYER_CASES, OPTIMIZERS, check_network, check_optimizer
from fwprof.testing.small import make_workload, train
from fwprof_tensorflow import plugin

LENGTHS = (7, 5, 6, 5, 7, 6, 4, 4)


@pytest.fixture
def built(build):
    def make(workload, **changes):
        model = build(workload, **changes)
        return model, plugin.train_step(model=model)

    return make


@pytest.mark.parametrize("variant", ["function", "eager", "xla"])
def test_parts_train_as_the_undivided_batch_does(built, variant):
    trained.check_parts(lambda workload: built(workload, verified=True, variant=variant))


def test_each_part_moves_the_statistics_on_from_the_one_before(built):
    trained.check_statistics_of_parts(lambda workload: built(workload, verified=True))


def test_outputs_are_those_of_all_parts_of_however_many_samples(built):
    trained.check_outputs_of_parts(lambda workload: built(workload, verified=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_once_for_all_parts(built, name):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name], accumulate=2)
    check_optimizer(workload, *built(workload, verified=True), tolerance=1e-9)


def test_an_eager_step_in_parts_is_split_into_its_phases(built):
    workload = LAYER_CASES["gradients accumulated"]()
    trained.check_split(workload, *built(workload, variant="eager"))


@pytest.mark.parametrize(("variant", "traces"), [("function", 1), ("xla", len(set(LENGTHS))), ("eager", 0)])
def test_one_trace_serves_every_length_and_xla_compiles_each(built, variant, traces):
    workload = trained.make_trimmed(LENGTHS, accumulate=2)
    model, programs = built(workload, variant=variant)
    losses = train(model, programs, workload.batches, len(LENGTHS))
    assert np.isfinite(losses).all()
    assert model.compilations() == traces
    before = model.parameters()
    again = train(model, programs, workload.batches, len(LENGTHS))
    assert model.compilations() == traces
    assert again != losses
    assert np.any(model.parameters()["2.kernel"] != before["2.kernel"])


def test_each_length_has_the_loss_of_the_definitions(built):
    trained.check_lengths(lambda workload: built(workload, verified=True))


def test_the_pipeline_gives_each_batch_in_its_own_length(built):
    workload = trained.make_trimmed(LENGTHS)
    trained.check_lengths_from_the_pipeline(workload, *built(workload))


def test_only_what_is_not_frozen_is_trained_and_all_of_it_comes_back(built, tmp_path):
    trained.check_frozen(built, tmp_path)


def test_a_low_rank_layer_trains_its_thin_matrices(built, tmp_path):
    trained.check_low_rank(built, tmp_path)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
def test_a_tied_table_is_one_with_the_gradients_of_both_its_uses(built, is_frozen):
    trained.check_tied(built, is_frozen=is_frozen)


@pytest.mark.parametrize("variant", ["function", "xla"])
def test_a_tied_table_is_right_where_ids_of_the_batch_repeat(built, variant):
    workload = LAYER_CASES["the next id, by a tied table"]()
    batches = tuple(Batch(batch.inputs % 4, batch.targets) for batch in workload.batches)
    workload = dataclasses.replace(workload, batches=batches)
    check_network(workload, *built(workload, verified=True, variant=variant))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_trains_a_tied_table(built, name):
    workload = LAYER_CASES["the next id, by a tied table"](optimizer=OPTIMIZERS[name])
    check_optimizer(workload, *built(workload, verified=True), tolerance=1e-9)


def test_a_gru_is_saved_and_restored_with_both_biases(built, tmp_path):
    workload = LAYER_CASES["gru"]()
    model, programs = built(workload)
    train(model, programs, workload.batches, 2)
    saved = model.parameters()
    model.save(tmp_path / "state")
    train(model, programs, workload.batches, 2)
    model.restore(tmp_path / "state")
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, saved[name], err_msg=name)
        assert np.any(value != workload.weights[name]), name


def test_an_older_keras_that_shares_no_table_is_named(build, monkeypatch):
    monkeypatch.delattr(tf.keras.layers, "ReversibleEmbedding")
    with pytest.raises(UnsupportedError, match="tensorflow cannot share the table of layer 0") as raised:
        build(LAYER_CASES["the next id, by a tied table"]())
    assert "has no ReversibleEmbedding" in str(raised.value.cause)
