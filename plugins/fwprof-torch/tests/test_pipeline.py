"""The DataLoader pipeline: samples, transforms, workers, and what becomes of one that is killed."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from fwprof.plugin import PipelineData, layers, resize, transforms
from fwprof.testing.small import make_workload
from fwprof_torch.epochs import transform


@pytest.fixture
def make_data(tmp_path):
    """Write images that count up, in two channels, with their numbers as labels."""

    def make(count=13, **asked):
        inputs = np.arange(count * 5 * 4 * 2, dtype=np.float32).reshape(count, 5, 4, 2)
        np.save(tmp_path / "inputs.npy", inputs)
        np.save(tmp_path / "targets.npy", np.arange(count))
        data = PipelineData(
            tmp_path / "inputs.npy", tmp_path / "targets.npy", 4, transforms.Pipeline(**asked), seed=3
        )
        return data, inputs

    return make


@pytest.fixture
def open_pipeline(build):
    """Open the pipeline of a small model of images, and close it at the end."""
    opened = []

    def make(data):
        model = build(make_workload((layers.Flatten(), layers.Dense(units=3)), (5, 4, 2)))
        opened.append(model.pipeline(data))
        return opened[-1]

    yield make
    for pipeline in opened:
        pipeline.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_gives_the_samples_in_order(open_pipeline, make_data, workers):
    data, images = make_data(shuffle=False, workers=workers)
    pipeline = open_pipeline(data)
    for _ in range(2):
        batches = list(pipeline)
        assert [targets.tolist() for _, targets in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        np.testing.assert_array_equal(batches[1][0].numpy(), images[4:8].transpose(0, 3, 1, 2))
    count = len(multiprocessing.active_children())
    assert count == workers


def test_the_basis_says_what_is_in_force(open_pipeline, make_data):
    assert open_pipeline(make_data()[0]).basis == "DataLoader, no workers"
    method = multiprocessing.get_start_method()
    assert open_pipeline(make_data(workers=1)[0]).basis == f"DataLoader, 1 worker ({method})"


def test_a_loader_leaves_the_stream_that_dropout_draws_from(open_pipeline, make_data):
    before = torch.get_rng_state()
    list(open_pipeline(make_data()[0]))
    assert torch.equal(torch.get_rng_state(), before)


def test_closing_ends_the_workers(open_pipeline, make_data):
    pipeline = open_pipeline(make_data(workers=2)[0])
    next(iter(pipeline))
    assert len(multiprocessing.active_children()) == 2
    pipeline.close()
    assert multiprocessing.active_children() == []


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
import torch
from fwprof.plugin import PipelineData, transforms
from fwprof_torch.epochs import LoaderPipeline

folder = Path(sys.argv[1])
asked = transforms.Pipeline(workers=1, prefetch=1)
data = PipelineData(folder / "inputs.npy", folder / "targets.npy", 4, asked)
batches = iter(LoaderPipeline(data, torch.float32, is_pinned=False, send=lambda *pair: pair))
next(batches)
(worker,) = multiprocessing.active_children()
print(worker.pid, flush=True)
os.kill(worker.pid, signal.SIGKILL)
list(batches)
"""


def test_a_worker_that_is_killed_is_named(make_data, tmp_path):
    # In a process of its own: torch raises from a signal handler, wherever that finds the main thread.
    make_data(count=400)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert re.search(rf"RuntimeError: DataLoader worker \(pid.*{done.stdout.strip()}.*\)", done.stderr)


def test_resize_is_the_defined_one():
    image = np.random.default_rng(0).normal(size=(7, 9, 3)).astype(np.float32)
    for height, width in ((14, 18), (3, 4), (10, 5)):
        step = transforms.Resize(height=height, width=width)
        found = transform(torch.tensor(image).permute(2, 0, 1), [step]).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, resize(image, height, width), atol=1e-5)


def test_crop_and_flip_only_move_pixels():
    image = torch.arange(5 * 4, dtype=torch.float32).reshape(1, 5, 4)
    made = [
        transform(image, [transforms.RandomCrop(height=3, width=3), transforms.RandomFlip()])[0]
        for _ in range(60)
    ]
    parts = [image[0, top : top + 3, left : left + 3] for top in range(3) for left in range(2)]
    known = [part.flip(1) if flipped else part for part in parts for flipped in (False, True)]
    found = {next(number for number, part in enumerate(known) if torch.equal(part, one)) for one in made}
    assert len(found) > 6
