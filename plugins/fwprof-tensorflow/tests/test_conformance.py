"""The plugin against fwprof's own conformance suite, in its four modes."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from fwprof.testing.conformance.suites import FrameworkConformance

pytestmark = [
    pytest.mark.usefixtures("module_environment"),
    # Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


@contextmanager
def change_tf32():
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(not before)
    try:
        yield "tf32", not before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def make_native():
    tf.keras.utils.set_random_seed(3)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [tf.keras.Input((6,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(3)]
    )
    random = np.random.default_rng(3)
    return {
        "model": model,
        "variables": model.trainable_variables,
        "optimizer": tf.keras.optimizers.Adam(),
        "loss": tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "batches": [
            (random.normal(size=(5, 6)).astype(np.float32), random.integers(0, 3, 5)) for _ in range(8)
        ],
    }


class TestFunction(FrameworkConformance):
    plugin = "fwprof_tensorflow.plugin"
    name = "tensorflow"
    change_setting = staticmethod(change_tf32)
    native = staticmethod(make_native)


class TestEager(FrameworkConformance):
    plugin = "fwprof_tensorflow.plugin"
    name = "tensorflow"
    variant = "eager"
    follows_threads = False  # shown once, in TestFunction: each process takes five seconds to start
    change_setting = staticmethod(change_tf32)
    native = staticmethod(make_native)


class TestXla(FrameworkConformance):
    plugin = "fwprof_tensorflow.plugin"
    name = "tensorflow"
    variant = "xla"
    reuse = True
    follows_threads = False
    change_setting = staticmethod(change_tf32)
    native = staticmethod(make_native)


class TestGraph(FrameworkConformance):
    plugin = "fwprof_tensorflow.plugin"
    name = "tensorflow"
    variant = "graph"
    follows_threads = False
    change_setting = staticmethod(change_tf32)
