"""The real command, in processes of its own: what it imports, prints and exits with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"numpy", "scipy", "rich", "psutil", "yaml", "pandas", "sklearn", "torch"}


def fwprof(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fwprof.cli.main", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import fwprof",
        "from fwprof.cli.main import run; run(['--help'])",
        "from fwprof.cli.main import run; run(['--version'])",
        "from fwprof.cli.main import run; run(['plugins'])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print('MODULES', *sys.modules)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    modules = {name.partition(".")[0] for name in done.stdout.partition("MODULES ")[2].split()}
    assert "fwprof" in modules
    assert not modules & HEAVY


def test_help_and_version_do_not_even_import_the_records(tmp_path: Path) -> None:
    code = "from fwprof.cli.main import run; run(['--help']); import sys; assert 'msgspec' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_command_alone_shows_its_help(tmp_path: Path) -> None:
    done = fwprof(cwd=tmp_path)
    assert done.returncode == 0
    assert "fwprof profile --quick" in done.stdout
    assert all(name in done.stdout for name in ("profile", "compare", "show", "doctor"))


@pytest.mark.parametrize(
    "name", ["profile", "compare", "show", "runs", "export", "plugins", "devices", "workloads", "doctor"]
)
def test_every_command_has_a_help_page_that_begins_with_examples(name: str, tmp_path: Path) -> None:
    done = fwprof(name, "-h", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines()[1:] if line.strip())
    assert first.strip().startswith(f"fwprof {name}")


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["prfile"], 2, ["error: there is no command 'prfile'", "did you mean 'profile'?"]),
        (["profile", "--plugn", "x"], 2, ["error: no such option '--plugn'", "did you mean '--plugin'?"]),
        (["profile", "--quick", "--thorough"], 2, ["error: --quick and --thorough exclude each other"]),
        (["profile", "--precision", "float3"], 2, ["error: there is no precision 'float3'", "did you mean"]),
        (["profile", "--config", "no.yaml"], 2, ["no.yaml"]),
        (["profile", "--set", "x"], 2, ["error: 'x' is not of the form NAME=VALUE"]),
        (["profile", "mlp", "--plugin", "no-such"], 5, ["error: no framework plugin 'no-such'"]),
        (
            ["profile", "mlp", "--export", "jsn"],
            5,
            ["error: no exporter plugin 'jsn'", "did you mean 'json'"],
        ),
        (["show", "last"], 6, ["error: there is no run 'last'"]),
        (["export", "last", "x"], 2, ["error: missing option '--to'"]),
        (["compare", "a", "b", "--fail-on", "speed"], 2, ["error: --fail-on cannot read 'speed'"]),
    ],
)
def test_what_is_misspelt_or_absent_is_said_in_at_most_four_lines(
    words: list[str], status: int, expected: list[str], tmp_path: Path
) -> None:
    done = fwprof(*words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) <= 4
    assert lines[0].startswith("error: ")
    assert all(len(line) <= 110 for line in lines)
    for part in expected:
        assert part in done.stderr


def test_a_bug_says_that_it_is_one_and_keeps_the_traceback(tmp_path: Path) -> None:
    code = (
        "from fwprof.cli import main\n"
        "def broken(*a, **k): raise ZeroDivisionError('division by zero')\n"
        "main.cli.main = broken\n"
        "raise SystemExit(main.run({words}))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code.format(words=["runs"])], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 70
    assert done.stderr.startswith("error: a bug in fwprof: ZeroDivisionError: division by zero\n")
    assert len(done.stderr.splitlines()) == 4
    (file,) = tmp_path.glob("fwprof-bug-*.txt")
    assert "in broken" in file.read_text()
    assert file.name in done.stderr
    loud = subprocess.run(
        [sys.executable, "-c", code.format(words=["runs", "-v"])], capture_output=True, text=True
    )
    assert loud.returncode == 70
    assert "in broken" in loud.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m fwprof.cli.main profile --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("name", ["plugins", "workloads", "runs"])
def test_lists_are_arrays_of_objects_under_json(name: str, tmp_path: Path) -> None:
    done = fwprof(name, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    assert all(isinstance(one, dict) for one in found)
    if name == "plugins":
        assert {"kind": "exporter", "name": "json"}.items() <= {
            k: found[-2][k] for k in ("kind", "name")
        }.items()


def test_the_built_in_workloads_are_listed(tmp_path: Path) -> None:
    done = fwprof("workloads", cwd=tmp_path)
    assert "digits-mlp" in done.stdout
    assert "dictionaries" in done.stdout


def test_the_data_that_may_be_named_are_listed_with_their_origin(tmp_path: Path) -> None:
    done = fwprof("workloads", cwd=tmp_path)
    for said in ("mnist:DIR", "28×28×1 or 784", "cifar10:DIR", "LeCun et al. 1998", "made from the seed"):
        assert said in done.stdout


def test_an_empty_folder_of_runs_says_so(tmp_path: Path) -> None:
    done = fwprof("runs", "-o", "elsewhere", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == "no runs in elsewhere\n"
