"""Whole commands on the kit's fake framework: nothing real is measured, everything is real."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwprof.testing.installed import installed

Command = Callable[..., subprocess.CompletedProcess[str]]
FAST = ("--device", "fakecard:0", "--rounds", "3", "--max-seconds", "1", "--no-memory")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    with installed(tmp_path_factory.mktemp("fakes")):
        yield folder


@pytest.fixture(scope="module")
def fwprof(place: Path) -> Command:
    def run(*words: str, cwd: Path = place) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments(*words), capture_output=True, text=True, cwd=cwd, env=environment(place), timeout=300
        )

    return run


def arguments(*words: str) -> list[str]:
    return [sys.executable, "-m", "fwprof.cli.main", *words]


def environment(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FWPROF_")}
    return kept | {"COLUMNS": "100", "XDG_STATE_HOME": str(place / "state")}


@pytest.fixture(scope="module")
def first(fwprof: Command) -> subprocess.CompletedProcess[str]:
    return fwprof("profile", "mlp-small", "--plugin", "fake", "--plugin", "fake:graph", *FAST)


@pytest.fixture(scope="module")
def second(fwprof: Command, first: Any) -> subprocess.CompletedProcess[str]:
    return fwprof("profile", "mlp-small", "--plugin", "fake", *FAST, "--json", "--export", "csv:figures.csv")


def test_a_run_prints_its_table_and_where_it_is(first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[0].startswith("fwprof 0.1.0   fake")
    assert "fakecard:0 = Fake card 0" in first.stdout
    assert "step p50" in first.stdout
    assert "no verdict" in first.stdout
    assert "one process: no ranking is claimed" in first.stdout
    assert "--thorough" in first.stdout
    assert lines[-1].startswith("saved")
    assert max(map(len, lines)) <= 100 or all("fwprof" in line for line in lines if len(line) > 100)


def test_progress_goes_to_stderr(first: subprocess.CompletedProcess[str]) -> None:
    assert "plan     mlp-small   2 cells" in first.stderr
    assert "done" in first.stderr
    assert "done" not in first.stdout


def test_json_is_one_object_on_stdout(second: subprocess.CompletedProcess[str], place: Path) -> None:
    assert second.returncode == 0, second.stderr
    document = json.loads(second.stdout)
    assert document["schema_version"] == 1
    assert (place / document["path"] / "run.json").is_file()
    (cell,) = document["cells"]
    assert (cell["framework"], cell["fate"], cell["workload"]) == ("fake", "ok", "mlp-small")
    assert cell["metrics"]["step_time"]["unit"] == "ns"
    assert cell["metrics"]["step_time"]["p50"] > 0


def test_a_run_is_exported_once_it_is_stored(second: subprocess.CompletedProcess[str], place: Path) -> None:
    assert "figures.csv" in second.stderr
    rows = list(csv.DictReader(io.StringIO((place / "figures.csv").read_text())))
    assert {row["metric"] for row in rows} >= {"step_time", "throughput"}


def test_runs_are_listed_and_shown(
    fwprof: Command, first: subprocess.CompletedProcess[str], second: Any
) -> None:
    listed = json.loads(fwprof("runs", "--json").stdout)
    assert [run["state"] for run in listed] == ["complete", "complete"]
    shown = fwprof("show", "last~1")
    assert shown.returncode == 0, shown.stderr
    table = first.stdout.partition("\nnext ")[0]
    assert shown.stdout.startswith(table)


def test_a_terminal_that_has_no_dashes_shows_what_it_can(
    fwprof: Command, first: subprocess.CompletedProcess[str], place: Path
) -> None:
    wanted = fwprof("show", "last~1")
    poor = {"env": environment(place) | {"PYTHONIOENCODING": "ascii"}, "cwd": place, "capture_output": True}
    shown = subprocess.run(arguments("show", "last~1"), check=False, timeout=300, **poor)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == wanted.stdout.encode("ascii", "replace")
    assert b"?" in shown.stdout
    as_json = subprocess.run(arguments("show", "last~1", "--json"), check=False, timeout=300, **poor)
    assert json.loads(as_json.stdout) == json.loads(fwprof("show", "last~1", "--json").stdout)


def test_shown_as_json_a_run_is_what_profile_printed(
    fwprof: Command, second: subprocess.CompletedProcess[str]
) -> None:
    assert json.loads(fwprof("show", "last", "--json").stdout) == json.loads(second.stdout)


def test_two_runs_are_compared_and_gates_decide_the_status(fwprof: Command, second: Any) -> None:
    compared = fwprof("compare", "last~1", "last")
    assert compared.returncode == 0, compared.stderr
    assert "step time" in compared.stdout
    gate = ("--fail-on", "step_time>+5%")
    assert fwprof("compare", "last~1", "last", *gate).returncode == 0
    strict = fwprof("compare", "last~1", "last", *gate, "--inconclusive", "fail", "--json")
    assert strict.returncode == 7
    assert json.loads(strict.stdout)["gates"] == [{"gate": "step_time>+5%", "answer": "inconclusive"}]


def test_a_report_goes_to_stdout_and_files_are_kept(fwprof: Command, second: Any, place: Path) -> None:
    assert fwprof("export", "last", "--to", "markdown", "-").stdout.startswith("# fwprof")
    folder = fwprof("export", "last", "--to", "csv", "out")
    assert folder.returncode == 0, folder.stderr
    assert sorted(path.name for path in (place / "out").iterdir()) == ["blocks.csv", "cells.csv"]
    again = fwprof("export", "last", "--to", "csv", "out")
    assert again.returncode != 0
    assert "exists already" in again.stderr


def test_dry_run_says_cells_and_time_and_measures_nothing(fwprof: Command, tmp_path: Path) -> None:
    done = fwprof("profile", "mlp-small", "--plugin", "fake", *FAST, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 cell, 1 process, at most about " in done.stdout
    assert not (tmp_path / "fwprof-runs").exists()


def test_a_misspelt_workload_is_a_usage_error(fwprof: Command, tmp_path: Path) -> None:
    done = fwprof("profile", "mpl", "--plugin", "fake", *FAST, cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no workload 'mpl'" in done.stderr
    assert "did you mean 'mlp'?" in done.stderr


@pytest.mark.parametrize(
    ("plugins", "status", "expected"),
    [
        (("fake", "fake:nope"), 3, "fake:nope: unsupported"),
        (("fake:nope",), 5, "no variant 'nope'"),
        (("fake,fault=raise,stage=build",), 4, "failed in stage build"),
    ],
)
def test_what_failed_is_said_with_the_documented_status(
    fwprof: Command, plugins: tuple[str, ...], status: int, expected: str, tmp_path: Path
) -> None:
    words = [word for plugin in plugins for word in ("--plugin", plugin)]
    done = fwprof("profile", "mlp-small", *words, *FAST, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert expected in done.stdout
    assert ("error: nothing was measured" in done.stderr) is (status != 3)
    assert "Traceback" not in done.stderr


def test_variables_stand_in_for_flags_and_flags_win(place: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        arguments("profile", "mlp-small", "--seed", "3", "--dry-run", "--json", "--device", "fakecard:0"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(place)
        | {"FWPROF_PLUGIN": "fake fake:graph", "FWPROF_SEED": "9", "FWPROF_EPOCHS": "2"},
    )
    assert done.returncode == 0, done.stderr
    request = json.loads(done.stdout)["plan"]["request"]
    assert [choice["variant"] for choice in request["plugins"]] == [None, "graph"]
    assert (request["seed"], request["epochs"]) == (3, 2)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_stores_and_prints_what_was_measured(
    place: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    words = ("mlp-small", "--plugin", "fake", "--device", "fakecard:0", "--rounds", "100000", "--no-memory")
    process = subprocess.Popen(
        arguments("profile", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(place),
    )
    try:
        journals = tmp_path / "fwprof-runs"
        while not any("block_done" in path.read_text() for path in journals.rglob("*.jsonl")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == status, err
    assert "stopping after this block" in err
    assert "interrupted after" in out
    assert "once more, to the end" in out
    (run,) = (tmp_path / "fwprof-runs").iterdir()
    assert (run / "run.json").is_file()


CHANGING = """
name: changing
input: {shape: [12], dtype: int64}
layers:
  - {kind: embedding, vocabulary: 30, units: 4}
  - {kind: lstm, units: 3}
  - {kind: dense, units: 1}
