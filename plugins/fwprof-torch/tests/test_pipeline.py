"""The DataLoader pipeline beyond what conformance asks: its workers, and one of them that is killed."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys

import pytest
import torch

from fwprof.testing.small import IMAGES, make_workload, write_samples


@pytest.fixture
def open_pipeline(build):
    """Open the pipeline of a small model of images, and close it at the end."""
    opened = []

    def make(data):
        model = build(make_workload(*IMAGES))
        opened.append(model.pipeline(data))
        return opened[-1]

    yield make
    for pipeline in opened:
        pipeline.close()


def test_the_basis_says_what_is_in_force(open_pipeline, tmp_path):
    assert open_pipeline(write_samples(tmp_path)).basis == "DataLoader, no workers"
    method = multiprocessing.get_start_method()
    assert open_pipeline(write_samples(tmp_path, workers=1)).basis == f"DataLoader, 1 worker ({method})"


def test_a_loader_leaves_the_stream_that_dropout_draws_from(open_pipeline, tmp_path):
    before = torch.get_rng_state()
    list(open_pipeline(write_samples(tmp_path)))
    assert torch.equal(torch.get_rng_state(), before)


def test_closing_ends_the_workers(open_pipeline, tmp_path):
    pipeline = open_pipeline(write_samples(tmp_path, workers=2))
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


def test_a_worker_that_is_killed_is_named(tmp_path):
    # In a process of its own: torch raises from a signal handler, wherever that finds the main thread.
    write_samples(tmp_path, count=400)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert re.search(rf"RuntimeError: DataLoader worker \(pid.*{done.stdout.strip()}.*\)", done.stderr)
