"""Layers alone: one into the next they are the network."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.testing.layered import chain_layers, images, words


@pytest.mark.parametrize("make", [images, words])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_layers_one_into_the_next_give_what_the_network_gives(build, make, precision):
    loaded = make()
    model = build(loaded, precision=precision)
    outputs = model.predict(model.stage(loaded.batches[0]))
    wide, close = (1e-4, 1e-5) if precision == "float32" else (0.1, 0.05)
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=wide, atol=close)
    assert model.fused_by == "XLA"
