"""What a step's memory is made of, against bytes counted by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fwprof.plugin import LoadedWorkload, layers
from fwprof.testing.small import make_workload
from fwprof_jax import plugin

FEATURES, UNITS, CLASSES, BATCH = 30, 20, 6, 512
PARAMETERS = 4 * (FEATURES * UNITS + UNITS + UNITS * CLASSES + CLASSES)
COUNTER = 4
"""optax's Adam counts steps once, in an int32."""
NAMES = ("parameter_memory", "gradient_memory", "optimizer_memory")


def perceptron(**changes):
    stack = (layers.Dense(units=UNITS, activation="relu"), layers.Dense(units=CLASSES))
    changes = {"batch": BATCH, "batches": 1, "optimizer": layers.Adam(learning_rate=1e-3)} | changes
    return make_workload(stack, (FEATURES,), classes=CLASSES, **changes)


def read(model, batch):
    programs = plugin.train_step(model=model)
    staged = model.stage(batch)
    programs.wait(programs.run(staged))
    return programs.memory(staged)


def test_categories_of_a_perceptron_are_those_counted_by_hand(build):
    workload = perceptron()
    found = read(build(workload), workload.batches[0])
    assert [found[name].value for name in NAMES] == [PARAMETERS, PARAMETERS, 2 * PARAMETERS + COUNTER]
    # XLA may keep the hidden layer before or after its activation, or both; it needs one of them.
    assert found["activation_memory"].value >= 4 * BATCH * UNITS
    assert "XLA's plan" in found["activation_memory"].basis


def test_the_peak_of_a_step_holds_what_goes_into_it(build):
    workload = perceptron()
    batch = workload.batches[0]
    found = read(build(workload), batch)
    assert found["tensor_peak"].value >= 3 * PARAMETERS + COUNTER + batch.inputs.nbytes


def test_passes_over_a_larger_batch_hold_more(build):
    one, two = (
        read(build(workload), workload.batches[0])["activation_memory"].value
        for workload in (perceptron(), perceptron(batch=2 * BATCH))
    )
    assert two - one >= 4 * BATCH * UNITS


def test_without_jit_there_is_no_plan_and_the_reason_says_so(build):
    workload = perceptron(batch=4)
    jax.config.update("jax_disable_jit", True)
    try:
        found = read(build(workload), workload.batches[0])
    finally:
        jax.config.update("jax_disable_jit", False)
    assert found["parameter_memory"].value == PARAMETERS
    for name in ("activation_memory", "tensor_peak"):
        assert (found[name].value, "jit is disabled" in found[name].reason) == (None, True)


@pytest.mark.parametrize("statistics", [2])
def test_batch_statistics_are_counted_with_the_parameters(build, statistics):
    stack = (layers.Dense(units=UNITS), layers.BatchNorm(), layers.Dense(units=CLASSES))
    workload = make_workload(stack, (FEATURES,), classes=CLASSES, batch=8)
    found = read(build(workload), workload.batches[0])
    trained = PARAMETERS + 4 * 2 * UNITS
    assert found["parameter_memory"].value == trained + 4 * statistics * UNITS
    assert found["gradient_memory"].value == trained


def test_a_model_of_the_users_own_is_counted_too(build):
    params = {"kernel": jnp.ones((FEATURES, CLASSES)), "bias": jnp.zeros(CLASSES)}
    batch = np.ones((8, FEATURES), np.float32)
    native = {
        "params": params,
        "loss": lambda params, batch: jnp.mean((batch @ params["kernel"] + params["bias"]) ** 2),
        "optimizer": optax.sgd(0.1, momentum=0.9),
        "batches": [batch],
    }
    found = read(build(LoadedWorkload(name="own", native=native, batches=[batch])), batch)
    assert [found[name].value for name in NAMES] == [4 * (FEATURES * CLASSES + CLASSES)] * 3
