"""Each backend in a process of its own: keras takes one when it is imported.

Tests are collected here as everywhere, and import no keras while they are. Those of a backend (a
parameter `backend`, or the class attribute `variant`) run in one child process for each backend,
by pytest itself; its reports are shown here as if the tests had run in this process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fwprof.plugin import CellPlan, LoadedWorkload, Options
from fwprof.testing.fixtures import module_environment as module_environment
from fwprof.testing.fixtures import own_environment as own_environment
from fwprof.testing.samples import sample_cell

BACKENDS = ("tensorflow", "torch", "jax")
REPORTS = "FWPROF_TEST_REPORTS"
"""In a child: the file that it writes its reports to."""
LIMIT_S = 1500
RUNS = pytest.StashKey[str]()
FOUND = pytest.StashKey[dict[str, dict[str, list[Any]]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the run: the same in all workers of pytest-xdist."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput:
        config.stash[RUNS] = workerinput["testrunuid"]
    else:
        config.stash[RUNS] = getattr(config.option, "testrunuid", None) or uuid.uuid4().hex
        if hasattr(config.option, "testrunuid"):
            config.option.testrunuid = config.stash[RUNS]
    config.stash[FOUND] = {}
    if REPORTS in os.environ:
        config.pluginmanager.register(_ReportWriter(config, Path(os.environ[REPORTS])))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the children wrote, once nobody reads it any more."""
    if not hasattr(config, "workerinput") and REPORTS not in os.environ:
        for backend in BACKENDS:
            shutil.rmtree(_folder_of(config, backend), ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `backend` once for each, unless it names those that it is of."""
    named = any(mark.args[0] == "backend" for mark in metafunc.definition.iter_markers("parametrize"))
    if "backend" in metafunc.fixturenames and not named:
        metafunc.parametrize("backend", BACKENDS)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Show the reports of a test that ran in its backend's process."""
    backend = _backend_of(item)
    if backend is None or REPORTS in os.environ:
        return None
    found = item.config.stash[FOUND]
    if backend not in found:
        found[backend] = _run_backend(item, backend)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in found[backend].get(item.nodeid) or [_lost(item, backend)]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


class _ReportWriter:
    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config, self._path = config, path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._path.open("a") as file:
            file.write(json.dumps(data, default=str) + "\n")


def _backend_of(item: pytest.Item) -> str | None:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    found = parameters.get("backend") or getattr(getattr(item, "cls", None), "variant", None)
    return str(found) if found else None


def _folder_of(config: pytest.Config, backend: str) -> Path:
    return Path(tempfile.gettempdir()) / f"fwprof-keras-{config.stash[RUNS]}-{backend}"


def _run_backend(item: pytest.Item, backend: str) -> dict[str, list[Any]]:
    """Run all tests of a backend in one child, unless another worker does; return their reports."""
    folder = _folder_of(item.config, backend)
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + LIMIT_S
        while not (folder / "log").exists() and time.monotonic() < end:
            time.sleep(0.5)
    else:
        _run_child(item, backend, folder)
    reports = defaultdict(list)
    lines = (folder / "reports").read_text().splitlines() if (folder / "reports").exists() else []
    for line in lines:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=json.loads(line))
        if isinstance(report.longrepr, list):  # a skip's tuple, which JSON does not know
            report.longrepr = tuple(report.longrepr)
        reports[report.nodeid].append(report)
    log = folder / "log"
    reports["log"] = [log.read_text() if log.exists() else f"the child took more than {LIMIT_S} s"]
    return reports


def _run_child(item: pytest.Item, backend: str, folder: Path) -> None:
    names = [each.nodeid for each in item.session.items if _backend_of(each) == backend]
    (folder / "names").write_text("\n".join(names))
    variables = {**os.environ, "KERAS_BACKEND": backend, REPORTS: str(folder / "reports")}
    variables = {name: value for name, value in variables.items() if "XDIST" not in name}
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, "-p", "no:xdist", f"@{folder / 'names'}"],
            cwd=item.config.rootpath,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        text = f"took more than {LIMIT_S} s\n{(error.stdout or b'').decode(errors='replace')}"
    (folder / "part").write_text(text)
    (folder / "part").rename(folder / "log")


def _lost(item: pytest.Item, backend: str) -> pytest.TestReport:
    """Return the failure of a test that its process never told of."""
    last = item.config.stash[FOUND][backend]["log"][0][-3000:]
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=f"the process of keras on {backend} ended without a word of this test:\n{last}",
        when="call",
    )


@pytest.fixture
def make_cell() -> Callable[..., CellPlan]:
    return partial(sample_cell, name="keras")


@pytest.fixture
def build(make_cell: Any, tmp_path: Path, backend: str) -> Callable[..., Any]:
    """Build a workload through the hooks; returns model and programs."""
    from fwprof_keras import plugin

    def make(workload: LoadedWorkload, **changes: Any) -> tuple[Any, Any]:
        cell = make_cell(variant=backend, **changes)
        plugin.prepare(plan=cell)
        options = Options(cell=cell, cache=tmp_path)
        model = plugin.build_model(workload=workload, device=cell.device, options=options)
        return model, plugin.train_step(model=model)

    return make


@pytest.fixture
def verified(build: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Build a workload as it is verified: in float64."""
    made: list[bool] = []

    def make(workload: LoadedWorkload) -> tuple[Any, Any]:
        made.append(True)
        return build(workload, precision="float64", is_verification=True)

    yield make
    if made:
        from fwprof_keras.precision import set_dtype

        set_dtype("float32")
        _set_jax_doubles(False)


def _set_jax_doubles(enabled: bool) -> None:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", enabled)


@pytest.fixture(autouse=True)
def _own_environment(own_environment: None) -> None:
    """Every test here may call `prepare`, which sets variables."""


@pytest.fixture(scope="module", autouse=True)
def _module_environment(module_environment: None) -> None:
    """So may the fixtures of a class, whose settings last."""
