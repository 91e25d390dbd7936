"""A run is read back from its journals alone, however it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwprof import codec
from fwprof.errors import StoreError
from fwprof.records import Block, Check, EpochTimes, Failure, Reading, TrainingPoint, frames
from fwprof.store import RunFolder, assemble, load_run, new_run_id

Write = Callable[..., RunFolder]
Reports = Sequence[frames.Report]


def test_a_whole_journal_becomes_a_cell(write: Write, reports: Reports, blocks: Sequence[Block]) -> None:
    folder = write({"cell0/0": reports})
    cell, other = assemble(folder.path).cells
    (measurement,) = cell.measurements
    assert (cell.fate, cell.failure, cell.labels) == ("ok", None, ("synthetic_data",))
    assert (measurement.session, measurement.fate, measurement.replica) == (0, "ok", False)
    assert measurement.blocks == tuple(blocks)
    assert measurement.warm_up == tuple(blocks[:1])
    assert measurement.steady == {"run": True}
    assert measurement.startup is not None
    assert measurement.startup.first_step_ns == 3
    assert cell.description is not None
    assert cell.digest == codec.digest(folder.plan.cells()[0], cell.description)
    assert (other.fate, other.failure and other.failure.message) == (
        "interrupted",
        "the run ended before this cell began",
    )


def test_sessions_and_replicas_are_told_apart_and_in_order(write: Write, reports: Reports) -> None:
    names = ["10", "2", "0", "0.replica", "1"]
    cell, _ = assemble(write({f"cell0/{name}": reports for name in names}).path).cells
    assert [(each.session, each.replica) for each in cell.measurements] == [
        (0, False),
        (0, True),
        (1, False),
        (2, False),
        (10, False),
    ]


def test_readings_and_training_come_from_their_passes(write: Write, reports: Reports) -> None:
    point = TrainingPoint(epoch=1, split="train", loss=0.5, accuracy=0.9)
    reading = Reading(value=5, unit="bytes")
    passes = {
        "cell0/0": reports,
        "cell0/memory": [
            frames.Readings(pass_name="memory", readings={"host_peak": reading}),
            frames.Finished(),
        ],
        "cell0/training": [frames.EpochDone(points=(point,)), frames.Finished()],
    }
    cell, _ = assemble(write(passes).path).cells
    assert (cell.fate, cell.readings, cell.training) == ("ok", {"host_peak": reading}, (point,))
    assert len(cell.measurements) == 1


def test_memory_of_several_processes_is_kept_process_by_process(write: Write, reports: Reports) -> None:
    def journal(value: int) -> list[frames.Report]:
        readings = {"host_peak": Reading(value=value, unit="bytes")}
        return [frames.Readings(pass_name="memory", readings=readings), frames.Finished()]

    passes = {f"cell0/memory.{process}": journal(process) for process in (10, 2, 1)}
    cell, _ = assemble(write({"cell0/0": reports, "cell0/memory": journal(0), **passes}).path).cells
    assert cell.readings["host_peak"].value == 0
    assert [one["host_peak"].value for one in cell.further_readings] == [1, 2, 10]
    assert cell.fate == "ok"


def test_a_memory_process_that_failed_fails_its_cell(write: Write, reports: Reports) -> None:
    journals = {"cell0/0": reports, "cell0/memory": [frames.Finished()]}
    journals["cell0/memory.1"] = [frames.Failed(failure=FAILURE)]
    cell, _ = assemble(write(journals).path).cells
    assert (cell.fate, cell.measurements[0].fate) == ("out_of_memory", "ok")


def test_seeds_of_a_training_are_kept_in_their_order_and_what_a_failed_one_gave(
    write: Write, reports: Reports
) -> None:
    def epoch(seed: int) -> frames.EpochDone:
        point = TrainingPoint(epoch=1, split="train", loss=0.5, seed=seed)
        times = EpochTimes(epoch=1, seed=seed, train_ns=seed, predict_ns=(1,), full_batch_count=1)
        return frames.EpochDone(points=(point,), times=times)

    names = {f"cell0/training{f'.{seed}' if seed else ''}": seed for seed in (10, 2, 0)}
    passes = {name: [epoch(seed), frames.Finished()] for name, seed in names.items()}
    lost = Failure(fate="invalid", stage="train", message="the loss became nan in epoch 2 (seed 2)")
    passes["cell0/training.2"] = [epoch(2), frames.Failed(failure=lost)]
    cell, _ = assemble(write({"cell0/0": reports, **passes}).path).cells
    assert [point.seed for point in cell.training] == [0, 2, 10]
    assert [times.train_ns for times in cell.epoch_times] == [0, 2, 10]
    assert (cell.fate, cell.failure) == ("invalid", lost)


def test_own_loops_and_marks_belong_to_their_measurement(write: Write, reports: Reports) -> None:
    split, api = {"forward": (1, 2)}, {"fit": (3, 4)}
    more = [frames.Split(phases=split), frames.ApiTimed(times=api)]
    cell, _ = assemble(write({"cell0/0": [*reports[:-1], *more, reports[-1]]}).path).cells
    (measurement,) = cell.measurements
    assert (measurement.split, measurement.api) == (split, api)


FAILURE = Failure(fate="out_of_memory", stage="block", message="no memory left")


def test_a_failed_cell_keeps_its_blocks_and_says_it_is_incomplete(write: Write, reports: Reports) -> None:
    cell, _ = assemble(write({"cell0/0": [*reports[:6], frames.Failed(failure=FAILURE)]}).path).cells
    assert (cell.fate, cell.failure, cell.labels) == (
        "out_of_memory",
        FAILURE,
        ("synthetic_data", "incomplete"),
    )
    assert len(cell.measurements[0].blocks) == 3


def test_the_first_failure_of_a_worker_is_the_one_that_counts(write: Write) -> None:
    later = msgspec.structs.replace(FAILURE, message="killed afterwards", fate="killed")
    failed = [frames.Failed(failure=FAILURE), frames.Failed(failure=later)]
    cell, _ = assemble(write({"cell0/0": failed}).path).cells
    assert cell.failure == FAILURE


def test_a_replica_that_fails_is_not_the_cells_failure(write: Write, reports: Reports) -> None:
    journals = {"cell0/0": reports, "cell0/0.replica": [*reports[:6], frames.Failed(failure=FAILURE)]}
    cell, _ = assemble(write(journals).path).cells
    assert (cell.fate, cell.labels) == ("ok", ("synthetic_data",))
    assert [each.fate for each in cell.measurements] == ["ok", "out_of_memory"]


def test_a_failing_pass_is_the_cells_failure_and_its_figures_stay(write: Write, reports: Reports) -> None:
    journals = {"cell0/0": reports, "cell0/memory": [frames.Failed(failure=FAILURE)]}
    cell, _ = assemble(write(journals).path).cells
    assert (cell.fate, cell.measurements[0].fate) == ("out_of_memory", "ok")


def test_a_guard_that_failed_makes_the_cell_invalid(write: Write, reports: Reports) -> None:
    checks = (
        Check(name="step_trains", passed=True),
        Check(name="wait_waits", passed=False, detail="50 ms of work left"),
    )
    cell, _ = assemble(
        write({"cell0/0": [*reports[:-2], frames.Checked(checks=checks), reports[-1]]}).path
    ).cells
    assert cell.failure is not None
    assert (cell.fate, cell.failure.stage) == ("invalid", "check")
    assert cell.failure.message == "wait_waits: 50 ms of work left"
    assert cell.measurements[0].checks == checks


def test_a_program_that_was_once_unsteady_stays_so(write: Write, reports: Reports) -> None:
    warm = [frames.Warm(program="run", blocks=(), steady=steady) for steady in (False, True)]
    cell, _ = assemble(write({"cell0/0": [*warm, frames.Finished()]}).path).cells
    assert cell.measurements[0].steady == {"run": False}


def test_two_visits_in_one_journal_are_one_measurement(write: Write, reports: Reports) -> None:
    first, second = reports[:-1], [frames.Ready(startup=reports[1].startup), *reports[2:]]  # type: ignore[attr-defined, union-attr]  # it is Ready
    cell, _ = assemble(write({"cell0/0": [*first, *second]}).path).cells
    assert len(cell.measurements) == 1
    assert len(cell.measurements[0].blocks) == 30


def test_cells_measured_in_the_callers_process_say_so(
    write: Write, begun: Callable[..., RunFolder], reports: Reports
) -> None:
    folder = write({"cell0/0": reports}, begun(is_isolated=False))
    assert {cell.labels for cell in assemble(folder.path).cells} == {("in_process", "synthetic_data")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_journal_cut_at_any_byte_keeps_every_whole_line(
    write: Write, begun: Callable[..., RunFolder], reports: Reports, data: st.DataObject
) -> None:
    folder = write({"cell0/0": reports}, begun(new_run_id()))
    path = folder.path / "cells" / "cell0" / "0.jsonl"
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut])
    cell, _ = assemble(folder.path).cells
    # A line that lacks nothing but its newline is whole.
    complete = [line for line in whole[:cut].split(b"\n") if line and line in whole.splitlines()]
    assert len(cell.measurements[0].blocks) == sum(b'"block_done"' in line for line in complete)
    assert cell.fate == ("ok" if len(complete) == len(reports) else "interrupted")


def test_what_an_interrupted_run_left_behind_is_read_like_a_run(write: Write, reports: Reports) -> None:
    result = load_run(write({"cell0/0": reports[:8]}).path)
    assert result.is_interrupted
    assert [cell.fate for cell in result.cells] == ["interrupted", "interrupted"]
    assert result.cells[0].failure is not None
    assert result.cells[0].failure.message == "the run ended before this cell did"
    assert len(result.cells[0].measurements[0].blocks) == 5


def test_a_line_in_the_middle_that_cannot_be_read_is_an_error(write: Write, reports: Reports) -> None:
    folder = write({"cell0/0": reports})
    path = folder.path / "cells" / "cell0" / "0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\xff{\n", *lines[3:]]))
    with pytest.raises(StoreError, match=r"0\.jsonl, line 4, is not JSON"):
        assemble(folder.path)


def test_reports_of_a_later_minor_version_are_read(write: Write, reports: Reports) -> None:
    folder = write({"cell0/0": reports})
    path = folder.path / "cells" / "cell0" / "0.jsonl"
    raw = [json.loads(line) for line in path.read_text().splitlines()]
    for line in raw:
        line["later"] = 1
        line.get("block", {})["later"] = {}
    path.write_text("".join(json.dumps(line) + "\n" for line in raw))
    assert assemble(folder.path).cells[0].measurements[0].blocks == tuple(
        report.block for report in reports if isinstance(report, frames.BlockDone)
    )


def test_a_run_is_named_by_its_folder_or_its_file(write: Write, reports: Reports) -> None:
    folder = write({"cell0/0": reports})
    result = folder.finish(is_interrupted=False)
    assert load_run(folder.path) == load_run(folder.path / "run.json") == result
    assert not result.is_interrupted


def test_a_changed_result_is_refused_and_can_be_rebuilt(write: Write, reports: Reports) -> None:
    folder = write({"cell0/0": reports})
    folder.finish(is_interrupted=False)
    file = folder.path / "run.json"
    file.write_text(file.read_text().replace('"duration_ns": ', '"duration_ns": 1'))
    with pytest.raises(StoreError, match=r"run\.json was changed after it was written") as caught:
        load_run(folder.path)
    assert "delete both files" in caught.value.next
    file.unlink()
    (folder.path / "run.json.sha256").unlink()
    assert load_run(folder.path).cells[0].fate == "ok"


def test_a_result_copied_without_its_checksum_is_read(write: Write, reports: Reports, tmp_path: Path) -> None:
    result = write({"cell0/0": reports}).finish(is_interrupted=False)
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (copy / "run.json").write_bytes(codec.encode_pretty(result))
    assert load_run(copy) == result


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no run in") as caught:
        load_run(tmp_path)
    assert caught.value.cause == "neither run.json nor plan.json is there"
    with pytest.raises(StoreError, match="there is no run in"):
        load_run(tmp_path / "run.json")


def test_a_plan_without_its_machine_names_the_file(write: Write, reports: Reports) -> None:
    folder = write({"cell0/0": reports})
    (folder.path / "machine.json").unlink()
    with pytest.raises(StoreError, match=r"cannot read .*machine\.json") as caught:
        load_run(folder.path)
    assert caught.value.cause == "No such file or directory"
    assert caught.value.next.startswith("fwprof runs")
