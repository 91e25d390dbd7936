"""Layers by their definitions in float64, and what keras does its own way, on every backend."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers
from fwprof.testing.checks import LAYER_CASES, STATISTICS_CASES, check_network, check_statistics
from fwprof.testing.small import make_workload

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_network_is_the_one_of_the_definitions(verified, name):
    workload = LAYER_CASES[name]()
    check_network(workload, *verified(workload))


@pytest.mark.parametrize("name", STATISTICS_CASES)
def test_moving_statistics_follow_the_biased_batch_statistics(verified, name):
    workload = STATISTICS_CASES[name]()
    check_statistics(workload, *verified(workload))


def test_a_functional_model_computes_what_a_sequential_one_does(build):
    workload = LAYER_CASES["convolution, maximum and dropout"]()
    outputs = []
    for kind in ("sequential", "functional"):
        model, _ = build(workload, options={"model": kind})
        assert model.settings()["model"] == kind
        outputs.append(model.predict(model.stage(workload.batches[0])))
    np.testing.assert_allclose(*outputs, rtol=1e-6)


def test_a_layer_that_keras_lacks_is_refused_by_name(build):
    class Hologram(layers.LayerBase, frozen=True, kw_only=True, tag="hologram"):
        """A layer that no framework has."""

    workload = make_workload((layers.Dense(units=3),), (4,))
    unknown = ResolvedLayer(path="h", layer=Hologram(), input_shape=(4,), output_shape=(4,), parameters={})
    with pytest.raises(UnsupportedError, match=r"keras has no layer for layer h \(Hologram\)"):
        build(dataclasses.replace(workload, layers=(unknown, *workload.layers)))
