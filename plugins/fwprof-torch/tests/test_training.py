"""What a step trains and what it leaves alone: parts, changing lengths, frozen layers, tied tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fwprof.plugin import layers
from fwprof.testing import trained
from fwprof.testing.small import make_workload
from fwprof_torch import plugin

DENSE = (layers.Dense(units=5, activation="tanh"), layers.Dense(units=3))


@pytest.fixture
def built(build):
    def make(workload, **changes):
        model = build(workload, **changes)
        return model, plugin.train_step(model=model)

    return make


@pytest.fixture
def double(built):
    return lambda workload: built(workload, double=True)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mean_squared_error"])
def test_parts_train_as_the_undivided_batch_does(double, loss):
    trained.check_parts(double, loss)


def test_each_part_moves_the_statistics_by_its_own(double):
    trained.check_statistics_of_parts(double)


def test_outputs_are_those_of_all_parts_of_however_many_samples(double):
    trained.check_outputs_of_parts(double, sizes=(6, 5, 1))


def test_split_adds_the_phases_of_the_parts_and_takes_the_step_of_a_run(built):
    workload = make_workload(DENSE, (4,), batch=6, accumulate=3)
    trained.check_split(workload, *built(workload))


def test_a_staged_batch_holds_the_parts_in_order(built):
    workload = make_workload(DENSE, (4,), batch=6, accumulate=3)
    model, programs = built(workload)
    for batch, staged in [
        (workload.batches[1], model.stage(workload.batches[1])),
        (workload.batches[0], programs.next_batch()),
    ]:
        assert [len(targets) for _, targets in staged] == [2, 2, 2]
        np.testing.assert_array_equal(torch.cat([inputs for inputs, _ in staged]), batch.inputs)
        np.testing.assert_array_equal(torch.cat([targets for _, targets in staged]), batch.targets)
        assert np.isfinite(programs.read(programs.run(staged))[0])
    assert model.describe().batch_size == 6


def test_forward_keeps_nothing_for_a_backward_pass_over_all_parts(built):
    workload = make_workload(DENSE, (4,), batch=6, accumulate=3)
    model, programs = built(workload)
    assert not programs.forward(model.stage(workload.batches[0])).requires_grad


def test_each_length_has_the_loss_of_the_definitions(double):
    trained.check_lengths(double)


def test_the_pipeline_gives_each_batch_in_its_own_length(built):
    workload = trained.make_trimmed((9, 8, 7))
    trained.check_lengths_from_the_pipeline(workload, *built(workload))


def test_only_what_is_not_frozen_is_trained_and_all_of_it_comes_back(built, tmp_path):
    trained.check_frozen(built, tmp_path)


def test_the_optimizer_holds_what_is_trained(build):
    model = build(make_workload(trained.FROZEN, (5, 6), optimizer=trained.ADAMW))
    (group,) = model.optimizer.param_groups
    assert len(group["params"]) == 8
    assert all(parameter.requires_grad for parameter in group["params"])


def test_a_frozen_lstm_needs_no_second_bias_to_be_kept_out(build):
    workload = make_workload(trained.FROZEN, (5, 6), optimizer=trained.ADAMW)
    model = build(workload, is_verification=True)
    assert model.describe().verified_with == ("float64", "Adam's epsilon scaled to the canonical form")


def test_a_low_rank_layer_trains_its_thin_matrices(built, tmp_path):
    trained.check_low_rank(built, tmp_path)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained", "frozen"])
def test_a_tied_table_is_one_with_the_gradients_of_both_its_uses(built, is_frozen):
    trained.check_tied(built, is_frozen=is_frozen)
