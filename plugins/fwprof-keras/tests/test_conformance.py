"""The plugin against fwprof's own conformance suite, on each backend."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from fwprof.testing.conformance.suites import FrameworkConformance

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@contextmanager
def change_layout():
    import keras

    before = keras.config.image_data_format()
    changed = "channels_first" if before == "channels_last" else "channels_last"
    keras.config.set_image_data_format(changed)
    try:
        yield "layout", changed
    finally:
        keras.config.set_image_data_format(before)


@contextmanager
def change_tf32():
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(not before)
    try:
        yield "tf32", not before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def change_matmul_precision():
    import jax

    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "high")
    try:
        yield "matmul_precision", "high"
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def make_native():
    import keras

    random = np.random.default_rng(3)
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return {
        "model": model,
        "batches": [
            (random.normal(size=(5, 6)).astype(np.float32), random.integers(0, 3, 5)) for _ in range(8)
        ],
    }


class TestTensorflow(FrameworkConformance):
    plugin = "fwprof_keras.plugin"
    name = "keras"
    variant = "tensorflow"
    change_setting = staticmethod(change_tf32)
    native = staticmethod(make_native)


class TestTensorflowJit(FrameworkConformance):
    plugin = "fwprof_keras.plugin"
    name = "keras"
    variant = "tensorflow"
    options = {"jit": "true"}
    reuse = True
    follows_threads = False  # shown once for each backend: a process takes seconds to start
    change_setting = staticmethod(change_tf32)
    native = staticmethod(make_native)


class TestTensorflowEager(FrameworkConformance):
    plugin = "fwprof_keras.plugin"
    name = "keras"
    variant = "tensorflow"
    options = {"mode": "eager"}
    reuse = True
    follows_threads = False
    change_setting = staticmethod(change_tf32)
    native = staticmethod(make_native)


class TestTorch(FrameworkConformance):
    plugin = "fwprof_keras.plugin"
    name = "keras"
    variant = "torch"
    change_setting = staticmethod(change_layout)
    native = staticmethod(make_native)


class TestJax(FrameworkConformance):
    plugin = "fwprof_keras.plugin"
    name = "keras"
    variant = "jax"
    reuse = True
    change_setting = staticmethod(change_matmul_precision)
    native = staticmethod(make_native)


class TestJaxFunctional(FrameworkConformance):
    plugin = "fwprof_keras.plugin"
    name = "keras"
    variant = "jax"
    options = {"model": "functional"}
    reuse = True
    follows_threads = False
    change_setting = staticmethod(change_matmul_precision)
    native = staticmethod(make_native)
