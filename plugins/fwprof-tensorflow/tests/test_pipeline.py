"""The tf.data pipeline beyond what conformance asks: what it makes ahead, and for whom."""

from __future__ import annotations

import numpy as np

from fwprof.plugin import transforms
from fwprof.testing.small import IMAGES, make_workload, write_samples


def open_pipeline(build, data, variant=None):
    return build(make_workload(*IMAGES), variant=variant).pipeline(data)


def test_a_static_graph_is_fed_arrays(build, tmp_path):
    pipeline = open_pipeline(build, write_samples(tmp_path, shuffle=False), "graph")
    feeds = list(pipeline)
    assert len(feeds) == 3
    assert all(isinstance(array, np.ndarray) for feed in feeds for array in feed.values())


def test_the_basis_says_what_is_made_ahead(build, tmp_path):
    steps = (transforms.RandomFlip(),)
    assert open_pipeline(build, write_samples(tmp_path)).basis == "tf.data, no prefetch"
    assert open_pipeline(build, write_samples(tmp_path, workers=2)).basis == "tf.data, prefetch 4"
    both = open_pipeline(build, write_samples(tmp_path, workers=2, prefetch=3, transforms=steps))
    assert both.basis == "tf.data, 2 calls of map, prefetch 3"
