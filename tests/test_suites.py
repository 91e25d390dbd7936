"""Every framework's tests run in a process of their own, and what is not run is counted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a small repository: core tests, a framework's tests, and those of one not installed."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_core.py").write_text("def test_sum():\n    assert 1 + 1 == 2\n")
    add_plugin(tmp_path, "plugins/fwprof-here", framework="pytest")
    add_plugin(tmp_path, "examples/third_party/fwprof-absent", framework="there-is-no-such-framework")
    return tmp_path


def add_plugin(checkout: Path, name: str, framework: str) -> None:
    folder = checkout / name
    (folder / "tests").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "pluggy"\noptional-dependencies.framework = ["{framework}>=1"]\n'
        f'entry-points."fwprof.frameworks".{folder.name.removeprefix("fwprof-")} = "m"\n'
    )
    (folder / "tests" / "test_it.py").write_text(
        "import os\n\ndef test_process():\n    print(os.getpid())\n\n"
        "def test_choice():\n    assert os.environ.get('ANSWER') != 'wrong'\n"
    )


def run_tests(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the suites, outside CI unless the environment says so."""
    return subprocess.run(
        [sys.executable, "tools/run_tests.py", *arguments],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name != "CI"} | environment,
        capture_output=True,
        text=True,
    )


def test_suites_are_counted_together_with_the_one_that_cannot_run(checkout: Path) -> None:
    ran = run_tests(checkout)
    assert ran.returncode == 0
    assert "there-is-no-such-framework not installed" in ran.stdout
    assert "in all: 3 passed, 0 failed, 1 skipped, 3 suites" in ran.stdout


def test_a_failure_in_any_suite_fails_them_all(checkout: Path) -> None:
    ran = run_tests(checkout, ANSWER="wrong")
    assert ran.returncode == 1
    assert "in all: 2 passed, 1 failed, 1 skipped" in ran.stdout


def test_what_ci_was_told_to_test_and_cannot_is_a_failure(checkout: Path) -> None:
    assert run_tests(checkout, CI="true").returncode == 1
    assert run_tests(checkout, "--frameworks", "here", CI="true").returncode == 0


def test_a_choice_of_frameworks_leaves_the_others_out(checkout: Path) -> None:
    ran = run_tests(checkout, "--frameworks", "here")
    assert "in all: 3 passed, 0 failed, 0 skipped, 2 suites" in ran.stdout


def test_one_file_is_run_alone(checkout: Path) -> None:
    ran = run_tests(checkout, "tests/test_core.py::test_sum")
    assert ran.returncode == 0
    assert "1 passed" in ran.stdout
    assert "in all" not in ran.stdout


def test_an_option_of_pytest_reaches_every_suite(checkout: Path) -> None:
    ran = run_tests(checkout, "-k", "choice or sum")
    assert "in all: 2 passed, 0 failed, 1 skipped" in ran.stdout


@pytest.mark.parametrize(("reason", "status"), [("numpy is not installed", 1), ("no card is here", 0)])
def test_ci_takes_no_skip_but_those_for_want_of_hardware(checkout: Path, reason: str, status: int) -> None:
    shutil.copy(ROOT / "conftest.py", checkout)
    skipping = checkout / "tests" / "test_core.py"
    skipping.write_text(f"import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n")
    ran = run_tests(checkout, "tests", CI="true")
    assert ran.returncode == status
    assert ("skipped in CI, which counts as a failure" in ran.stdout) == bool(status)


def test_ci_takes_what_a_plugin_says_it_does_without(checkout: Path) -> None:
    shutil.copy(ROOT / "conftest.py", checkout)
    (checkout / "tests" / "test_core.py").write_text(
        "from fwprof.testing.conformance.framework import check_prepare_gives_versions\n"
        "from fwprof.testing.conformance.suites import FrameworkConformance\n\n"
        "class Bare:\n    pass\n\n"
        "class TestBare(FrameworkConformance):\n    plugin = Bare()\n    name = 'bare'\n"
    )
    ran = run_tests(checkout, "tests", "-k", "prepare_gives_versions", CI="true")
    assert "1 skipped" in ran.stdout
    assert ran.returncode == 0
