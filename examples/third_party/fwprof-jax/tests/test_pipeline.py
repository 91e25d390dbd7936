"""The pipeline of NumPy batches that threads make ahead."""

from __future__ import annotations

import threading

import jax
import numpy as np
import pytest

from fwprof.plugin import transforms
from fwprof.testing.small import write_samples
from fwprof_jax.pipeline import ThreadPipeline


def open_pipeline(data):
    return ThreadPipeline(data, lambda batch: (batch.inputs, batch.targets), jax.devices("cpu")[0])


def test_transforms_do_not_depend_on_who_makes_the_batch(tmp_path):
    steps = (transforms.RandomCrop(height=3, width=3), transforms.RandomFlip())
    epochs = []
    for workers in (0, 2):
        pipeline = open_pipeline(write_samples(tmp_path, workers=workers, transforms=steps))
        epochs.append([np.array(inputs) for inputs, _ in pipeline])
        pipeline.close()
    np.testing.assert_array_equal(epochs[0], epochs[1])


def test_threads_end_when_the_pipeline_is_closed(tmp_path):
    pipeline = open_pipeline(write_samples(tmp_path, count=400, workers=2))
    next(iter(pipeline))
    named = [thread for thread in threading.enumerate() if thread.name.startswith("fwprof-data")]
    assert named
    pipeline.close()
    assert not any(thread.is_alive() for thread in named)


def test_what_a_thread_raises_is_raised_where_the_batch_is_taken(tmp_path):
    pipeline = open_pipeline(write_samples(tmp_path, workers=1))
    pipeline._samples.batch = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(iter(pipeline))
    pipeline.close()
