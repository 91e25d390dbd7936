"""Layers alone: one into the next they are the model, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.testing.layered import chain_layers, images, words

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.mark.parametrize("make", [images, words])
def test_layers_one_into_the_next_give_what_the_model_gives(build, backend, make):
    loaded = make()
    model, _ = build(loaded)
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=1e-4, atol=1e-5)
    assert model.fused_by == {"torch": "", "jax": "XLA"}.get(backend, model.fused_by)
    assert bool(model.fused_by) == (backend != "torch")


def test_mixed_layers_take_what_flows_there(build, backend):
    loaded = words()
    model, _ = build(loaded, precision="bfloat16")
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=0.1, atol=0.05)
