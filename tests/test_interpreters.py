"""Other environments: what their interpreter is asked, what may be wrong with it, and a run in two."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import fwprof
from fwprof import api, interpreters
from fwprof.errors import ExitCode, PluginNotFoundError, PluginUnavailableError, RequestError
from fwprof.testing.environments import make_environment
from fwprof.testing.installed import FakeDistribution, installed

PLUGIN = """
import fake_runtime

from fwprof.plugin import hookimpl
from fwprof.testing.fake_framework import FakeFramework, FakeModel
from msgspec.structs import replace


class Model(FakeModel):
    def describe(self):
        return replace(super().describe(), versions={"fake_runtime": fake_runtime.__version__})


plugin = FakeFramework(model_class=Model)
"""


def runtime(version: str) -> FakeDistribution:
    """Return a framework and its plugin in one version; two of them cannot be in one environment."""
    return FakeDistribution(
        name="fwprof-clashing",
        version=version,
        entry_points={"fwprof.frameworks": {"clashing": "fwprof_clashing:plugin"}},
        modules={"fwprof_clashing": PLUGIN, "fake_runtime": f"__version__ = {version!r}\n"},
    )


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds version 2.0."""
    return make_environment(tmp_path_factory.mktemp("other") / "venv", runtime("2.0"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds nothing."""
    return make_environment(tmp_path_factory.mktemp("bare") / "venv", borrowed=())


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Version 1.0, in this environment."""
    with installed(tmp_path / "site", runtime("1.0")) as variables:
        yield variables


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with whatever is installed now."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "fwprof.cli.main", *words],
        cwd=folder,
        env={**os.environ, "FWPROF_STATE": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


QUICK = ("profile", "mlp-small", "--threads", "1", "--max-seconds", "0.2", "--rounds", "3", "--no-memory")


def test_two_versions_of_one_framework_stand_in_one_table(
    here: Mapping[str, str], other: Path, tmp_path: Path
) -> None:
    words = ("--plugin", "clashing", "--plugin", "clashing@other", "--python", f"other={other}")
    done = run(tmp_path, *QUICK, *words, "--json")
    assert done.returncode == ExitCode.DONE, done.stderr
    document = json.loads(done.stdout)
    assert [
        (cell["environment"], cell["versions"]["fake_runtime"], cell["fate"]) for cell in document["cells"]
    ] == [("clashing", "1.0", "ok"), ("other", "2.0", "ok")]
    assert {one["verdict"] for one in document["comparisons"]} <= {"one process", "not comparable"}
    assert any(one["metric"] == "step_time" and one["ratio"] for one in document["comparisons"])
    assert document["cells"][1]["versions"]["python"] == platform.python_version()
    cells = api.load("last", str(tmp_path / "fwprof-runs")).plan.cells()
    assert [cell.interpreter for cell in cells] == [None, str(other)]
    assert [cell.framework.version for cell in cells] == ["1.0", "2.0"]
    table = run(tmp_path, "show", "last").stdout
    assert "environment" in table
    assert "other" in table


def test_an_environment_named_like_a_framework_serves_it(
    here: Mapping[str, str], other: Path, tmp_path: Path
) -> None:
    plan = api.make_plan(
        workloads=("mlp-small",), plugins=("clashing",), environments={"clashing": str(other)}
    )
    (cell,) = plan.cells()
    assert (cell.environment, cell.interpreter, cell.framework.version) == ("clashing", str(other), "2.0")
    assert cell.id == "mlp-small.clashing.cpu"


def test_an_environment_may_stand_in_a_file_and_in_a_variable(
    here: Mapping[str, str], other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "matrix.yaml").write_text(
        f"plugins: [clashing@other]\nenvironments: {{other: {other}}}\n", encoding="utf-8"
    )
    words = ("profile", "mlp-small", "--dry-run", "--json")
    plan = json.loads(run(tmp_path, *words, "--config", "matrix.yaml").stdout)["plan"]
    assert plan["groups"][0]["cells"][0]["interpreter"] == str(other)
    monkeypatch.setenv("FWPROF_PYTHON", f"other={other}")
    plan = json.loads(run(tmp_path, *words, "--plugin", "clashing@other").stdout)["plan"]
    assert plan["groups"][0]["cells"][0]["interpreter"] == str(other)


def test_what_is_not_installed_there_is_told_with_the_line_that_installs_it_there(
    here: Mapping[str, str], other: Path, tmp_path: Path
) -> None:
    words = ("--plugin", "clashing", "--plugin", "clashin@other", "--python", f"other={other}")
    done = run(tmp_path, *QUICK, *words, "--json")
    assert done.returncode == ExitCode.PARTIAL
    plan = api.load("last", str(tmp_path / "fwprof-runs")).plan
    assert plan.unavailable == {
        "clashin@other": "no framework plugin 'clashin' is installed in environment 'other'; did you mean "
        "'clashing'?: installed framework plugins there: clashing"
    }
    alone = run(tmp_path, *QUICK, "--plugin", "nowhere@other", "--python", f"other={other}")
    assert alone.returncode == ExitCode.NOT_AVAILABLE
    assert "no framework plugin 'nowhere' is installed in environment 'other'" in alone.stderr
    assert "python -m pip install 'fwprof-nowhere[framework]'" in alone.stderr


def test_meters_and_devices_come_from_there_too(here: Mapping[str, str], other: Path) -> None:
    def plan(**fields: Any) -> None:
        api.make_plan(
            workloads=("mlp-small",), plugins=("clashing@o",), environments={"o": str(other)}, **fields
        )

    with pytest.raises(PluginNotFoundError, match="no meter plugin 'x' is installed in env"):
        plan(meters=("x",))


def test_without_processes_there_are_no_other_environments(here: Mapping[str, str], other: Path) -> None:
    with pytest.raises(RequestError, match="other environments need processes of their own"):
        api.profile(plugins=("clashing@o",), environments={"o": str(other)}, isolate=False)


def test_an_interpreter_tells_its_plugins_and_nothing_of_this_one(
    here: Mapping[str, str], other: Path
) -> None:
    found = interpreters.ask("other", str(other))
    names = {(plugin.ref.kind, plugin.ref.name, plugin.ref.version) for plugin in found.plugins}
    assert ("framework", "clashing", "2.0") in names
    assert ("framework", "clashing", "1.0") not in names
    assert found.interpreter == str(other)


def test_an_interpreter_may_be_a_command_on_the_path(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(other.parent))
    assert interpreters.ask("other", other.name).interpreter == str(other)


def test_an_interpreter_that_is_not_there_is_named() -> None:
    with pytest.raises(RequestError, match="there is no interpreter nowhere/python") as caught:
        interpreters.ask("other", "nowhere/python")
    assert caught.value.cause == "--python other=… names it"


def test_a_folder_is_no_interpreter_and_the_one_inside_is_suggested(other: Path) -> None:
    folder = other.parent.parent
    with pytest.raises(RequestError, match="cannot be run") as caught:
        interpreters.ask("other", str(folder))
    assert (caught.value.cause, caught.value.next) == ("it is a folder", f"--python other={other}")


def test_a_file_that_may_not_be_executed_is_no_interpreter(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n", encoding="utf-8")
    with pytest.raises(RequestError, match="cannot be run") as caught:
        interpreters.ask("other", str(tmp_path / "python"))
    assert caught.value.cause == "it is not executable"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("#!/bin/sh\nexit 3\n", "it ended with status 3 and no answer"),
        ("#!/bin/sh\nkill -9 $$\n", "it was ended"),
        ("not a program at all", "Exec format error"),
        ("#!/no/such/shell\n", "No such file or directory"),
    ],
)
def test_what_is_no_python_is_told_so(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "python"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    with pytest.raises(RequestError, match="is no Python interpreter") as caught:
        interpreters.ask("other", str(path))
    assert caught.value.cause == cause


def test_a_program_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr(interpreters, "ANSWER_SECONDS", 0.1)
    with pytest.raises(RequestError, match="is no Python interpreter") as caught:
        interpreters.ask("other", str(path))
    assert caught.value.cause == "it was ended"


def test_an_environment_without_fwprof_is_told_what_to_install(bare: Path) -> None:
    with pytest.raises(PluginUnavailableError, match="environment 'bare' has no fwprof") as caught:
        interpreters.ask("bare", str(bare))
    assert "ModuleNotFoundError: No module named 'fwprof'" in caught.value.cause
    assert caught.value.next.startswith(f"{bare} -m pip install 'fwprof==")


def test_another_fwprof_is_refused(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = fwprof.__version__
    monkeypatch.setattr(fwprof, "__version__", "99.0")
    with pytest.raises(PluginUnavailableError, match="environment 'other' has another fwprof") as caught:
        interpreters.ask("other", str(other))
    assert caught.value.cause == f"{there} is there, 99.0 is here"


def test_a_worker_of_another_environment_inherits_no_folders_of_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setenv("VIRTUAL_ENV", "/mine")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    inherited = interpreters.inherited_variables("/other/bin/python")
    assert "PYTHONPATH" not in inherited
    assert "VIRTUAL_ENV" not in inherited
    assert inherited["OMP_NUM_THREADS"] == "3"
    assert interpreters.inherited_variables(None)["PYTHONPATH"] == "/mine"
