"""The built-in exporters, on hand-built runs."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from fwprof.errors import StoreError
from fwprof.exporters.destination import write_new
from fwprof.exporters.json import summary_document
from fwprof.records import EpochTimes, RunResult

NAMES = ("json", "csv", "markdown")


@pytest.fixture
def result(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return build.quick_set()[0]


def export(name: str, result: RunResult, destination: Path) -> list[Path]:
    return list(import_module(f"fwprof.exporters.{name}").export(result, destination))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_a_suffix_is_one_file(name: str, result: RunResult, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.txt"
    assert export(name, result, target) == [target]
    assert target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "files"),
    [("json", ["summary.json"]), ("csv", ["cells.csv", "blocks.csv"]), ("markdown", ["report.md"])],
)
def test_a_name_without_a_suffix_is_a_folder(
    name: str, files: list[str], result: RunResult, tmp_path: Path
) -> None:
    assert export(name, result, tmp_path / "out") == [tmp_path / "out" / file for file in files]


def test_what_was_trained_is_a_table_of_its_own(build: ModuleType, result: RunResult, tmp_path: Path) -> None:
    first, *others = result.cells
    times = EpochTimes(epoch=2, seed=7, train_ns=500, predict_ns=(30, 40), full_batch_count=2)
    points = build.training(2, 0.97, seed=7)
    trained = msgspec.structs.replace(first, training=points, epoch_times=(times,))
    paths = export("csv", msgspec.structs.replace(result, cells=(trained, *others)), tmp_path / "out")
    assert [path.name for path in paths] == ["cells.csv", "blocks.csv", "training.csv"]
    with paths[-1].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["seed"], row["epoch"], row["split"]) for row in rows] == [
        ("mlp-1", "7", "1", "train"), ("mlp-1", "7", "1", "validation"),
        ("mlp-1", "7", "2", "train"), ("mlp-1", "7", "2", "validation"),
    ]  # fmt: skip
    # The training part of the epoch, and what predicting the validation split took; not known of the first.
    assert [row["duration_ns"] for row in rows] == ["", "", "500", "70"]
    assert [float(row["f1"]) for row in rows] == [point.f1 for point in points]


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_file_is_never_overwritten(name: str, result: RunResult, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        export(name, result, target)
    assert target.read_text() == "mine"


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder is needed")
    with pytest.raises(StoreError, match="cannot write"):
        write_new({tmp_path / "a.txt": "a", tmp_path / "blocked" / "b.txt": "b"})
    assert not (tmp_path / "a.txt").exists()


def test_csv_has_one_row_a_cell_and_metric(result: RunResult, tmp_path: Path) -> None:
    (path,) = export("csv", result, tmp_path / "figures.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [(row["cell"], row["metric"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert {row["cell"] for row in rows} == {"mlp-1", "lenet-1"}
    step = next(row for row in rows if row["metric"] == "step_time")
    assert step["unit"] == "ns"
    assert float(step["value"]) == pytest.approx(412_000, rel=0.01)
    absent = next(row for row in rows if row["metric"] == "energy")
    assert absent["value"] == ""
    assert absent["reason"] != ""


def test_csv_of_blocks_has_every_measured_value(result: RunResult, tmp_path: Path) -> None:
    _, path = export("csv", result, tmp_path / "out")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["duration_ns"] for row in rows[:4]] == ["410000", "414000", "410000", "414001"]
    assert {(row["phase"], row["program"]) for row in rows} == {("timed", "run")}


def test_json_is_what_the_command_prints(result: RunResult, tmp_path: Path) -> None:
    (path,) = export("json", result, tmp_path / "run.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["run"] == result.plan.run_id
    assert document["path"] == f"fwprof-runs/{result.plan.run_id}"
    assert document["schema_version"] == 1


def test_every_metric_in_json_says_unit_and_kind_and_why_it_is_null(build: ModuleType) -> None:
    _, summary = build.quick_set()
    metrics = summary_document(summary)["cells"][0]["metrics"]
    assert metrics["step_time"] == {
        "unit": "ns", "kind": "measured", "p50": 412e3, "p10": 0.97 * 412e3,
        "ci95": pytest.approx((0.99 * 412e3, 1.012 * 412e3)), "count": 40,
    }  # fmt: skip
    assert metrics["backward_time"]["kind"] == "marginal"
    assert metrics["energy"]["value"] is None
    assert "no counter is readable" in metrics["energy"]["reason"]


def test_the_json_object_has_the_documented_keys(build: ModuleType) -> None:
    document = json.loads(msgspec.json.encode(summary_document(build.comparison()[1])))
    assert {"schema_version", "run", "path", "cells", "comparisons", "recommendations", "agreements"} <= set(
        document
    )
    assert {
        "id", "framework", "mode", "backend", "device", "workload", "batch_size", "precision",
        "settings_preset", "fate", "labels", "reason", "sessions", "threads", "environment", "world_size",
        "data_pipeline", "trainable", "bound", "training", "versions", "settings", "equivalence", "metrics",
        "target_accuracy", "targets",
    } <= set(document["cells"][0])  # fmt: skip
    assert {"metric", "a", "b", "ratio", "ci95", "noise_floor", "verdict", "why"} <= set(
        document["comparisons"][0]
    )
    failed = document["cells"][1]
    assert (failed["fate"], failed["mode"]) == ("unsupported", None)
    assert "C++ compiler" in failed["reason"]


def test_markdown_is_the_report_of_the_terminal(result: RunResult, tmp_path: Path) -> None:
    (path,) = export("markdown", result, tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# fwprof 0.1.0")
    assert "| workload |" in text
    assert "- **settings**: as shipped: float32" in text