classes: 1
loss: binary_cross_entropy
optimizer: {kind: sgd, learning_rate: 0.1}
data: {source: synthetic, samples: 64, min_length: 2, is_trimmed: true}
batch_size: {default: 4}
"""


def test_what_was_compiled_for_changing_lengths_is_counted_and_said(fwprof: Command, tmp_path: Path) -> None:
    (tmp_path / "changing.yaml").write_text(CHANGING)
    words = ("profile", "changing.yaml", "--plugin", "fake", "--plugin", "fake:graph", *FAST)
    run = fwprof(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("compiled")]
    stored = json.loads(fwprof("show", "last", "--json", cwd=tmp_path).stdout)
    counts = {cell["mode"]: cell["metrics"]["compilations"]["value"] for cell in stored["cells"]}
    assert counts["eager"] == 0
    # F, G and S for each of at most eight lengths, and none of them while blocks are timed.
    assert counts["graph"] % 3 == 0
    assert 6 <= counts["graph"] <= 24
    assert not any("recompiled" in cell["labels"] for cell in stored["cells"])
    assert "fake:eager nothing" in line
    assert f"graph {counts['graph']:g} programs, for batches of changing length" in line
    assert {cell["metrics"]["flops"]["value"] for cell in stored["cells"]} == {None}
