"""What of an earlier run may be taken over, and why the rest may not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwprof.records import (
    Equivalence,
    Failure,
    Group,
    MachineFacts,
    Measured,
    ModelChoice,
    NativeModel,
    RunPlan,
    Schedule,
    WorkloadPlan,
    frames,
)
from fwprof.store import Earlier, Resume, RunFolder, find_earlier, load_run
from fwprof.store.layout import MeasuredLimits
from fwprof.testing.samples import sample_result

Reports = Sequence[frames.Report]
STORED = sample_result(2)
NOW = datetime.fromisoformat("2030-01-01T06:00:00+00:00")
CREATED = "2030-01-01T00:00:00+00:00"
ENDED: Reports = (frames.Finished(),)
SAME = Failure(fate="skipped", stage="build", message="as cell0", same_as="b0")


def failed(fate: Any = "failed") -> Reports:
    return (frames.Failed(failure=Failure(fate=fate, stage="block", message="it broke")),)


@pytest.fixture
def matrix(tmp_path: Path) -> RunPlan:
    """Two groups of two cells in two sessions: `a0` and `a1`, `b0` and `b1`."""
    cells = STORED.plan.cells()

    def group(name: str) -> Group:
        workload = msgspec.structs.replace(cells[0].workload, name=name)
        return Group(
            name=name,
            cells=tuple(
                msgspec.structs.replace(cell, id=f"{name}{number}", workload=workload)
                for number, cell in enumerate(cells)
            ),
        )

    return msgspec.structs.replace(
        STORED.plan,
        created=CREATED,
        request=msgspec.structs.replace(STORED.plan.request, output=str(tmp_path)),
        groups=(group("a"), group("b")),
        schedule=Schedule(sessions=2, replica=True),
    )


@pytest.fixture
def interrupted(matrix: RunPlan) -> Callable[..., RunFolder]:
    """Write a run that ended in the middle: `sessions` that were told, and journals."""

    def write(
        journals: dict[str, Reports],
        sessions: Sequence[tuple[str, int]] = (),
        run: str = "01A",
        plan: RunPlan = matrix,
    ) -> RunFolder:
        folder = RunFolder.create(msgspec.structs.replace(plan, run_id=run), STORED.machine)
        for name, reports in journals.items():
            journal = folder.journal(*name.split("/"))
            for report in reports:
                journal.append(report)
            journal.close()
        for group, session in sessions:
            folder.add_session(group, session)
        folder.__exit__()
        return folder

    return write


Interrupted = Callable[..., RunFolder]


def find(
    plan: RunPlan, resume: Resume = "unfinished", machine: MachineFacts = STORED.machine, **later: float
) -> Earlier | None:
    plan = msgspec.structs.replace(plan, run_id="01Z", created="2030-01-01T05:00:00+00:00")
    return find_earlier(plan, machine, resume, NOW + timedelta(**later))


def reason(found: Earlier | None) -> str:
    assert found is not None
    assert found.measured == Measured()
    return found.reason


WHOLE = {"a0/0": ENDED, "a1/0": ENDED, "a0/0.replica": ENDED}


def test_a_session_is_whole_when_every_worker_of_its_group_came_to_an_end(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    interrupted({**WHOLE, "b0/0": ENDED, "b1/0": ()}, [("a", 0), ("b", 0)])
    found = find(matrix)
    assert found is not None
    assert [(each.group, each.session, each.run) for each in found.measured.sessions] == [("a", 0, "01A")]
    assert (found.run, found.reason, found.measured.run) == ("01A", "", "01A")


@pytest.mark.parametrize(
    ("journals", "sessions"),
    [
        (WHOLE, []),  # all have ended, but the session was not told to be over
        ({**WHOLE, "a1/0": ()}, [("a", 0)]),
        ({**WHOLE, "a0/0.replica": ()}, [("a", 0)]),
        ({**WHOLE, "a1/0": failed("interrupted")}, [("a", 0)]),
        ({"a0/0": ENDED}, [("a", 0)]),
    ],
)
def test_what_did_not_end_is_measured_again(
    matrix: RunPlan,
    interrupted: Interrupted,
    journals: dict[str, Reports],
    sessions: Sequence[tuple[str, int]],
) -> None:
    interrupted(journals, sessions)
    assert find(matrix) is None


def test_a_failed_cell_stays_failed_and_gets_no_memory_pass(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    interrupted({**WHOLE, "a1/0": failed()}, [("a", 0)])
    found = find(matrix)
    assert found is not None
    assert (found.measured.failed, found.failed) == ({"a1"}, set())


def test_failed_cells_take_their_groups_session_with_them_when_they_are_retried(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    journals = {f"{cell}/{number}": ENDED for cell in ("a0", "a1", "b0", "b1") for number in (0, 1)}
    journals |= {"a1/1": failed("killed"), "b0/memory": failed("timeout"), "b1/memory": ENDED}
    folder = interrupted(journals, [("a", 0), ("b", 0), ("a", 1), ("b", 1)])
    folder.finish(is_interrupted=False)
    assert find(matrix) is None
    found = find(matrix, "failed", days=30)
    assert found is not None
    assert found.is_finished
    assert found.failed == {"a1", "b0"}
    assert {(each.group, each.session) for each in found.measured.sessions} == {("a", 0), ("b", 0), ("b", 1)}
    assert found.measured.passes == {"b1": {"memory"}}


@pytest.mark.parametrize("fate", ["unsupported", "skipped"])
def test_what_a_plugin_says_it_cannot_do_is_not_retried(
    matrix: RunPlan, interrupted: Interrupted, fate: str
) -> None:
    interrupted({**WHOLE, "a1/0": failed(fate)}, [("a", 0)])
    found = find(matrix, "failed")
    assert found is not None
    assert found.failed == set()
    assert found.measured.has("a", 0)


def test_verifying_is_taken_over_by_the_group_and_so_is_what_it_skipped(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    folder = interrupted({"b1/0": (frames.Failed(failure=SAME),), "a1/0": (frames.Failed(failure=SAME),)})
    for cell in ("b0", "b1", "a0"):
        folder.add_equivalence(cell, Equivalence(status="equivalent"))
    found = find(matrix)
    assert found is not None
    assert (found.measured.verified, found.measured.skipped) == ({"b"}, {"b1"})


def test_a_group_is_verified_again_where_a_retried_cell_was_not(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    folder = interrupted({**WHOLE, "a1/0": failed()}, [("a", 0)])
    for cell, status in (
        ("a0", "equivalent"),
        ("a1", "not_checked"),
        ("b0", "equivalent"),
        ("b1", "equivalent"),
    ):
        folder.add_equivalence(cell, Equivalence(status=status))  # type: ignore[arg-type]  # two of them
    for resume, verified in (("unfinished", {"a", "b"}), ("failed", {"b"})):
        found = find(matrix, resume)  # type: ignore[arg-type]  # as above
        assert found is not None
        assert found.measured.verified == verified


def test_passes_after_the_timing_are_taken_over_cell_by_cell(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    passes = {
        "a0/memory": ENDED,
        "a0/memory.1": ENDED,
        "a1/memory": (),
        "a0/training": failed(),
        "a1/training": failed("interrupted"),
    }
    folder = interrupted({**WHOLE, **passes}, [("a", 0)])
    folder.add_limits(MeasuredLimits(key="cpu/1/float32", readings={}))
    found = find(matrix)
    assert found is not None
    assert found.measured.passes == {"a0": {"memory", "memory.1", "training"}}
    assert found.measured.limits == {"cpu/1/float32"}


def test_what_is_taken_over_is_the_same_bytes_in_a_folder_of_its_own(
    matrix: RunPlan, interrupted: Interrupted, tmp_path: Path
) -> None:
    first = interrupted({**WHOLE, "a0/1": ENDED, "b0/0": ()}, [("a", 0)])
    (first.path / "cells/a0/verification").mkdir()
    for cell in ("a0", "a1"):
        first.add_equivalence(cell, Equivalence(status="equivalent"))
    first.log_path("a0", "0").write_text("said")
    found = find(matrix)
    assert found is not None
    with RunFolder.create(
        msgspec.structs.replace(matrix, run_id="01B"), STORED.machine, found.measured
    ) as second:
        copied = {path.relative_to(second.path) for path in (second.path / "cells").rglob("*")}
        assert {str(path.relative_to("cells")) for path in copied if path.suffix} == {
            "a0/0.jsonl", "a0/0.replica.jsonl", "a0/0.worker.log", "a1/0.jsonl",
            "a0/equivalence.json", "a1/equivalence.json",
        }  # fmt: skip
        for path in copied | {Path("sessions.jsonl")}:
            if path.suffix:
                assert (second.path / path).read_bytes() == (first.path / path).read_bytes()
        second.add_session("b", 0)
    result = load_run(second.path)
    assert [(each.group, each.run) for each in result.sessions] == [("a", "01A"), ("b", "01B")]
    assert result.plan.resumes == "01A"
    assert load_run(first.path).plan.resumes == ""


def test_a_run_that_took_over_is_taken_over_in_its_turn(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    found = find(matrix)
    assert found is not None
    with RunFolder.create(msgspec.structs.replace(matrix, run_id="01B"), STORED.machine, found.measured):
        pass
    again = find(matrix)
    assert again is not None
    assert (again.run, [each.run for each in again.measured.sessions]) == ("01B", ["01A"])


def test_a_folder_that_was_being_filled_is_no_run(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    half = interrupted({}, run="01B")
    (half.path / "plan.json").unlink()
    found = find(matrix)
    assert found is not None
    assert found.run == "01A"


def test_only_the_latest_run_of_a_request_counts(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    interrupted(WHOLE, [("a", 0)], run="01B").finish(is_interrupted=False)
    assert find(matrix) is None


def test_another_request_is_another_run(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    assert (
        find(msgspec.structs.replace(matrix, request=msgspec.structs.replace(matrix.request, seed=7))) is None
    )


def test_an_output_folder_may_be_written_in_another_way(
    matrix: RunPlan, interrupted: Interrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(WHOLE, [("a", 0)])
    monkeypatch.chdir(tmp_path)
    found = find(msgspec.structs.replace(matrix, request=msgspec.structs.replace(matrix.request, output=".")))
    assert found is not None
    assert found.run == "01A"


def of_each_cell(plan: RunPlan, **changes: Any) -> RunPlan:
    groups = tuple(
        msgspec.structs.replace(
            group, cells=tuple(msgspec.structs.replace(cell, **changes) for cell in group.cells)
        )
        for group in plan.groups
    )
    return msgspec.structs.replace(plan, groups=groups)


def test_another_version_is_told(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    plugin = matrix.cells()[0].framework
    newer = of_each_cell(matrix, framework=msgspec.structs.replace(plugin, version="2.0"))
    assert reason(find(newer)) == "fwprof-fake was 1.0, and is 2.0"
    runtime = of_each_cell(matrix, framework=msgspec.structs.replace(plugin, runs_on={"numpy": "2.1"}))
    assert reason(find(runtime)) == "numpy was not installed, and is 2.1"
    core = msgspec.structs.replace(matrix, fwprof_version="9")
    assert reason(find(core)) == "it was measured by fwprof 0.1.0, and this is 9"


def test_another_machine_is_told(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    elsewhere = msgspec.structs.replace(STORED.machine, fingerprint="1" * 16)
    assert reason(find(matrix, machine=elsewhere)) == "it was measured on another machine"
    # A boot later is the same machine.
    assert (
        find(matrix, machine=msgspec.structs.replace(STORED.machine, boot_id="later", kernel="7")) is not None
    )


def test_a_workload_that_was_edited_is_told(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    workload = msgspec.structs.replace(matrix.cells()[0].workload, parameter_count=1)
    first = of_each_cell(msgspec.structs.replace(matrix, groups=matrix.groups[:1]), workload=workload)
    edited = msgspec.structs.replace(matrix, groups=(*first.groups, *matrix.groups[1:]))
    assert reason(find(edited)) == "the workload a was changed"


def test_anything_else_that_resolves_differently_is_told(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    other = msgspec.structs.replace(matrix, limits={"block": 1.0})
    assert reason(find(other)) == "what it asks for resolves to other cells or settings now"


@pytest.mark.parametrize(("days", "is_resumed"), [(2.0, True), (400.0, False)])
def test_a_run_of_long_ago_is_not_taken_over_unasked(
    matrix: RunPlan, interrupted: Interrupted, days: float, is_resumed: bool
) -> None:
    folder = interrupted(WHOLE, [("a", 0)])
    told = (folder.path / "sessions.jsonl").read_text()
    year = datetime.now().astimezone().year
    (folder.path / "sessions.jsonl").write_text(told.replace(f'"finished":"{year}', '"finished":"2029'))
    found = find(matrix, days=days)
    assert found is not None
    assert (found.reason == "") is is_resumed
    if not is_resumed:
        assert reason(found) == "it was measured more than 3 days ago"
    assert find(matrix, "failed", days=400) is not None


def test_a_living_run_is_left_alone(matrix: RunPlan, interrupted: Interrupted) -> None:
    interrupted(WHOLE, [("a", 0)])
    with RunFolder.create(msgspec.structs.replace(matrix, run_id="01B"), STORED.machine):
        found = find(matrix)
    assert "is measuring it now" in reason(found)


def test_a_run_that_cannot_be_read_is_told(matrix: RunPlan, interrupted: Interrupted) -> None:
    folder = interrupted(WHOLE, [("a", 0)])
    (folder.path / "machine.json").write_text("{")
    assert "machine.json is not JSON" in reason(find(matrix))


def test_a_cell_alone_and_one_session_of_one_group_are_measured_anew(
    matrix: RunPlan, interrupted: Interrupted
) -> None:
    group = matrix.groups[0]
    alone = msgspec.structs.replace(group, cells=group.cells[:1])
    for groups, sessions in (((alone,), 2), ((group,), 1)):
        schedule = msgspec.structs.replace(matrix.schedule, sessions=sessions)
        plan = msgspec.structs.replace(matrix, groups=groups, schedule=schedule)
        interrupted({"a0/0": ENDED, "a1/0": ENDED}, [("a", 0)], run=f"01{sessions}", plan=plan)
        assert find(plan) is None
    assert find(matrix, "never") is None


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("{folder}/net.py:make", "net.py was written since then"),
        ("nets.big:make", "whether nets.big was changed since then cannot be seen"),
    ],
)
def test_a_model_that_may_have_changed_is_told(
    matrix: RunPlan, interrupted: Interrupted, tmp_path: Path, factory: str, why: str
) -> None:
    (tmp_path / "net.py").write_text("")
    factory = factory.format(folder=tmp_path)
    native = WorkloadPlan(name="net", native=NativeModel(factory=factory))
    request = msgspec.structs.replace(matrix.request, models=(ModelChoice(factory=factory),))
    plan = of_each_cell(msgspec.structs.replace(matrix, request=request), workload=native)
    old = msgspec.structs.replace(plan, created="2020-01-01T00:00:00+00:00")
    interrupted(WHOLE, [("a", 0)], plan=old)
    assert reason(find(plan)) == why
