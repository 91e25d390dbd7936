"""What a step's memory is made of, against bytes counted by hand, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import LoadedWorkload, layers
from fwprof.testing.small import make_workload
from fwprof_keras import plugin

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

FEATURES, UNITS, CLASSES, BATCH = 30, 20, 6, 8
PARAMETERS = 4 * (FEATURES * UNITS + UNITS + UNITS * CLASSES + CLASSES)
NAMES = ("parameter_memory", "gradient_memory", "optimizer_memory")
COUNTERS = {"tensorflow": 8 + 4, "torch": 4 + 4, "jax": 4 + 4}
"""Keras counts steps in an integer, of 64 bits on tensorflow alone, and keeps the learning rate."""


def perceptron(**changes):
    stack = (layers.Dense(units=UNITS, activation="relu"), layers.Dense(units=CLASSES))
    changes = {"batch": BATCH, "optimizer": layers.Adam(learning_rate=1e-3)} | changes
    return make_workload(stack, (FEATURES,), classes=CLASSES, **changes)


def read(built, batch):
    model, programs = built
    staged = model.stage(batch)
    programs.wait(programs.run(staged))
    return programs.memory(staged)


def test_categories_of_a_perceptron_are_those_counted_by_hand(backend, build):
    workload = perceptron()
    found = read(build(workload), workload.batches[0])
    wanted = [PARAMETERS, PARAMETERS, 2 * PARAMETERS + COUNTERS[backend]]
    assert [found[name].value for name in NAMES] == wanted
    activations = found["activation_memory"]
    if backend == "tensorflow":
        assert activations.value is not None or activations.reason
    else:
        # At least the hidden layer, before or after its activation.
        assert activations.value >= 4 * BATCH * UNITS * (backend == "torch")
        assert activations.basis


def test_the_peak_of_a_step_holds_what_stays(backend, build):
    workload = perceptron()
    model, programs = build(workload)
    found = read((model, programs), workload.batches[0])
    meters = plugin.measure(model=model)
    assert len(meters) == (backend == "tensorflow")
    if not meters:
        assert found["tensor_peak"].value >= 3 * PARAMETERS + COUNTERS[backend]
        return
    (meter,) = meters
    meter.start()
    reading = meter.stop()["tensor_peak"]
    assert reading.value is not None or reading.reason
    assert "tensor_peak" not in found


def test_training_goes_on_after_asking(backend, build):
    workload = perceptron()
    model, programs = build(workload)
    staged = model.stage(workload.batches[0])
    wanted = [programs.read(programs.run(staged))[0] for _ in range(3)]
    model.reset()
    programs.memory(staged)
    model.reset()
    assert [programs.read(programs.run(staged))[0] for _ in range(3)] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("backend", ["jax"])
def test_a_step_that_is_not_compiled_has_no_plan(backend, build):
    workload = perceptron()
    found = read(build(workload, options={"mode": "eager"}), workload.batches[0])
    assert [found[name].value for name in NAMES[:2]] == [PARAMETERS, PARAMETERS]
    for name in ("activation_memory", "tensor_peak"):
        assert (found[name].value, "keeps no count" in found[name].reason) == (None, True)


def test_a_model_of_the_users_own_is_counted_too(backend, build, make_cell):
    plugin.prepare(plan=make_cell(variant=backend))
    import keras

    model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batch = (np.ones((BATCH, FEATURES), np.float32), np.zeros(BATCH, np.int64))
    native = {"model": model, "batches": [batch]}
    workload = LoadedWorkload(name="own", native=native, batches=[batch])
    found = read(build(workload), batch)
    size = 4 * (FEATURES * CLASSES + CLASSES)
    assert [found[name].value for name in NAMES] == [size, size, size + COUNTERS[backend]]
