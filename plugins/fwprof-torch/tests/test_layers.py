"""Layers alone: one into the next they are the model; compiled, each has code of its own."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.testing.layered import chain_layers, images, words
from fwprof_torch import plugin

pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.mark.parametrize("make", [images, words])
def test_layers_one_into_the_next_give_what_the_model_gives(build, make):
    loaded = make()
    model = build(loaded)
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=1e-4, atol=1e-5)
    assert model.fused_by == ""


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_layers_take_what_flows_there(options, precision):
    loaded, made = words(), options(precision=precision)
    model = plugin.build_model(workload=loaded, device=made.cell.device, options=made)
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=0.1, atol=0.05)
