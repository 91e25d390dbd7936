"""The scripts behind the published figures run, on fakes and in little time; no figure is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwprof.testing.installed import installed

ROOT = Path(__file__).resolve().parent.parent
TINY = str(ROOT / "benchmarks" / "tiny.yaml")
SCRIPTS = [file.stem for file in sorted((ROOT / "benchmarks").glob("*.py")) if file.stem != "figures"]
CELLS = ("--plugin", "fake", "--plugin", "fake,loop_us=1", "--workload", TINY)


def run_script(name: str, *arguments: str, folder: Path) -> str:
    """Run one script of benchmarks/ with the fakes installed; return what it printed."""
    (folder / "installed").mkdir()
    with installed(folder / "installed") as variables:
        ran = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments],
            cwd=folder,
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_measures(name: str, tmp_path: Path) -> None:
    assert "usage: " in run_script(name, "--help", folder=tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("equivalence", CELLS, "| cells that do the same work | 2 of 2 | all | reached |"),
        ("comparison", (*CELLS, "--budget", "quick", "--rounds", "2"), "| fake:eager | as shipped |"),
        ("spread", (*CELLS, "--sessions", "1", "--max-seconds", "1"), "| tiny | sequential | 1 |"),
        ("compile_cost", (*CELLS[:2], "--workload", TINY, "--repeats", "1"), "| tiny | fake | "),
        ("eight_cells", (*CELLS, "--max-seconds", "2"), "| rounds |"),
        ("limits", (*CELLS[:2], "--sessions", "2", "--seconds", "0.1"), "| cpu/"),
        ("verdicts", ("--repeats", "1", "--max-seconds", "1"), "| 25 % slower called, --thorough |"),
    ],
)  # fmt: skip
def test_a_script_prints_its_figure(name: str, arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in run_script(name, *arguments, folder=tmp_path)
