"""`fwprof verify` as people run it: right and wrong frameworks, each in its own processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fwprof.testing.installed import FAKES, WRONG, installed

IMAGES = """
name: images
input: {shape: [4, 4, 2]}
layers:
  - {kind: flatten}
  - {kind: dense, units: 32, activation: tanh}
  - {kind: batch_norm}
  - {kind: dropout, rate: 0.5}
  - {kind: dense, units: 5}
classes: 5
optimizer: {kind: adam, learning_rate: 1e-3}
"""
TEXT = """
name: text
input: {shape: [6], dtype: int64}
layers:
  - {kind: embedding, vocabulary: 30, units: 4}
  - {kind: lstm, units: 3}
  - {kind: dense, units: 1}
classes: 1
loss: binary_cross_entropy
optimizer: {kind: adam, learning_rate: 1e-3}
"""
FIRST_DIFFERENCES = {
    "images": {
        "layout": "the outputs",
        "flatten_order": "the outputs",
        "dropped_gradient": "the gradient of 4.kernel",
        "loss_reduction": "the loss",
        "batch_norm_momentum": "2.moving_mean after 3 steps",
        "unbiased_variance": "2.moving_variance after 3 steps",
        "epsilon_form": "",
    },
    "text": {"gate_order": "the outputs", "double_bias": "the gradient of 1.bias"},
}
"""Workload → trap → the first tensor that must be named; empty: some parameter after 3 steps."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("verify")
    (folder / "images.yaml").write_text(IMAGES)
    (folder / "text.yaml").write_text(TEXT)
    with installed(tmp_path_factory.mktemp("plugins"), FAKES, WRONG):
        yield folder


