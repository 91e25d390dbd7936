"""Whatever a user calls a run is one run, or an error that says which there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fwprof.errors import StoreError
from fwprof.records import Measured
from fwprof.store import RunFolder, find_run, list_runs

Begun = Callable[..., RunFolder]


@pytest.fixture
def three(begun: Begun, tmp_path: Path) -> Path:
    """A folder with three runs: complete, interrupted, unreadable."""
    begun("01AAAA").finish(is_interrupted=False)
    with begun("01AABB"):
        pass
    (begun("01CCCC").path / "plan.json").write_text("{")
    (tmp_path / "notes.txt").write_text("not a run")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_runs_are_listed_oldest_first_with_their_state(three: Path) -> None:
    assert [(run.id, run.state, run.title) for run in list_runs(three)] == [
        ("01AAAA", "complete", "mlp-sample fake, mlp-sample fake:graph"),
        ("01AABB", "interrupted", "mlp-sample fake, mlp-sample fake:graph"),
        ("01CCCC", "unreadable", ""),
    ]


def test_a_folder_that_is_not_there_holds_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("reference", "run"),
    [
        ("last", "01CCCC"),
        ("last~0", "01CCCC"),
        ("last~2", "01AAAA"),
        ("01AAAA", "01AAAA"),
        ("01aab", "01AABB"),
        ("01C", "01CCCC"),
    ],
)
def test_a_run_is_found_by_id_beginning_or_age(three: Path, reference: str, run: str) -> None:
    assert find_run(reference, three) == three / run


def test_a_path_stands_for_itself(three: Path) -> None:
    assert find_run(str(three / "01AAAA"), Path("elsewhere")) == three / "01AAAA"
    assert find_run("./nowhere/run.json", three) == Path("nowhere/run.json")


@pytest.mark.parametrize("reference", ["last~3", "last~x", "last~-1"])
def test_a_run_older_than_the_oldest_is_refused(three: Path, reference: str) -> None:
    with pytest.raises(StoreError, match=f"there is no run '{reference}'") as caught:
        find_run(reference, three)
    assert caught.value.cause == f"{three} holds 3 runs"
    assert caught.value.next.startswith("fwprof runs")


def test_a_beginning_of_several_names_them(three: Path) -> None:
    with pytest.raises(StoreError, match="several runs begin with '01A'") as caught:
        find_run("01A", three)
    assert caught.value.cause.endswith("01AAAA, 01AABB match")


def test_a_beginning_of_none_says_how_many_there_are(three: Path) -> None:
    with pytest.raises(StoreError, match="no run begins with 'zz'"):
        find_run("zz", three)


def test_a_run_that_is_measured_now_is_not_taken_for_an_interrupted_one(begun: Begun, tmp_path: Path) -> None:
    with begun("01AAAA"):
        assert [run.state for run in list_runs(tmp_path)] == ["running"]
    assert [run.state for run in list_runs(tmp_path)] == ["interrupted"]


def test_a_run_that_was_asked_to_stop_is_interrupted_and_says_what_resumed_it(
    begun: Begun, tmp_path: Path
) -> None:
    begun("01AAAA").finish(is_interrupted=True)
    begun("01BBBB", measured=Measured(run="01AAAA")).finish(is_interrupted=False)
    assert [(run.state, run.resumed_by) for run in list_runs(tmp_path)] == [
        ("interrupted", "01BBBB"),
        ("complete", ""),
    ]
