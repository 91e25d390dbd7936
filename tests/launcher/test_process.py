"""Real worker processes: they wait for each other, end with their parent, and leave nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

import fwprof
from fwprof import host, planning
from fwprof.cancellation import Cancellation
from fwprof.errors import InterruptedRunError, WorkerCrashedError
from fwprof.launcher.guard import Guard
from fwprof.launcher.link import WorkerEnded
from fwprof.launcher.process import Switchboard, WorkerProcess
from fwprof.launcher.schedules import settle
from fwprof.records import PluginRef, frames
from fwprof.testing.installed import installed

CARDS = PluginRef(
    kind="device", name="fakecard", distribution="x", version="1", value="fwprof.testing.fake_device"
)


@pytest.fixture
def guard() -> Iterator[Guard]:
    with closing(Guard()) as guard:
        yield guard


@pytest.fixture
def switchboard() -> Iterator[Switchboard]:
    with closing(Switchboard(Cancellation())) as switchboard:
        yield switchboard


@pytest.fixture
def worker(switchboard: Switchboard, guard: Guard, tmp_path: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(switchboard, guard, {"FOR_TEST": "1"}, planning.LIMITS, tmp_path / "log")
    yield worker
    worker.end()


def test_a_worker_answers_and_is_gone_after_its_end(worker: WorkerProcess) -> None:
    worker.send(frames.ListDevices(plugin=CARDS))
    report = worker.receive()
    assert isinstance(report, frames.DevicesListed)
    assert len(report.devices) == 2
    assert os.getpgid(worker.pid) == worker.pid != os.getpgid(0)
    worker.end()
    worker.end()
    assert host.is_group_gone(worker.pid)
    assert not psutil.pid_exists(worker.pid)


def test_a_worker_has_the_variables_of_its_device(worker: WorkerProcess) -> None:
    # The kernel shows no variables for a moment while the process is being replaced.
    deadline = time.monotonic() + 30
    while not (variables := psutil.Process(worker.pid).environ()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert variables["FOR_TEST"] == "1"


def test_a_killed_worker_says_by_which_signal(worker: WorkerProcess) -> None:
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerEnded, match="the worker was killed by SIGSEGV") as caught:
        worker.receive()
    assert (caught.value.failure.fate, caught.value.failure.stage) == ("killed", "start")


def test_a_worker_that_is_late_is_killed(switchboard: Switchboard, guard: Guard) -> None:
    worker = WorkerProcess(switchboard, guard, {}, {**planning.LIMITS, "start": 0.01})
    with pytest.raises(WorkerEnded, match=r"stage start took longer than its limit of 0\.01 s") as caught:
        worker.receive()
    assert caught.value.failure.fate == "timeout"
    assert caught.value.failure.next == "--limit start=0.04 gives it more time"
    assert host.is_group_gone(worker.pid)


def test_a_cancelled_run_waits_for_no_worker(worker: WorkerProcess, switchboard: Switchboard) -> None:
    switchboard.cancellation.cancel()
    with pytest.raises(InterruptedRunError, match="the run was cancelled"):
        worker.receive()


def test_an_interpreter_that_is_not_there_is_named(switchboard: Switchboard, guard: Guard) -> None:
    with pytest.raises(WorkerCrashedError, match="a worker could not be started") as caught:
        WorkerProcess(switchboard, guard, {}, planning.LIMITS, None, "/nowhere/python")
    assert "/nowhere/python" in caught.value.cause


PARENT = """
import os, subprocess, sys, time
from fwprof.launcher.guard import Guard
guard = Guard()
groups = [
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    ).pid
    for _ in range(2)
]
for group in groups:
    guard.watch(group, f"mark{group}")
guard.release(groups[1], f"mark{groups[1]}")
print(*groups, flush=True)
time.sleep(600)
"""


def wait_until_gone(pid: int) -> bool:
    end = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_workers_whose_parent_was_killed_are_killed_unless_released() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    watched, released = map(int, parent.stdout.readline().split())
    try:
        parent.kill()
        parent.wait()
        assert wait_until_gone(watched)
        assert psutil.Process(released).is_running()
    finally:
        os.kill(released, signal.SIGKILL)
        parent.stdout.close()


def test_a_guard_that_somebody_killed_does_not_take_the_run_with_it() -> None:
    before = set(psutil.Process().children())
    guard = Guard()
    # By its being new: its command line is there only a moment after the call that starts it.
    (process,) = set(psutil.Process().children()) - before
    process.kill()
    process.wait()
    guard.watch(1 << 22, "mark")
    guard.release(1 << 22, "mark")
    guard.close()


def spinning(seconds: float) -> subprocess.Popen[str]:
    program = (
        f"import time; print(flush=True); end = time.monotonic() + {seconds}\n"
        "while time.monotonic() < end: pass\nprint(flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("runnable", [host.runnable_tasks, lambda: None, lambda: 2])
def test_settling_comes_back_once_the_others_are_quiet(
    runnable: Callable[[], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "runnable_tasks", runnable)
    quiet = spinning(0.3)
    try:
        # A cap of an hour: what returns at all has seen the process go quiet.
        settle([None, quiet.pid], 3600 * 10**9)
        said_that_it_is_done, _, _ = select.select([quiet.stdout], [], [], 0)
        assert said_that_it_is_done
        assert quiet.poll() is None
    finally:
        quiet.kill()
        quiet.communicate()


def test_settling_gives_up_at_its_cap() -> None:
    busy = spinning(600.0)
    try:
        settle([busy.pid], 20_000_000)
        # It never goes quiet: the cap alone let it come back.
        assert busy.poll() is None
    finally:
        busy.kill()
        busy.communicate()


def test_settling_with_nobody_returns_at_once() -> None:
    settle([], 10**18)
    settle([None, None], 10**18)


def test_only_one_worker_measures_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    with installed(tmp_path / "installed"):
        result = fwprof.profile(
            workloads=("mlp-small",),
            plugins=("fake,forward_us=500", "fake:graph,forward_us=500"),
            devices=("fakecard:0",),
            schedule="interleaved",
            rounds=3,
            max_seconds=1.0,
            memory=False,
            output=str(tmp_path / "runs"),
        )
    blocks = sorted(
        (block for cell in result.cells for measurement in cell.measurements for block in measurement.blocks),
        key=lambda block: block.start_ns,
    )
    assert [cell.fate for cell in result.cells] == ["ok", "ok"]
    assert len(blocks) == 3 * 5 * 3
    ends = [block.start_ns + sum(block.step_ns) for block in blocks]
    assert all(end <= block.start_ns for end, block in zip(ends, blocks[1:], strict=False))
    assert [(block.round, block.order) for block in blocks] == [(r, o) for r in range(3) for o in range(15)]
