"""What a step's memory is made of, against bytes counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import LoadedWorkload, layers
from fwprof.testing.small import make_workload
from fwprof_tensorflow import memory, plugin
from fwprof_tensorflow.places import Place

FEATURES, UNITS, CLASSES, BATCH = 30, 20, 6, 8
PARAMETERS = 4 * (FEATURES * UNITS + UNITS + UNITS * CLASSES + CLASSES)
NAMES = ("parameter_memory", "gradient_memory", "optimizer_memory")
COUNTERS = {"": 8 + 4, "graph": 2 * 4}
"""Keras's Adam counts steps in an int64 and keeps its learning rate; that of tensorflow 1 two powers of β."""


def perceptron(**changes):
    stack = (layers.Dense(units=UNITS, activation="relu"), layers.Dense(units=CLASSES))
    changes = {"batch": BATCH, "optimizer": layers.Adam(learning_rate=1e-3)} | changes
    return make_workload(stack, (FEATURES,), classes=CLASSES, **changes)


def read(model, batch):
    programs = plugin.train_step(model=model)
    staged = model.stage(batch)
    programs.wait(programs.run(staged))
    return programs.memory(staged)


@pytest.mark.parametrize("variant", [None, "eager", "xla", "graph"])
def test_categories_of_a_perceptron_are_those_counted_by_hand(build, variant):
    workload = perceptron()
    found = read(build(workload, variant=variant), workload.batches[0])
    counters = COUNTERS.get(variant or "", COUNTERS[""])
    assert [found[name].value for name in NAMES] == [PARAMETERS, PARAMETERS, 2 * PARAMETERS + counters]
    activations = found["activation_memory"]
    assert (
        activations.value is not None
        or "counts no small blocks" in activations.reason
        or ("not available" in activations.reason)
    )


def test_batch_statistics_are_counted_with_the_parameters(build):
    stack = (layers.Dense(units=UNITS), layers.BatchNorm(), layers.Dense(units=CLASSES))
    workload = make_workload(stack, (FEATURES,), classes=CLASSES, batch=8)
    found = read(build(workload), workload.batches[0])
    trained = PARAMETERS + 4 * 2 * UNITS
    assert found["parameter_memory"].value == trained + 4 * 2 * UNITS
    assert found["gradient_memory"].value == trained


def test_where_all_blocks_are_counted_passes_hold_what_they_need(build, monkeypatch):
    # Here every block is so large that the allocator of the host counts it, with oneDNN too.
    monkeypatch.setattr(memory, "counts_small_blocks", lambda place: True)
    units, batch = 512, 1024
    stack = (layers.Dense(units=units, activation="relu"), layers.Dense(units=units))
    workload = make_workload(stack, (units,), classes=units, batch=batch, batches=1)
    found = read(build(workload), workload.batches[0])["activation_memory"]
    if found.value is None:
        pytest.skip(found.reason)
    # The hidden layer and the logits are there when the backward pass begins.
    assert found.value >= 2 * 4 * batch * units - 2 * 4 * (units * units + units)
    assert "program G" in found.basis


def test_a_block_that_is_not_counted_is_noticed():
    try:
        is_counted = memory.counts_small_blocks(Place("CPU:0"))
    except ValueError as error:
        pytest.skip(str(error))
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    block = tf.random.uniform((memory.SMALL // 4,))
    grown = tf.config.experimental.get_memory_info("CPU:0")["current"] - before
    del block
    assert is_counted == (grown > 0)


def test_rows_that_a_gradient_lists_are_counted_with_their_numbers():
    rows = tf.IndexedSlices(tf.zeros((3, 4)), tf.constant([0, 1, 2], tf.int64), tf.constant([9, 4]))
    assert memory._size([rows, None, np.zeros(2, np.float32)]) == 3 * 4 * 4 + 3 * 8 + 2 * 4 + 2 * 4


def test_a_model_of_the_users_own_is_counted_too(build):
    kernel, bias = tf.Variable(tf.ones((FEATURES, CLASSES))), tf.Variable(tf.zeros(CLASSES))
    batch = (np.ones((BATCH, FEATURES), np.float32), np.zeros(BATCH, np.int64))
    native = {
        "model": lambda inputs: inputs @ kernel + bias,
        "variables": [kernel, bias],
        "loss": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "optimizer": tf.keras.optimizers.SGD(0.1, momentum=0.9),
        "batches": [batch],
    }
    found = read(build(LoadedWorkload(name="own", native=native, batches=[batch])), batch)
    size = 4 * (FEATURES * CLASSES + CLASSES)
    assert [found[name].value for name in NAMES] == [size, size, size + COUNTERS[""]]
