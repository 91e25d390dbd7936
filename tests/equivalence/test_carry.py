"""Canonical weights carry what one framework trained into every other: the same outputs there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from fwprof.testing.installed import FAKES, installed

IMAGES = """
name: images
input: {shape: [8, 8, 3]}
layers:
  - {kind: conv2d, filters: 4, size: 3, activation: relu}
  - {kind: max_pool2d, size: 2}
  - {kind: flatten}
  - {kind: dense, units: 16}
  - {kind: batch_norm}
  - {kind: dropout, rate: 0.5}
  - {kind: dense, units: 5}
classes: 5
optimizer: {kind: adam, learning_rate: 1e-2}
data: {source: synthetic, samples: 320}
"""
TEXT = """
name: text
input: {shape: [6], dtype: int64}
layers:
  - {kind: embedding, vocabulary: 30, units: 8}
  - {kind: position_embedding}
  - kind: residual
    layers: [{kind: attention, heads: 2}]
  - {kind: layer_norm}
  - {kind: lstm, units: 5, return_sequences: true}
  - {kind: average_over_sequence}
  - {kind: dense, units: 3}
classes: 3
optimizer: {kind: adam, learning_rate: 1e-2}
data: {source: synthetic, samples: 320}
"""
FRAMEWORKS = ("torch", "tensorflow", "keras:tensorflow", "keras:jax", "keras:torch", "jax")
TOLERANCE = 1e-4
"""Of float32, relative to the largest output, as the conformance suite takes it."""


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FWPROF_")}
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=kept | {"XDG_STATE_HOME": str(cwd / "state"), "COLUMNS": "140"},
        timeout=900,
        check=False,
    )


def train(folder: Path, framework: str, *names: str) -> subprocess.CompletedProcess[str]:
    return run(
        "-m", "fwprof.cli.main", "profile", *(f"{name}.yaml" for name in names), "--plugin", framework,
        "--epochs", "2", "--save-weights", "--rounds", "1", "--max-seconds", "1", "--no-memory", "-q",
        cwd=folder,
    )  # fmt: skip


def entry_point(framework: str) -> str | None:
    found = entry_points(group="fwprof.frameworks", name=framework.partition(":")[0])
    return next((one.value for one in found), None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both workloads, each starting from what torch trained."""
    if entry_point("torch") is None:
        pytest.skip("fwprof-torch is not installed: nothing trains what is carried")
    folder = tmp_path_factory.mktemp("trained")
    for name, text in (("images", IMAGES), ("text", TEXT)):
        (folder / f"{name}.yaml").write_text(text)
    done = train(folder, "torch", "images", "text")
    assert done.returncode == 0, done.stderr
    carried = folder / "carried"
    carried.mkdir()
    for name, text in (("images", IMAGES), ("text", TEXT)):
        (weights,) = folder.glob(f"fwprof-runs/*/cells/{name}.*/trained.npz")
        (carried / f"{name}.yaml").write_text(f"{text}weights: {weights}\n")
    return carried


@pytest.mark.sweep
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_torch_trained_predicts_the_same_elsewhere(trained: Path, framework: str) -> None:
    reference = trained / "images-torch" / "outputs.npy"
    for name in dict.fromkeys(("torch", framework)):
        if name == "torch" and reference.exists():
            continue
        value = entry_point(name)
        if value is None:
            pytest.skip(f"fwprof-{name.partition(':')[0]} is not installed")
        done = run(str(Path(__file__).with_name("carried.py")), name, value, str(trained), cwd=trained)
        assert done.returncode == 0, done.stderr
    for workload in ("images", "text"):
        wanted = np.load(trained / f"{workload}-torch" / "outputs.npy")
        found = np.load(trained / f"{workload}-{framework.replace(':', '-')}" / "outputs.npy")
        assert wanted.std() > 1e-3, "outputs that are all alike would hide a difference"
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE * np.abs(wanted).max(), rtol=0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "small.yaml").write_text(
        IMAGES.replace("name: images", "name: small").replace(
            "  - {kind: conv2d, filters: 4, size: 3, activation: relu}\n  - {kind: max_pool2d, size: 2}\n", ""
        )
    )
    with installed(tmp_path / "plugins", FAKES):
        yield tmp_path


def test_training_starts_where_the_weights_file_ends(place: Path) -> None:
    """Ten steps after it the weights are near those of the file, and not near those of the seed."""
    from fwprof import api, workloads
    from fwprof.workloads.weights import read_weights

    assert train(place, "fake", "small").returncode == 0
    result = api.load("last", str(place / "fwprof-runs"))
    (cell,) = result.cells
    assert cell.weights is not None
    path = place / "fwprof-runs" / result.plan.run_id / cell.weights.path
    assert path.stat().st_size == cell.weights.size_bytes
    assert cell.weights.trained == "2 epochs"
    done = run(
        "-m", "fwprof.cli.main", "profile", "small.yaml", "--plugin", "fake", "--set", f"weights={path}",
        "--checkpoints", "--save-weights", "--rounds", "1", "--max-seconds", "1", "--no-memory", "-q",
        cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = api.load("last", str(place / "fwprof-runs"))
    assert again.cells[0].weights is not None
    assert again.cells[0].weights.trained == "10 steps"
    workload = workloads.find_workload(str(place / "small.yaml"))
    layers = workloads.plan_workload(workload, 16).layers
    first = read_weights(path, layers)
    second = read_weights(place / "fwprof-runs" / again.plan.run_id / again.cells[0].weights.path, layers)
    # Ten steps of Adam at 0.01 move no weight further than 0.1.
    moves = [np.abs(second[name] - first[name]).max() for name in first if name.endswith("kernel")]
    assert all(0 < move < 0.15 for move in moves)
