"""What a step trains and what it leaves alone: parts, changing lengths, frozen layers, tied tables."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from fwprof.plugin import layers
from fwprof.testing import trained
from fwprof.testing.small import make_workload
from fwprof_jax import plugin

DENSE = (layers.Dense(units=5, activation="tanh"), layers.Dense(units=3))


@pytest.fixture
def built(build):
    def make(workload, **changes):
        model = build(workload, **changes)
        return model, plugin.train_step(model=model)

    return make


@pytest.fixture
def double(built):
    return lambda workload: built(workload, precision="float64")


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_parts_train_as_the_undivided_batch_does(double, loss):
    trained.check_parts(double, loss)


def test_each_part_moves_the_statistics_on_from_the_one_before(double):
    trained.check_statistics_of_parts(double)


def test_outputs_are_those_of_all_parts_of_however_many_samples(double):
    trained.check_outputs_of_parts(double)


def test_each_part_goes_on_with_the_random_state_of_the_one_before(built):
    specs = (layers.Dropout(rate=0.5), layers.Dense(units=3))
    workload = make_workload(specs, (4,), batch=6, accumulate=3)
    model, programs = built(workload)
    expected = model.state["key"]
    for _ in range(3):
        _, expected = jax.random.split(expected)
    programs.wait(programs.forward(model.stage(workload.batches[0])))
    assert np.array_equal(jax.random.key_data(model.state["key"]), jax.random.key_data(expected))


def test_a_staged_batch_holds_the_parts_in_order(built):
    workload = make_workload(DENSE, (4,), batch=6, accumulate=3)
    model, programs = built(workload)
    for batch, staged in [
        (workload.batches[1], model.stage(workload.batches[1])),
        (workload.batches[0], programs.next_batch()),
    ]:
        np.testing.assert_array_equal(staged[0], batch.inputs.reshape(3, 2, 4))
        np.testing.assert_array_equal(staged[1], batch.targets.reshape(3, 2))
        assert np.isfinite(programs.read(programs.run(staged))[0])
    assert model.describe().batch_size == 6


def test_a_step_keeps_what_one_part_needs_for_its_backward_pass(build):
    specs = (*(layers.Dense(units=64, activation="tanh"),) * 3, layers.Dense(units=3))
    whole, cut = (
        build(make_workload(specs, (4,), batch=4096, batches=1, accumulate=accumulate)).plan_memory()
        for accumulate in (1, 16)
    )
    assert cut < whole / 4


def test_each_length_has_the_loss_of_the_definitions(double):
    trained.check_lengths(double)


def test_the_pipeline_gives_each_batch_in_its_own_length(built):
    workload = trained.make_trimmed((9, 8, 7))
    trained.check_lengths_from_the_pipeline(workload, *built(workload))


def test_only_what_is_not_frozen_is_trained_and_all_of_it_comes_back(built, tmp_path):
    trained.check_frozen(built, tmp_path)


def test_the_optimizer_holds_what_is_trained(build):
    model = build(make_workload(trained.FROZEN, (5, 6), optimizer=trained.ADAMW, accumulate=2))
    count = model.describe().parameter_count
    # Adam keeps two numbers for each, and counts its steps.
    assert sum(leaf.size for leaf in jax.tree.leaves(model.optimizer_state)) == 2 * count + 1


def test_a_low_rank_layer_trains_its_thin_matrices(built, tmp_path):
    trained.check_low_rank(built, tmp_path)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
def test_a_tied_table_is_one_with_the_gradients_of_both_its_uses(built, is_frozen):
    trained.check_tied(built, is_frozen=is_frozen)
