"""A matrix that was cut off, by whatever, is finished by the same command, and nothing is measured twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import fwprof
from fwprof import api, events
from fwprof.errors import RequestError
from fwprof.records import RunResult
from fwprof.report.origin import origin_rows
from fwprof.testing.installed import FAKES, FakeDistribution, installed

TINY = """\
name: {name}
input: {{shape: [16]}}
layers: [{{kind: dense, units: 8, activation: relu}}, {{kind: dense, units: 4}}]
classes: 4
optimizer: {{kind: sgd, learning_rate: 0.01}}
data: {{source: synthetic, samples: 64}}
batch_size: {{default: 4}}
"""
CONFIG = """\
workloads: [one.yaml, two.yaml, three.yaml]
plugins: [fake, "fake:graph"]
devices: ["fakecard:0"]
schedule: interleaved
threads: [1]
processes: 2
rounds: 2
max_seconds: 0.2
epochs: 1
machine_limits: false
"""
UNITS = {(group, session) for group in ("one", "two", "three") for session in (0, 1)}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "installed").mkdir()
    (tmp_path / "matrix").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "matrix" / f"{name}.yaml").write_text(TINY.format(name=name))
    (tmp_path / "matrix" / "all.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    with installed(tmp_path / "installed"):
        yield tmp_path


def fields(**changes: Any) -> dict[str, Any]:
    """The smallest matrix: two workloads, two cells each, one session."""
    return {
        "workloads": ("matrix/one.yaml", "matrix/two.yaml"),
        "plugins": ("fake", "fake:graph"),
        "devices": ("fakecard:0",),
        "schedule": "interleaved",
        "threads": (1,),
        "rounds": 2,
        "max_seconds": 0.2,
        "memory": False,
        "machine_limits": False,
        "equivalence": "skip",
        **changes,
    }


class Heard:
    """An observer that remembers, and stops the run where it is told to."""

    def __init__(self, stop_at: type[events.Record] | None = None, count: int = 1) -> None:
        self.events: list[events.Event] = []
        self.cancellation = fwprof.Cancellation()
        self._stop_at = stop_at
        self._count = count

    def __call__(self, event: events.Event) -> None:
        self.events.append(event)
        if self._stop_at is not None and len(self.of(self._stop_at)) == self._count:
            self.cancellation.cancel()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def measured(self) -> list[tuple[str, int]]:
        return [(event.group, event.session) for event in self.of(events.GroupStarted)]


def stopped(
    stop_at: type[events.Record], count: int = 1, *, isolate: bool = False, **changes: Any
) -> RunResult:
    """Measure until the count-th event of a kind; in this process, since that is quicker."""
    heard = Heard(stop_at, count)
    result = fwprof.profile(
        **fields(**changes),
        observer=heard,
        cancellation=heard.cancellation,
        resume="unfinished",
        isolate=isolate,
    )
    assert result.is_interrupted
    return result


def resumed(
    resume: api.Resume = "unfinished", *, isolate: bool = False, **changes: Any
) -> tuple[RunResult, Heard]:
    heard = Heard()
    result = fwprof.profile(**fields(**changes), observer=heard, resume=resume, isolate=isolate)
    return result, heard


def journals(run: str, group: str, session: int) -> Mapping[str, bytes]:
    """Return the journals of one group and session, replicas' too."""
    folder = Path("fwprof-runs") / run / "cells"
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in folder.glob(f"{group}.*/{session}*.jsonl")
    }


