"""Cells that are verified: canonical Adam, one bias, no dropout, all in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fwprof.plugin import UnsupportedError, layers
from fwprof.testing.checks import check_optimizer
from fwprof.testing.small import make_workload
from fwprof_torch import plugin
from fwprof_torch.modes import read_mode

TEXT = (layers.Embedding(vocabulary=9, units=4), layers.Lstm(units=5), layers.Dense(units=2))
DENSE = (layers.Dense(units=4), layers.Dropout(rate=0.5), layers.Dense(units=2))
ADAM = layers.Adam(learning_rate=0.01, epsilon=1e-3, weight_decay=0.1)


@pytest.fixture
def verified(build):
    def make(specs, shape, *, is_verification=True, optimizer=ADAM, **changes):
        workload = make_workload(
            specs, shape, classes=2, optimizer=optimizer, loss="binary_cross_entropy", **changes
        )
        model = build(workload, is_verification=is_verification)
        return workload, model, plugin.train_step(model=model)

    return make


def test_adam_takes_the_canonical_form(verified):
    check_optimizer(*verified(DENSE, (3,)), tolerance=1e-12)


def test_after_a_reset_epsilon_starts_over(verified):
    workload, model, programs = verified(DENSE, (3,))
    staged = [model.stage(batch) for batch in workload.batches[:3]]
    losses = [programs.read(programs.run(batch))[0] for batch in staged]
    model.reset()
    assert [programs.read(programs.run(batch))[0] for batch in staged] == losses


def test_the_second_bias_of_an_lstm_stays_zero_where_it_is_verified(verified):
    workload, model, programs = verified(TEXT, (6,), vocabulary=9)
    programs.run(model.stage(workload.batches[0]))
    assert not model.module[1].recurrent.bias_hh_l0.any()
    assert np.any(model.parameters()["1.bias"] != workload.weights["1.bias"])


def test_timed_both_biases_are_trained_and_read_as_one(verified):
    workload, model, programs = verified(
        TEXT, (6,), is_verification=False, optimizer=layers.Sgd(learning_rate=0.1), vocabulary=9
    )
    staged = model.stage(workload.batches[0])
    _, gradients = programs.read(programs.forward_backward(staged))
    programs.run(staged)
    assert model.module[1].recurrent.bias_hh_l0.any()
    # Each of the two takes the step that one would.
    expected = workload.weights["1.bias"] - 2 * 0.1 * gradients["1.bias"]
    np.testing.assert_allclose(model.parameters()["1.bias"], expected, rtol=1e-5, atol=1e-6)
    assert model.describe().parameter_count == 9 * 4 + 4 * 20 + 5 * 20 + 20 + 5 * 2 + 2
    model.reset()
    assert not model.module[1].recurrent.bias_hh_l0.any()


def test_everything_is_float64_and_said_to_be(verified):
    _, model, programs = verified(DENSE, (3,))
    outputs = model.predict(programs.next_batch())
    assert outputs.dtype == np.float64
    assert {value.dtype for value in model.parameters().values()} == {np.dtype(np.float64)}
    assert model.settings()["parameter_dtype"] == "float64"
    assert model.describe().verified_with == (
        "float64",
        "no dropout",
        "Adam's epsilon scaled to the canonical form",
    )


def test_nothing_is_changed_that_is_not_there(verified):
    _, model, _ = verified(TEXT, (6,), optimizer=layers.Sgd(learning_rate=0.1), vocabulary=9)
    assert model.describe().verified_with == ("float64", "one bias in the LSTM")


def test_what_is_verified_in_its_own_precision_says_nothing_of_it(options):
    made = options(is_verification=True)
    workload = make_workload(DENSE, (3,), classes=2)
    model = plugin.build_model(workload=workload, device=made.cell.device, options=made)
    assert model.settings()["parameter_dtype"] == "float32"
    assert model.describe().verified_with == ("no dropout",)


def test_a_timed_cell_is_as_a_user_writes_it(verified):
    _, model, _ = verified(DENSE, (3,), is_verification=False)
    assert model.describe().verified_with == ()
    assert [part.p for part in model.module.modules() if isinstance(part, torch.nn.Dropout)] == [0.5]
    assert model.update == model.optimizer.step


def test_float64_is_for_verification_alone(make_cell):
    with pytest.raises(UnsupportedError, match="torch cannot train in float64 here"):
        read_mode(make_cell(precision="float64"))
    assert read_mode(make_cell(precision="float64", is_verification=True)).name == "eager"
