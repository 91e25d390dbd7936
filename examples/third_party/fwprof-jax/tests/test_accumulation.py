"""Batches whose gradients are accumulated over parts: what they give, and how they are cut."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from fwprof.plugin import layers
from fwprof.testing.small import make_workload, train
from fwprof_jax import plugin

ADAM = layers.Adam(learning_rate=0.01, epsilon=1e-3)
DENSE = (layers.Dense(units=5, activation="tanh"), layers.Dense(units=3))
NORM = (layers.BatchNorm(momentum=0.8), layers.Dense(units=3))


@pytest.fixture
def accumulating(build):
    def make(accumulate, specs=DENSE, *, precision="float64", **changes):
        workload = make_workload(specs, (4,), batch=6, accumulate=accumulate, optimizer=ADAM, **changes)
        model = build(workload, precision=precision)
        return workload, model, plugin.train_step(model=model)

    return make


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_without_batch_norm_parts_train_as_the_undivided_batch_does(accumulating, loss):
    workload, whole, programs = accumulating(1, loss=loss)
    _, model, cut_programs = accumulating(3, loss=loss)
    staged, cut = whole.stage(workload.batches[0]), model.stage(workload.batches[0])
    expected, wanted = programs.read(programs.forward_backward(staged))
    assert cut_programs.read(cut_programs.forward(cut))[0] == pytest.approx(expected, rel=1e-12)
    found, gradients = cut_programs.read(cut_programs.forward_backward(cut))
    assert found == pytest.approx(expected, rel=1e-12)
    for name, value in wanted.items():
        np.testing.assert_allclose(gradients[name], value, rtol=1e-10, atol=1e-14, err_msg=name)
    losses = train(model, cut_programs, workload.batches)
    assert losses == pytest.approx(train(whole, programs, workload.batches), rel=1e-10)
    for name, value in whole.parameters().items():
        np.testing.assert_allclose(model.parameters()[name], value, rtol=1e-8, err_msg=name)


def test_each_part_moves_the_statistics_on_from_the_one_before(accumulating):
    workload, model, programs = accumulating(3, NORM)
    mean, variance = (workload.weights[f"0.moving_{key}"].astype(float) for key in ("mean", "variance"))
    for batch in workload.batches[:2]:
        programs.run(model.stage(batch))
        for part in np.split(batch.inputs.astype(float), 3):
            mean = 0.8 * mean + 0.2 * part.mean(axis=0)
            variance = 0.8 * variance + 0.2 * part.var(axis=0)
    np.testing.assert_allclose(model.parameters()["0.moving_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(model.parameters()["0.moving_variance"], variance, rtol=1e-9)


def test_each_part_goes_on_with_the_random_state_of_the_one_before(accumulating):
    workload, model, programs = accumulating(3, (layers.Dropout(rate=0.5), layers.Dense(units=3)))
    expected = model.state["key"]
    for _ in range(3):
        _, expected = jax.random.split(expected)
    programs.wait(programs.forward(model.stage(workload.batches[0])))
    assert np.array_equal(jax.random.key_data(model.state["key"]), jax.random.key_data(expected))


def test_a_staged_batch_holds_the_parts_in_order(accumulating):
    workload, model, programs = accumulating(3, precision="float32")
    for batch, staged in [
        (workload.batches[1], model.stage(workload.batches[1])),
        (workload.batches[0], programs.next_batch()),
    ]:
        np.testing.assert_array_equal(staged[0], batch.inputs.reshape(3, 2, 4))
        np.testing.assert_array_equal(staged[1], batch.targets.reshape(3, 2))
        assert np.isfinite(programs.read(programs.run(staged))[0])
    assert model.describe().batch_size == 6


@pytest.mark.parametrize("size", [6, 5])
def test_outputs_are_those_of_all_parts_of_however_many_samples(accumulating, size):
    workload, model, _ = accumulating(3)
    _, whole, _ = accumulating(1)
    batch = workload.batches[0]
    batch = dataclasses.replace(batch, inputs=batch.inputs[:size], targets=batch.targets[:size])
    found = model.predict(model.stage(batch))
    np.testing.assert_allclose(found, whole.predict(whole.stage(batch)), rtol=1e-12)


def test_a_step_keeps_what_one_part_needs_for_its_backward_pass(build):
    specs = (*(layers.Dense(units=64, activation="tanh"),) * 3, layers.Dense(units=3))
    whole, cut = (
        build(make_workload(specs, (4,), batch=4096, batches=1, accumulate=accumulate)).plan_memory()
        for accumulate in (1, 16)
    )
    assert cut < whole / 4
