"""The plugin against fwprof's own conformance suite."""

from __future__ import annotations

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fwprof.testing.conformance.suites import FrameworkConformance

pytestmark = pytest.mark.usefixtures("module_environment")


@contextmanager
def change_matmul_precision():
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "bfloat16")
    try:
        yield "default_matmul_precision", "bfloat16"
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def make_native():
    random = np.random.default_rng(3)
    params = [
        {"kernel": random.normal(size=shape).astype(np.float32), "bias": np.zeros(shape[1], np.float32)}
        for shape in ((6, 8), (8, 3))
    ]

    def loss(params, batch):
        x, labels = batch
        first, last = params
        logits = jnp.tanh(x @ first["kernel"] + first["bias"]) @ last["kernel"] + last["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    batches = [(random.normal(size=(5, 6)).astype(np.float32), random.integers(0, 3, 5)) for _ in range(8)]
    return {"params": params, "loss": loss, "optimizer": optax.adam(1e-2), "batches": batches}


class TestJit(FrameworkConformance):
    plugin = "fwprof_jax.plugin"
    name = "jax"
    change_setting = staticmethod(change_matmul_precision)
    native = staticmethod(make_native)