def check_whole(result: RunResult) -> None:
    """Every cell once, and what another run measured is the same bytes as there."""
    ids = [cell.id for cell in result.cells]
    assert len(ids) == len(set(ids)) == len(result.plan.cells())
    assert not result.is_interrupted
    for cell in result.cells:
        own = [measurement.session for measurement in cell.measurements if not measurement.replica]
        assert own == list(range(result.plan.schedule.sessions)), cell.id
        assert cell.fate == "ok", cell.failure
        assert {measurement.fate for measurement in cell.measurements} == {"ok"}
        programs = [(block.round, block.program) for block in cell.measurements[0].blocks]
        assert len(programs) == len(set(programs)) == 10
    units = [(session.group, session.session) for session in result.sessions]
    assert len(units) == len(set(units))
    for session in result.sessions:
        here = journals(result.plan.run_id, session.group, session.session)
        assert here == journals(session.run, session.group, session.session)
        assert len(here) == 3


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fwprof.cli.main", "profile", "--config", "matrix/all.yaml", *words]


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.sweep)])
def test_killed_at_random_moments_the_last_table_has_every_cell_once(kills: int, place: Path) -> None:
    moments = random.Random(kills)
    known: set[tuple[str, int]] = set()
    for _ in range(kills):
        with subprocess.Popen(
            command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            # A moment is what it is: where it falls differs, and nothing rests on it.
            threading.Event().wait(moments.uniform(0.5, 6.0))
            process.send_signal(signal.SIGKILL)
        last = [run for run in fwprof.runs() if run.state != "unreadable"]
        if last:
            found = {(each.group, each.session) for each in fwprof.load(last[-1].id).sessions}
            assert known <= found
            # Quicker than its kill, a command ended the run: the next one begins anew.
            known = set() if last[-1].state == "complete" else found
    done = subprocess.run(command("--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"]) == 6
    result = fwprof.load(document["run"])
    check_whole(result)
    assert {(each.group, each.session) for each in result.sessions} == UNITS
    assert all(cell.training and cell.readings for cell in result.cells)
    assert all(cell.equivalence.status in ("reference", "equivalent") for cell in result.cells)
    for run in fwprof.runs()[:-1]:
        assert run.state in ("interrupted", "complete")
        assert fwprof.summarize(fwprof.load(run.id)).run == run.id


def test_a_matrix_that_was_stopped_goes_on_where_it_was() -> None:
    first = stopped(events.GroupStarted, 2)
    result, heard = resumed()
    check_whole(result)
    assert heard.measured() == [("two", 0)]
    (told,) = heard.of(events.RunResumed)
    assert (told.run, told.cells, told.timed, told.sessions, told.measured) == (first.plan.run_id, 4, 2, 2, 1)
    assert [each.run for each in result.sessions] == [first.plan.run_id, result.plan.run_id]
    assert result.plan.resumes == first.plan.run_id
    # run.json of the first is as it was: what it said of itself stays true.
    assert fwprof.load(first.plan.run_id) == first
    assert [(run.state, run.resumed_by) for run in fwprof.runs()] == [
        ("interrupted", result.plan.run_id),
        ("complete", ""),
    ]


def test_sessions_of_several_runs_carry_a_label_and_the_report_says_when() -> None:
    stopped(events.GroupStarted, 3, processes=2)
    result, _ = resumed(processes=2)
    labels = {cell.id: "resumed" in cell.labels for cell in fwprof.summarize(result).cells}
    assert set(labels.values()) == {True}
    rows = dict(origin_rows(result))
    line = rf"2 of 4 sessions of groups measured by {result.plan.resumes}, \d{{4}}-.* UTC"
    assert re.fullmatch(line, rows["resumed"])
    shown = subprocess.run(
        [sys.executable, "-m", "fwprof.cli.main", "show", "last"], capture_output=True, text=True, check=True
    )
    assert "2 of 4 sessions of groups" in shown.stdout


def test_a_group_measured_by_one_run_alone_carries_no_label() -> None:
    stopped(events.GroupStarted, 2)
    result, _ = resumed()
    assert all("resumed" not in cell.labels for cell in fwprof.summarize(result).cells)


def test_passes_after_the_timing_go_on_cell_by_cell() -> None:
    stopped(events.Trained, 3, epochs=1)
    result, heard = resumed(epochs=1)
    check_whole(result)
    assert heard.measured() == []
    assert len(heard.of(events.Trained)) == 2
    assert all(cell.training for cell in result.cells)


def test_verifying_is_not_done_twice() -> None:
    stopped(events.PassStarted, 2, equivalence="check", isolate=True)
    result, heard = resumed(equivalence="check", isolate=True)
    assert [event.name for event in heard.of(events.PassStarted)] == ["two equivalence"]
    assert {cell.equivalence.status for cell in result.cells} == {"reference", "equivalent"}


def test_a_finished_run_and_another_request_are_measured_anew() -> None:
    first = stopped(events.GroupStarted, 2)
    other, heard = resumed(seed=1)
    assert (heard.of(events.RunResumed), other.plan.resumes) == ([], "")
    result, _ = resumed()
    assert result.plan.resumes == first.plan.run_id
    anew, heard = resumed()
    assert (anew.plan.resumes, len(heard.measured())) == ("", 2)


def test_a_library_call_resumes_nothing_unasked() -> None:
    stopped(events.GroupStarted, 2)
    result = fwprof.profile(**fields(), isolate=False)
    assert result.plan.resumes == ""


def test_another_version_of_a_plugin_is_told_and_begins_anew(place: Path) -> None:
    newer = FakeDistribution(name=FAKES.name, entry_points=FAKES.entry_points, version="2.0")
    first = stopped(events.GroupStarted, 2)
    for info in (place / "installed").glob("*.dist-info"):
        info.rename(place / info.name)
    (place / "newer").mkdir()
    with installed(place / "newer", newer):
        result, heard = resumed()
    (told,) = heard.of(events.RunNotResumed)
    assert (told.run, told.reason) == (first.plan.run_id, "fwprof-fakes was 1.0, and is 2.0")
    assert (result.plan.resumes, len(heard.measured())) == ("", 2)


def test_a_run_that_is_still_measured_is_left_alone() -> None:
    measuring, go_on = threading.Event(), threading.Event()

    def wait(event: events.Event) -> None:
        if isinstance(event, events.GroupStarted) and event.group == "two":
            measuring.set()
            go_on.wait()

    results: list[RunResult] = []
    first = threading.Thread(
        target=lambda: results.append(fwprof.profile(**fields(), observer=wait, isolate=False))
    )
    first.start()
    measuring.wait()
    try:
        second, heard = resumed()
    finally:
        go_on.set()
        first.join()
    (told,) = heard.of(events.RunNotResumed)
    assert told.reason == f"process {os.getpid()} is measuring it now"
    check_whole(second)
    check_whole(results[0])


def flaky(place: Path) -> FakeDistribution:
    """A framework that fails while the file `broken` is there, in the workload `two`."""
    source = f"""
from pathlib import Path
from fwprof.testing.fake_framework import FakeFramework, hookimpl

class Flaky(FakeFramework):
    @hookimpl
    def build_model(self, workload, device, options):
        if workload.name == "two" and Path({str(place / "broken")!r}).exists():
            raise RuntimeError("it is broken")
        return super().build_model(workload, device, options)

plugin = Flaky()
"""
    return FakeDistribution(
        name="fwprof-flaky",
        entry_points={"fwprof.frameworks": {"flaky": "flaky_framework:plugin"}},
        modules={"flaky_framework": source},
    )


def test_failed_cells_are_measured_again_only_when_that_is_asked_for(place: Path) -> None:
    changes: dict[str, Any] = {"plugins": ("fake", "flaky"), "settings": "as-shipped"}
    changes |= {"memory": True, "isolate": True}
    (place / "flaky").mkdir()
    (place / "broken").write_text("")
    with installed(place / "flaky", flaky(place)):
        first, _ = resumed(**changes)
        assert [cell.fate for cell in first.cells] == ["ok", "ok", "ok", "failed"]
        (place / "broken").unlink()
        again, heard = resumed("failed", **changes)
        check_whole(again)
        assert heard.measured() == [("two", 0)]
        (told,) = heard.of(events.RunResumed)
        assert told.failed == ("two.flaky.fakecard-0",)
        memory = {e.cell for e in heard.of(events.StageEntered) if e.stage == "memory"}
        assert memory == {"two.flaky.fakecard-0"}
        assert all("host_peak" in cell.readings for cell in again.cells)
        with pytest.raises(RequestError, match=f"no cell of run {again.plan.run_id} failed"):
            resumed("failed", **changes)
        # Without being asked for, a finished run is simply measured again.
        anew, heard = resumed(**changes)
        assert (anew.plan.resumes, len(heard.measured())) == ("", 2)


def test_failed_cells_of_an_interrupted_run_stay_failed_until_asked_for(place: Path) -> None:
    changes: dict[str, Any] = {"plugins": ("fake", "flaky"), "settings": "as-shipped"}
    changes |= {"workloads": ("matrix/two.yaml", "matrix/one.yaml")}
    (place / "flaky").mkdir()
    (place / "broken").write_text("")
    with installed(place / "flaky", flaky(place)):
        stopped(events.GroupStarted, 2, **changes)
        result, heard = resumed(**changes)
    assert heard.measured() == [("one", 0)]
    assert [cell.fate for cell in result.cells] == ["ok", "failed", "ok", "ok"]


def test_failed_cells_of_no_run_cannot_be_measured_again() -> None:
    with pytest.raises(RequestError, match="there is no run of this request") as caught:
        resumed("failed")
    assert caught.value.next == "leave out --retry-failed: everything is measured anew"


def test_failed_cells_of_a_changed_workload_cannot_be_measured_beside_the_others() -> None:
    first = stopped(events.GroupStarted, 2)
    file = Path("matrix/one.yaml")
    file.write_text(file.read_text().replace("units: 8", "units: 9"))
    with pytest.raises(RequestError, match=f"run {first.plan.run_id} cannot be taken up again") as caught:
        resumed("failed")
    assert caught.value.cause == "the workload one was changed"


def test_a_dry_run_says_what_is_left_and_how_long_it_takes() -> None:
    words = ["--dry-run", "--json"]
    whole = json.loads(subprocess.run(command(*words), capture_output=True, text=True, check=True).stdout)
    assert whole["resumes"] is None
    assert sum(cost["seconds"] for cost in whole["estimate"].values()) == whole["estimated_seconds"]
    heard = Heard(events.GroupStarted, 3)
    request = fwprof.RunRequest(**{
        **fields(workloads=tuple(f"matrix/{name}.yaml" for name in ("one", "two", "three"))),
        "plugins": tuple(map(api.choices.parse_framework, ("fake", "fake:graph"))),
        "processes": 2, "epochs": 1, "memory": True, "equivalence": "check",
    })  # fmt: skip
    fwprof.profile(request, observer=heard, cancellation=heard.cancellation)
    left = json.loads(subprocess.run(command(*words), capture_output=True, text=True, check=True).stdout)
    assert (left["resumes"]["measured"], left["resumes"]["sessions"]) == (2, 6)
    assert "verifying" not in left["estimate"]
    assert left["estimate"]["timing"]["workers"] == whole["estimate"]["timing"]["workers"] * 4 // 6
    text = subprocess.run(command("--dry-run"), capture_output=True, text=True, check=True).stdout
    assert f"resuming {left['resumes']['run']} of " in text
    assert "2 of 6 sessions of groups" in text
    assert re.search(r"timing +12 processes", text)
    assert len(fwprof.runs()) == 1


def test_fresh_begins_anew_and_excludes_retrying() -> None:
    both = subprocess.run(command("--fresh", "--retry-failed"), capture_output=True, text=True, check=False)
    assert both.returncode == 2
    assert "--fresh and --retry-failed exclude each other" in both.stderr
    heard = Heard(events.GroupStarted, 2)
    words = command("--fresh", "--dry-run")
    fwprof.profile(**fields(), observer=heard, cancellation=heard.cancellation, isolate=False)
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "resuming" not in said