def fwprof(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FWPROF_")}
    return subprocess.run(
        [sys.executable, "-m", "fwprof.cli.main", *words],
        capture_output=True,
        text=True,
        cwd=place,
        env=kept | {"COLUMNS": "140", "XDG_STATE_HOME": str(place / "state")},
        timeout=300,
    )


@pytest.fixture(scope="module")
def trapped(place: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return, by workload and mode, what verification says of the fake and every wrong framework."""
    found = {}
    for workload, traps in FIRST_DIFFERENCES.items():
        words = [word for trap in traps for word in ("--plugin", f"wrong:{trap}")]
        run = fwprof(
            place,
            "verify",
            f"{workload}.yaml",
            "--plugin",
            "fake",
            "--plugin",
            "fake:graph",
            *words,
            "--json",
        )
        assert run.returncode == 1, run.stderr
        cells = json.loads(run.stdout)["cells"]
        found[workload] = {cell["id"].split(".")[1]: cell["equivalence"] for cell in cells}
    return found


@pytest.mark.parametrize(
    ("workload", "trap"),
    [(name, trap) for name, traps in FIRST_DIFFERENCES.items() for trap in traps],
)
def test_every_trap_is_found_and_its_first_tensor_named(
    trapped: Mapping[str, Mapping[str, Any]], workload: str, trap: str
) -> None:
    found = trapped[workload][f"wrong-{trap}"]
    assert found["status"] == "not_equivalent"
    expected = FIRST_DIFFERENCES[workload][trap]
    assert found["first_difference"] == expected or (
        not expected and found["first_difference"].endswith("after 3 steps")
    )


@pytest.mark.parametrize("workload", FIRST_DIFFERENCES)
def test_the_same_work_is_equivalent_to_rounding(trapped: Mapping[str, Any], workload: str) -> None:
    reference, same = trapped[workload]["fake"], trapped[workload]["fake-graph"]
    assert (reference["status"], same["status"]) == ("reference", "equivalent")
    assert same["max_error"] == 0.0
    assert same["reference"] == reference["reference"]
    kinds = {one["kind"] for one in same["tensors"]}
    assert kinds == {"outputs", "loss", "gradient", "parameter", "loss_curve"}
    outputs = next(one for one in same["tensors"] if one["kind"] == "outputs")
    assert 0 < outputs["precision_error"] < 1e-5


def test_one_cell_alone_has_nothing_to_be_compared_with(place: Path) -> None:
    run = fwprof(place, "verify", "images.yaml", "--plugin", "fake")
    assert run.returncode == 2
    assert "there is nothing to compare with" in run.stderr
    assert "name a second framework" in run.stderr


def test_a_cell_that_cannot_be_asked_is_not_checked_and_the_others_are(place: Path) -> None:
    run = fwprof(place, "verify", "lenet", "images.yaml", "--plugin", "fake", "--plugin", "fake:graph")
    assert run.returncode == 3
    assert "not checked (lenet" in run.stdout
    assert "the fake framework has no such layer" in run.stdout
    assert "same work" in run.stdout


def test_a_verifier_that_dies_leaves_its_cell_unchecked_and_the_run_complete(place: Path) -> None:
    words = ("--plugin", "fake", "--plugin", "fake,fault=kill,stage=build", "--plugin", "fake:graph")
    run = fwprof(place, "verify", "images.yaml", *words)
    assert run.returncode == 3
    assert "killed by SIGKILL" in run.stdout
    assert "do the same work" in run.stdout


def test_a_comparison_verifies_before_it_times(place: Path) -> None:
    run = fwprof(
        place, "profile", "images.yaml", "--plugin", "fake", "--plugin", "wrong:layout",
        "--rounds", "2", "--max-seconds", "1", "--no-memory", "--settings", "as-shipped", "--json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert [cell["equivalence"]["status"] for cell in found["cells"]] == ["reference", "not_equivalent"]
    assert "not_equivalent" in found["cells"][1]["labels"]
    assert found["cells"][1]["metrics"]["step_time"]["p50"] > 0
    (step,) = [one for one in found["comparisons"] if one["metric"] == "step_time"]
    assert step["verdict"] == "not comparable"
    assert "does not compute the same: the outputs" in step["why"]
    stderr = run.stderr.splitlines()
    assert next(n for n, line in enumerate(stderr) if "equivalence" in line) < next(
        n for n, line in enumerate(stderr) if "round" in line
    )


def test_presets_that_read_back_the_same_are_found_before_anything_is_timed(place: Path) -> None:
    run = fwprof(
        place, "profile", "images.yaml", "--plugin", "fake", "--plugin", "fake:graph", "--settings", "both",
        "--rounds", "2", "--max-seconds", "1", "--no-memory",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "as shipped and equal read back the same for every cell: measured once" in run.stdout
    assert "skipped" not in run.stdout
    assert run.stdout.count("not comparable") == 0
    (folder,) = [Path(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("saved")]
    (journal,) = (place / folder / "cells").glob("images.fake.*equal/*.jsonl")
    assert journal.read_text().count("\n") == 1


def test_no_verify_leaves_the_cells_unchecked(place: Path) -> None:
    run = fwprof(
        place, "profile", "images.yaml", "--plugin", "fake", "--plugin", "fake:graph", "--no-verify",
        "--rounds", "2", "--max-seconds", "1", "--no-memory", "--settings", "as-shipped",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "not checked" in run.stdout


def test_verbose_shows_every_tensor_and_marks_what_differs(place: Path) -> None:
    words = ("--plugin", "fake", "--plugin", "fake:graph", "--plugin", "wrong:dropped_gradient")
    run = fwprof(place, "verify", "images.yaml", *words, "-v")
    assert run.returncode == 1
    (dropped,) = [
        line for line in run.stdout.splitlines() if line.strip().startswith("gradient of 4.kernel ")
    ]
    assert dropped.split()[-3:] == ["0", "1e+00", "!"]
    (kept,) = [line for line in run.stdout.splitlines() if line.strip().startswith("gradient of 1.kernel ")]
    assert kept.split()[-2:] == ["0", "0"]


def test_a_verified_run_can_be_shown_again(place: Path) -> None:
    first = fwprof(place, "verify", "images.yaml", "--plugin", "fake", "--plugin", "fake:graph")
    again = fwprof(place, "show", "last")
    assert first.returncode == again.returncode == 0
    assert again.stdout == first.stdout
