"""Every case of the table, played for real through the `fwprof` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from fwprof import api
from fwprof.cli.main import run as run_command
from fwprof.records import RunResult
from fwprof.testing.installed import installed


def _load(name: str) -> Any:
    spec = spec_from_file_location(f"faults_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[f"faults_{name}"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table, broken, scenes = _load("table"), _load("broken"), _load("scenes")

COMMAND = (sys.executable, "-m", "fwprof.cli.main")
HONEST = "{short} --model net.py:make --plugin fake --no-memory".format(**table.COMMANDS).split()
WIDTH = 100
CONTINUED = " " * 9
"""Several problems of one file stand below each other, as parts of one error."""


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Install the plugins once; nothing writes to that folder afterwards."""
    with installed(tmp_path_factory.mktemp("site"), *broken.DISTRIBUTIONS) as found:
        return dict(found)


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, variables: Mapping[str, str]) -> Path:
    """Measure one run for the cases that need a stored one."""
    folder = tmp_path_factory.mktemp("stored")
    broken.write_files(folder)
    place = scenes.Place(folder, variables)
    done = place.run([*COMMAND, *HONEST])
    assert done.status == 0, done.stderr
    return place.runs


@pytest.fixture
def place(tmp_path: Path, variables: Mapping[str, str]) -> Iterator[Any]:
    broken.write_files(tmp_path)
    place = scenes.Place(tmp_path, variables)
    yield place
    left = place.processes()
    for process in left:
        process.kill()


def named(name: str) -> Any:
    """Return one case of the table."""
    return next(case for case in table.CASES if case.name == name)


@pytest.mark.parametrize("case", table.CASES, ids=lambda case: case.name)
def test_what_happens_is_what_the_table_says(
    case: Any, place: Any, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if case.scene.startswith("stored"):
        place.stored = request.getfixturevalue("stored")
    if "nonsense.yaml" in case.words:
        broken.write_nonsense(place.folder)
    done = scenes.SCENES[case.scene](place, [*COMMAND, *case.command])

    said = f"{done.stdout}\n{done.stderr}"
    if case.status is not None:
        assert done.status == case.status, said
    assert "Traceback" not in said
    assert case.says in " ".join(said.split())
    _check_error(done.stderr, case.status)
    place.wait_until(lambda: not place.processes(), "no process is left")
    # A process that is killed cannot clear up.
    assert case.scene == "parent killed" or not list(place.scratch.iterdir())
    assert (place.folder / "there.csv").read_text(encoding="utf-8") == broken.FILES["there.csv"]
    _check_kept(place, case)
    if case.kept not in ("nothing", "as it was"):
        _check_result(place, case)
        assert run_command(["show", "last", "-o", str(place.runs)]) == 0
        assert "saved" in capsys.readouterr().out


def _check_error(stderr: str, status: int | None) -> None:
    """An error is at most four lines of at most 100 columns, and the last thing said."""
    lines = [line for line in stderr.splitlines() if not line.startswith(CONTINUED)]
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    expected = 0 if status in (None, 0, 3, 130, 143) else 1
    # Ctrl-C twice is said in the shape of an error; it is the user's wish, not one.
    assert len(starts) == expected or status == 130, stderr
    for start in starts:
        error = lines[start:]
        assert len(error) <= 4, stderr
        assert [line.split(":")[0].strip() for line in error] == sorted(
            {line.split(":")[0].strip() for line in error},
            key=["error", "cause", "kept", "next"].index,
        ), stderr
        assert max(map(len, error)) <= WIDTH, stderr


def _check_kept(place: Any, case: Any) -> None:
    """Look at the files: journals whole, blocks without a gap, nothing where nothing was begun."""
    if case.kept == "nothing":
        assert not place.runs.is_dir() or not list(place.runs.iterdir())
        return
    blocks = place.blocks()
    if case.blocks is not None:
        assert len(blocks) == case.blocks
    if case.kept in ("blocks", "everything"):
        assert blocks
    if case.kept == "reason":
        assert not blocks
    if len(case.fates) < 2:
        places = [(done.block.round, done.block.order) for done in blocks]
        assert places == [divmod(number, 5) for number in range(len(places))]


def _check_result(place: Any, case: Any) -> None:
    """Look at what a reader of the stored run finds."""
    result: RunResult = api.load("last", str(place.runs))
    measured = sum(len(m.blocks) for cell in result.cells for m in cell.measurements if not m.replica)
    assert measured == len(place.blocks())
    if case.fates:
        assert tuple(cell.fate for cell in result.cells) == case.fates
        assert result.is_interrupted == ("interrupted" in case.fates)
    if case.stage:
        failure = next(cell.failure for cell in result.cells if cell.failure is not None)
        assert failure.stage == case.stage
    if case.label:
        labels = {label for cell in api.summarize(result).cells for label in cell.labels}
        assert case.label in labels


def test_the_log_of_a_talkative_worker_is_capped(place: Any) -> None:
    assert place.run([*COMMAND, *named("factory_prints").command]).status == 0
    (log,) = place.runs.glob("*/cells/*/0.worker.log")
    text = log.read_bytes()
    assert len(text) < 2**20 + 100
    assert b"bytes left out" in text


def test_json_stays_json_while_a_framework_prints(place: Any) -> None:
    document = json.loads(place.run([*COMMAND, *named("worker_prints").command]).stdout)
    assert [cell["fate"] for cell in document["cells"]] == ["ok"]
