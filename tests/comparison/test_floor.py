"""The noise floor's file: what goes in, what comes out, and what is left out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fwprof.comparison import floor, summarize
from fwprof.errors import StoreError
from fwprof.records import MeasuredSession

MS = 1_000_000.0


def test_a_replica_tells_how_far_identical_cells_are_apart(build: Any) -> None:
    replica = build.measurement([1.1 * MS] * 10, replica=True)
    cell = build.cell("a", measurements=(build.measurement([MS] * 10), replica))
    ratios = floor.control_ratios(build.run(cell, build.cell("b", [MS] * 10)))
    assert [one.metric for one in ratios] == ["step_time", "forward_time", "data_time", "pipelined_step_time"]
    for one in ratios:
        assert (one.machine, one.cell, one.session) == ("machine", "a", 0)
        assert one.distance == pytest.approx(math.log(1.1), rel=1e-4)


def test_a_contended_cell_tells_nothing_of_the_machine(build: Any) -> None:
    spread = [1.5 * MS] * 7 + [MS] * 3
    replica = build.measurement([MS] * 10, replica=True)
    cell = build.cell("a", measurements=(build.measurement(spread), replica))
    assert floor.control_ratios(build.run(cell)) == []


def test_only_the_latest_ratios_count(build: Any) -> None:
    def run(step: float) -> Any:
        pairs = [
            (build.measurement([MS] * 10, index), build.measurement([step] * 10, index, replica=True))
            for index in range(60)
        ]
        return build.run(build.cell("a", measurements=tuple(one for pair in pairs for one in pair)))

    for step in (3 * MS, 2 * MS):
        floor.append(floor.control_ratios(run(step)))
    stored = floor.read("machine", "step_time")
    assert stored == pytest.approx([math.log(3)] * 40 + [math.log(2)] * 60)


def test_a_replica_whose_cell_has_no_rounds_tells_nothing(build: Any) -> None:
    replica = build.measurement([MS] * 10, replica=True, session=3)
    cell = build.cell("a", measurements=(build.measurement([MS] * 10), replica))
    assert floor.control_ratios(build.run(cell)) == []


def test_what_was_appended_is_read_for_its_machine_and_metric(build: Any) -> None:
    def ratios(machine: str, step: float) -> Any:
        replica = build.measurement([step] * 10, replica=True)
        cell = build.cell("a", measurements=(build.measurement([MS] * 10), replica))
        return floor.control_ratios(build.run(cell, fingerprint=machine))

    assert floor.read("here", "step_time") == []
    floor.append(ratios("here", 1.1 * MS))
    floor.append(ratios("there", 3 * MS))
    floor.append(ratios("here", 0.9 * MS))
    stored = floor.read("here", "step_time")
    assert stored == pytest.approx([math.log(1.1), -math.log(0.9)])
    assert floor.read("here", "energy") == []


def test_a_torn_line_is_left_out(build: Any) -> None:
    replica = build.measurement([2 * MS] * 10, replica=True)
    cell = build.cell("a", measurements=(build.measurement([MS] * 10), replica))
    path = floor.append(floor.control_ratios(build.run(cell)))
    whole = path.read_bytes()
    path.write_bytes(whole + b"\n{}\n\xff\n" + whole[:30])
    assert floor.read("machine", "step_time") == pytest.approx([math.log(2)])


def test_a_summary_uses_the_floor_of_the_runs_machine(build: Any, sessions: Any) -> None:
    replicas = tuple(
        build.measurement([(1 + index / 100) * MS] * 10, index, replica=True) for index in range(25)
    )
    own = tuple(build.measurement([MS] * 10, index) for index in range(25))
    floor.append(floor.control_ratios(build.run(build.cell("a", measurements=own + replicas))))
    run = build.run(build.cell("a", *sessions(MS)), build.cell("b", *sessions(1.05 * MS)))
    step = summarize(run, "folder").comparisons[0]
    assert step.noise_floor == pytest.approx(math.log(1.228) / math.sqrt(5), rel=0.01)
    assert step.verdict == "no difference shown"


def test_a_state_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be kept") as caught:
        floor.append([])
    assert "FWPROF_STATE" in caught.value.next
    with pytest.raises(StoreError, match="cannot be read"):
        floor.read("machine", "step_time")


def test_without_a_variable_the_users_state_folder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FWPROF_STATE")
    assert floor.floor_path().name == "noise-floor.jsonl"
    assert "fwprof" in str(floor.floor_path().parent)


def test_what_another_run_measured_and_keeps_itself_is_left_out(build: Any) -> None:
    pairs = [
        build.measurement([MS] * 10, number, replica=is_replica)
        for number in (0, 1)
        for is_replica in (False, True)
    ]
    sessions = tuple(
        MeasuredSession(group="all", session=number, run=run, finished="2026-01-01T00:00:00+00:00")
        for number, run in enumerate(("01A", "run"))
    )
    result = build.run(build.cell("a", measurements=tuple(pairs)), sessions=sessions)
    assert {one.session for one in floor.control_ratios(result)} == {0, 1}
    assert {one.session for one in floor.own_ratios(result)} == {1}
