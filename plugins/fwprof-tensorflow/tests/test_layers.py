"""Layers alone: one into the next they are the model, in every mode that has layers."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import UnsupportedError
from fwprof.testing.layered import chain_layers, images, words
from fwprof.testing.small import IMAGES, make_workload

pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.mark.parametrize("make", [images, words])
@pytest.mark.parametrize(("variant", "fused_by"), [("eager", ""), ("function", "grappler"), ("xla", "XLA")])
def test_layers_one_into_the_next_give_what_the_model_gives(build, make, variant, fused_by):
    loaded = make()
    model = build(loaded, variant=variant)
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=1e-4, atol=1e-5)
    assert model.fused_by == fused_by


def test_mixed_layers_take_what_flows_there(build):
    loaded = words()
    model = build(loaded, precision="bfloat16")
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=0.1, atol=0.05)


def test_a_static_graph_says_why_it_runs_no_layer_alone(build):
    loaded = make_workload(*IMAGES)
    model = build(loaded, variant="graph")
    with pytest.raises(UnsupportedError, match="tensorflow:graph cannot run layer 0 alone"):
        chain_layers(model, loaded)
