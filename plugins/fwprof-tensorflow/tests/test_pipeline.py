"""The tf.data pipeline: samples, transforms and what it makes ahead."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import PipelineData, layers, resize, transforms
from fwprof.testing.small import make_workload
from fwprof_tensorflow.pipeline import transform


@pytest.fixture
def make_data(tmp_path):
    def make(count=13, **asked):
        inputs = np.arange(count * 5 * 4 * 2, dtype=np.float32).reshape(count, 5, 4, 2)
        np.save(tmp_path / "inputs.npy", inputs)
        np.save(tmp_path / "targets.npy", np.arange(count))
        data = PipelineData(
            tmp_path / "inputs.npy", tmp_path / "targets.npy", 4, transforms.Pipeline(**asked), seed=3
        )
        return data, inputs

    return make


def open_pipeline(build, data, variant=None):
    workload = make_workload((layers.Flatten(), layers.Dense(units=3)), (5, 4, 2))
    return build(workload, variant=variant).pipeline(data)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_gives_the_samples_in_order(build, make_data, workers):
    data, images = make_data(shuffle=False, workers=workers)
    pipeline = open_pipeline(build, data)
    for _ in range(2):
        batches = list(pipeline)
        assert [list(targets) for _, targets in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        np.testing.assert_array_equal(batches[1][0], images[4:8])


def test_a_static_graph_is_fed_arrays(build, make_data):
    pipeline = open_pipeline(build, make_data(shuffle=False)[0], "graph")
    feeds = list(pipeline)
    assert len(feeds) == 3
    assert all(isinstance(array, np.ndarray) for feed in feeds for array in feed.values())


def test_the_basis_says_what_is_made_ahead(build, make_data):
    steps = (transforms.RandomFlip(),)
    assert open_pipeline(build, make_data()[0]).basis == "tf.data, no prefetch"
    assert open_pipeline(build, make_data(workers=2)[0]).basis == "tf.data, prefetch 4"
    both = open_pipeline(build, make_data(workers=2, prefetch=3, transforms=steps)[0])
    assert both.basis == "tf.data, 2 calls of map, prefetch 3"


def test_resize_is_the_defined_one():
    image = np.random.default_rng(0).normal(size=(7, 9, 3)).astype(np.float32)
    for height, width in ((14, 18), (3, 4), (10, 5)):
        found = transform(tf.constant(image), [transforms.Resize(height=height, width=width)]).numpy()
        np.testing.assert_allclose(found, resize(image, height, width), atol=1e-5)


def test_crop_and_flip_only_move_pixels():
    image = np.arange(5 * 4, dtype=np.float32).reshape(5, 4, 1)
    steps = [transforms.RandomCrop(height=3, width=3), transforms.RandomFlip()]
    made = [transform(tf.constant(image), steps).numpy() for _ in range(60)]
    parts = [image[top : top + 3, left : left + 3] for top in range(3) for left in range(2)]
    known = [part[:, ::-1] if flipped else part for part in parts for flipped in (False, True)]
    found = {next(at for at, part in enumerate(known) if np.array_equal(part, one)) for one in made}
    assert len(found) > 6
