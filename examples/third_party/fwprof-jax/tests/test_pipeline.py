"""The pipeline of NumPy batches that threads make ahead."""

from __future__ import annotations

import threading

import jax
import numpy as np
import pytest

from fwprof.plugin import PipelineData, transforms
from fwprof_jax.pipeline import ThreadPipeline


@pytest.fixture
def make_data(tmp_path):
    def make(count=13, **asked):
        inputs = np.arange(count * 5 * 4 * 2, dtype=np.float32).reshape(count, 5, 4, 2)
        np.save(tmp_path / "inputs.npy", inputs)
        np.save(tmp_path / "targets.npy", np.arange(count))
        asked = transforms.Pipeline(**asked)
        return PipelineData(tmp_path / "inputs.npy", tmp_path / "targets.npy", 4, asked, seed=3), inputs

    return make


def open_pipeline(data):
    return ThreadPipeline(data, lambda batch: (batch.inputs, batch.targets), jax.devices("cpu")[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_gives_the_samples_in_order_as_arrays_of_jax(make_data, workers):
    data, images = make_data(shuffle=False, workers=workers)
    pipeline = open_pipeline(data)
    for _ in range(2):
        batches = list(pipeline)
        assert [targets.tolist() for _, targets in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        np.testing.assert_array_equal(batches[1][0], images[4:8])
        assert isinstance(batches[0][0], jax.Array)
    pipeline.close()


def test_transforms_do_not_depend_on_who_makes_the_batch(make_data):
    steps = (transforms.RandomCrop(height=3, width=3), transforms.RandomFlip())
    epochs = []
    for workers in (0, 2):
        pipeline = open_pipeline(make_data(workers=workers, transforms=steps)[0])
        epochs.append([np.array(inputs) for inputs, _ in pipeline])
        pipeline.close()
    np.testing.assert_array_equal(epochs[0], epochs[1])


def test_threads_end_when_the_pipeline_is_closed(make_data):
    pipeline = open_pipeline(make_data(count=400, workers=2)[0])
    next(iter(pipeline))
    named = [thread for thread in threading.enumerate() if thread.name.startswith("fwprof-data")]
    assert named
    pipeline.close()
    assert not any(thread.is_alive() for thread in named)


def test_what_a_thread_raises_is_raised_where_the_batch_is_taken(make_data):
    pipeline = open_pipeline(make_data(workers=1)[0])
    pipeline._samples.batch = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(iter(pipeline))
    pipeline.close()
