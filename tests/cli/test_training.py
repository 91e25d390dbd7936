"""Training through the command, on the kit's fake framework, which learns the real digits."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwprof.contracts import LoadedWorkload
from fwprof.testing.definitions import loss_of
from fwprof.testing.installed import installed
from fwprof.workloads import find_workload, plan_workload
from fwprof.workloads.data import load_data
from fwprof.workloads.weights import starting_weights

Command = Callable[..., subprocess.CompletedProcess[str]]
FAST = ("--rounds", "1", "--max-seconds", "0.2", "--no-memory", "--threads", "1")
TWO = ("digits-mlp", "--plugin", "fake", "--plugin", "fake:graph", *FAST, "--no-verify")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    with installed(tmp_path_factory.mktemp("fakes")):
        yield folder


@pytest.fixture(scope="module")
def fwprof(place: Path) -> Command:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FWPROF_")}

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fwprof.cli.main", *words],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=place,
            env=kept | {"COLUMNS": "120", "XDG_STATE_HOME": str(place / "state")} | variables,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def trained(fwprof: Command) -> subprocess.CompletedProcess[str]:
    words = ("--epochs", "5", "--training-seeds", "2", "--target-accuracy", "85%")
    return fwprof("profile", *TWO, *words)


@pytest.fixture(scope="module")
def document(fwprof: Command, trained: Any) -> Any:
    assert trained.returncode == 0, trained.stderr
    return json.loads(fwprof("show", "last", "--json").stdout)


def test_every_epoch_of_every_seed_is_in_json(document: Any) -> None:
    for cell in document["cells"]:
        points = cell["training"]
        assert [(one["seed"], one["epoch"], one["split"]) for one in points] == [
            (seed, epoch, split)
            for seed in (0, 1)
            for epoch in range(1, 6)
            for split in ("train", "validation")
        ]
        for one in points:
            assert all(0 < one[name] <= 1 for name in ("accuracy", "precision", "recall", "f1"))
        assert points[-1]["accuracy"] > 0.9
        assert points[9]["loss"] < points[1]["loss"]


def test_equal_starts_give_equal_curves_and_another_seed_another_one(document: Any) -> None:
    first, second = (cell["training"] for cell in document["cells"])
    assert first == second
    assert [one["loss"] for one in first[:10]] != [one["loss"] for one in first[10:]]
    (agreement,) = document["agreements"]
    assert agreement["cells"] == [cell["id"] for cell in document["cells"]]
    assert (agreement["seeds"], agreement["difference"], agreement["start_difference"]) == (2, 0, 0)
    assert agreement["spread"] > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_decides_weights_and_order_and_never_the_samples(document: Any, seed: int) -> None:
    spec = find_workload("digits-mlp")
    layers = plan_workload(spec, 32).layers
    data = load_data(spec, 0)
    weights = starting_weights(spec, layers, seed)
    loaded = LoadedWorkload(name=spec.name, spec=spec, layers=layers, weights=weights)
    expected = float(loss_of(loaded, weights, next(data.epoch(1, 32, seed))))
    first = next(one for one in document["cells"][0]["training"] if one["seed"] == seed)
    assert first["first_loss"] == pytest.approx(expected, rel=1e-5)


def test_times_of_training_are_metrics_like_others(document: Any, place: Path) -> None:
    run = json.loads((place / document["path"] / "run.json").read_text(encoding="utf-8"))
    for cell, stored in zip(document["cells"], run["cells"], strict=True):
        metrics = cell["metrics"]
        assert metrics["epoch_time"]["count"] == 2 * 4
        assert metrics["first_epoch_time"]["count"] == 2
        # 359 samples are 11 full batches of 32, and a smaller one.
        assert metrics["predict_time"]["count"] == 2 * 4 * 11
        assert [len(one["predict_ns"]) for one in stored["epoch_times"]] == [12] * 10
        assert 0 < metrics["predict_time"]["p50"] < metrics["evaluate_time"]["p50"]
        assert cell["target_accuracy"] == 0.85
        assert [one["seed"] for one in cell["targets"]] == [0, 1]
        durations = []
        for one in cell["targets"]:
            until = [e["train_ns"] for e in stored["epoch_times"] if e["seed"] == one["seed"]]
            assert one["duration_ns"] == sum(until[: one["epoch"]])
            durations.append(one["duration_ns"])
        assert metrics["time_to_accuracy"]["p50"] == sum(durations) / 2


def test_the_table_shows_curves_beside_each_other(trained: subprocess.CompletedProcess[str]) -> None:
    assert "accuracy first" in trained.stdout
    rows = [line for line in trained.stdout.splitlines() if " validation " in line and "▁" in line]
    assert len(rows) == 2
    assert rows[0].split()[1:] == rows[1].split()[1:]
    assert "the final validation accuracy is the same (means of 2 seeds)" in trained.stdout
    assert "85 % accuracy   fake:eager: after " in trained.stdout
    assert "no ranking is claimed" in trained.stdout
    assert "with 5 epochs a cell and seed (2 seeds)" in trained.stderr


def test_a_dumb_terminal_gets_no_blocks(fwprof: Command, trained: Any) -> None:
    shown = fwprof("show", "last", TERM="dumb").stdout
    assert "accuracy first" in shown
    assert not set("▁▂▃▄▅▆▇█") & set(shown)


def test_training_is_exported_row_by_row(fwprof: Command, document: Any, place: Path) -> None:
    done = fwprof("export", "last", "--to", "csv", "out")
    assert done.returncode == 0, done.stderr
    with (place / "out" / "training.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 5 * 2
    assert all(int(row["duration_ns"]) > 0 for row in rows)


def test_a_target_out_of_reach_is_null_and_says_why(fwprof: Command, tmp_path: Path) -> None:
    done = fwprof(
        "profile", "digits-mlp", "--plugin", "fake", *FAST, "--epochs", "2", "--json", "-o", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    metric = cell["metrics"]["time_to_accuracy"]
    # The workload's own target.
    assert cell["target_accuracy"] == 0.95
    assert metric["value"] is None
    assert metric["reason"].startswith("did not reach 95 % in 2 epochs (best ")


@pytest.mark.parametrize(
    ("fault", "fate", "seeds"),
    [
        # A loss that is no number is that seed's alone.
        ("nan", "invalid", [0, 0, 1, 1]),
        ("kill", "killed", [0, 0]),
    ],
)
def test_what_was_trained_before_a_failure_is_kept_and_shown(
    fwprof: Command, tmp_path: Path, fault: str, fate: str, seeds: list[int]
) -> None:
    plugin = f"fake,fault={fault},stage=train,after=100"
    words = ("--epochs", "4", "--training-seeds", "2", "-o", str(tmp_path))
    done = fwprof("profile", "digits-mlp", "--plugin", plugin, *FAST, *words)
    assert done.returncode == 3, done.stderr
    assert f"{fate} in stage train" in done.stdout
    assert any(" validation " in line and "▁" in line for line in done.stdout.splitlines())
    (cell,) = json.loads(fwprof("show", "last", "-o", str(tmp_path), "--json").stdout)["cells"]
    held_out = [one for one in cell["training"] if one["split"] == "validation"]
    assert [one["epoch"] for one in held_out] == [1, 2] * (len(seeds) // 2)
    assert [one["seed"] for one in held_out] == seeds
    assert cell["fate"] == fate
    assert cell["metrics"]["step_time"]["p50"] > 0
    assert cell["metrics"]["time_to_accuracy"]["reason"] == "2 of 2 seeds did not train to the end"


def test_an_own_model_beside_a_workload_is_measured_and_not_trained(
    fwprof: Command, place: Path, tmp_path: Path
) -> None:
    (place / "net.py").write_text("from fwprof.testing.native_network import make\n", encoding="utf-8")
    words = ("mlp-small", "--model", "net.py:make", "--plugin", "fake", *FAST, "--epochs", "1")
    done = fwprof("profile", *words, "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "not trained, a model of your own brings no data set" in done.stdout
    cells = json.loads(fwprof("show", "last", "-o", str(tmp_path), "--json").stdout)["cells"]
    own = next(cell for cell in cells if cell["workload"] == "net")
    assert own["training"] == []
    assert "no data set to train on" in own["metrics"]["epoch_time"]["reason"]
