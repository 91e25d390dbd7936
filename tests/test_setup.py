"""`make` sets up an environment once, says plainly what it cannot do, and repeats nothing.

A small script stands in for `uv`, an external tool: it writes down what it was asked to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("examples/third_party/*/pyproject.toml")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of all that set-up reads, with the stand-in for uv in `bin`."""
    copied = tmp_path / "checkout"
    for file in (ROOT / "tools").glob("*.py"):
        copy(file, copied)
    for name in ("pyproject.toml", "constraints.txt"):
        copy(ROOT / name, copied)
    for file in PLUGINS:
        copy(file, copied)
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit ${{UV_EXIT:-0}}\n')
    uv.chmod(0o755)
    return copied


def copy(file: Path, checkout: Path) -> None:
    target = checkout / file.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def add_framework(checkout: Path, name: str) -> None:
    """Add a plugin of that name, where the checkout has none yet."""
    file = checkout / "plugins" / f"fwprof-{name}" / "pyproject.toml"
    if not file.exists():
        file.parent.mkdir(parents=True)
        file.write_text(
            f'[project]\nname = "fwprof-{name}"\n[project.entry-points."fwprof.frameworks"]\n{name} = "m"\n'
        )


def set_up(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "tools/setup_environment.py", *arguments],
        cwd=checkout,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
    )


def asked(checkout: Path) -> list[str]:
    """Return what uv was asked for, a line a call."""
    log = checkout.parent / "asked"
    return log.read_text().splitlines() if log.exists() else []


def test_set_up_installs_once_and_again_only_when_its_inputs_change(checkout: Path) -> None:
    assert set_up(checkout, "--frameworks", "torch").returncode == 0
    (line,) = asked(checkout)
    assert "--constraint" in line
    assert "plugins/fwprof-torch[framework]" in line
    assert "plugins/fwprof-cpu" in line
    assert "pytest>=" not in line
    assert "third_party" not in line

    set_up(checkout, "--frameworks", "torch")
    assert len(asked(checkout)) == 1

    set_up(checkout, "--frameworks", "torch", "--development")
    assert "pytest>=" in asked(checkout)[1]

    set_up(checkout, "--frameworks", "torch")  # what is there already is enough
    assert len(asked(checkout)) == 2

    (checkout / "constraints.txt").write_text("torch==2.13.1\n")
    set_up(checkout, "--frameworks", "torch")
    assert len(asked(checkout)) == 3


def test_set_up_that_failed_starts_again(checkout: Path) -> None:
    failed = set_up(checkout, UV_EXIT="1")
    assert failed.returncode == 2
    assert "error: set-up stopped: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert set_up(checkout).returncode == 0
    assert len(asked(checkout)) == 2


def test_another_index_is_asked_for_torch_alone(checkout: Path) -> None:
    set_up(checkout, "--frameworks", "torch", "--torch-index", "https://example.invalid/cpu")
    first, second = asked(checkout)
    assert first.endswith("--index-url https://example.invalid/cpu --force-reinstall torch")
    assert "--index-url" not in second


def test_what_pip_is_configured_with_is_passed_on(checkout: Path, tmp_path: Path) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.write_text(f'#!/bin/sh\necho "$UV_FIND_LINKS" > {tmp_path}/links\n')
    set_up(checkout, PIP_FIND_LINKS="/some/wheels /more/wheels")
    assert (tmp_path / "links").read_text() == "/some/wheels,/more/wheels\n"


def test_one_framework_alone_draws_in_no_other(checkout: Path) -> None:
    set_up(checkout, "--frameworks", "torch", "--development")
    (line,) = asked(checkout)
    frameworks = {line.split("plugins/")[1] for line in line.split() if line.endswith("[framework]")}
    assert frameworks == {"fwprof-torch[framework]"}


def test_all_there_are_is_what_is_installed_without_a_choice(checkout: Path) -> None:
    set_up(checkout, "--development")
    (line,) = asked(checkout)
    for file in PLUGINS:
        assert f"{file.parent.relative_to(ROOT)}" in line


def test_examples_of_devices_and_meters_are_for_the_tests(checkout: Path) -> None:
    set_up(checkout)
    (line,) = asked(checkout)
    for file in PLUGINS:
        is_example = "third_party" in file.parts and "fwprof.frameworks" not in file.read_text()
        assert (f"{file.parent.relative_to(ROOT)}" in line) != is_example


def test_a_framework_that_computes_with_another_gets_one(checkout: Path) -> None:
    add_framework(checkout, "keras")
    add_framework(checkout, "tensorflow")
    set_up(checkout, "--frameworks", "keras")
    assert "fwprof-tensorflow[framework]" in asked(checkout)[0]


def test_a_framework_that_computes_with_another_is_content_with_the_one_chosen(checkout: Path) -> None:
    add_framework(checkout, "keras")
    set_up(checkout, "--frameworks", "keras torch")
    assert "fwprof-tensorflow" not in asked(checkout)[0]


def test_an_unknown_framework_is_one_line_of_error(checkout: Path) -> None:
    failed = set_up(checkout, "--frameworks", "torch nonsense")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no plugin for nonsense; there is ")
    assert "torch" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_an_old_python_is_one_line_of_error(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi\n')
    old.chmod(0o755)
    ran = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    (said,) = (line for line in ran.stderr.splitlines() if not line.startswith("make"))
    assert said.startswith(f"error: fwprof needs Python 3.11 or newer, and {old} is Python 3.9.2; ")
