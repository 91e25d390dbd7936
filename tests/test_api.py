"""fwprof inside another program: records in and out, any thread, and nothing left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

import fwprof
from fwprof import api, events
from fwprof.choices import parse_framework
from fwprof.errors import PluginError, PluginNotFoundError, RequestError, StoreError
from fwprof.testing.installed import installed

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "embed.py"


@pytest.fixture(autouse=True)
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    with installed(tmp_path / "installed"):
        yield


def short(**fields: Any) -> dict[str, Any]:
    """One cell of the fake framework, as little of it as can be measured."""
    return {
        "workloads": ("mlp-small",),
        "plugins": ("fake",),
        "devices": ("fakecard:0",),
        "rounds": 2,
        "max_seconds": 0.5,
        "memory": False,
        "equivalence": "skip",
        **fields,
    }


def in_words(event: events.Event) -> str:
    match event:
        case events.GroupStarted(group=group, session=session, sessions=sessions):
            return f"group {group}, session {session + 1} of {sessions}"
        case events.PassStarted(name=name):
            return f"pass {name}"
        case events.StageEntered(cell=cell, stage=stage, replica=replica):
            return f"{'replica of ' * replica}{cell}: {stage}"
        case events.RoundDone(round=number):
            return f"round {number}"
        case events.CellEnded(cell=cell, fate=fate):
            return f"{cell}: {fate}"
        case events.Trained(cell=cell, points=points):
            return f"{cell}: epoch {points[0].epoch}"
    return type(event).__name__


def test_the_order_of_all_events_of_a_run_of_two_cells() -> None:
    heard: list[str] = []
    threads: set[int] = set()

    def observe(event: events.Event) -> None:
        heard.append(in_words(event))
        threads.add(threading.get_ident())

    fwprof.profile(
        **short(plugins=("fake", "fake:graph"), schedule="interleaved", memory=True, equivalence="check"),
        observer=observe,
    )
    one, two = "mlp-small.fake.fakecard-0", "mlp-small.fake-graph.fakecard-0"
    opened = ("import", "build", "first_step")
    verified = ("import", "build", "verify", "finish")
    assert [line for line in heard if not line.startswith("round")] == [
        "RunPlanned",
        "pass mlp-small equivalence",
        *[
            line
            for cell in (one, one, two, two)
            for line in (*(f"{cell}: {s}" for s in verified), f"{cell}: ok")
        ],
        "group mlp-small, session 1 of 1",
        *(f"{one}: {stage}" for stage in opened),
        *(f"{two}: {stage}" for stage in opened),
        *(f"replica of {one}: {stage}" for stage in opened),
        f"{one}: warm_up",
        f"{two}: warm_up",
        f"replica of {one}: warm_up",
        f"{one}: check",
        f"{two}: check",
        f"replica of {one}: check",
        f"{one}: finish",
        f"{one}: ok",
        f"{two}: finish",
        f"{two}: ok",
        f"replica of {one}: finish",
        "pass memory",
        *(f"{one}: {stage}" for stage in (*opened, "memory", "energy", "finish")),
        f"{one}: ok",
        *(f"{two}: {stage}" for stage in (*opened, "memory", "energy", "finish")),
        f"{two}: ok",
        "pass machine's limits",
        "RunStored",
    ]
    assert sum(line.startswith("round") for line in heard) == 2
    assert threads == {threading.get_ident()}


def test_what_is_returned_is_what_is_stored() -> None:
    result = fwprof.profile(**short())
    assert isinstance(result, fwprof.RunResult)
    assert fwprof.load("last") == fwprof.load(result.plan.run_id[:20]) == result
    assert fwprof.load(str(api.run_path(result))) == result
    (run,) = fwprof.runs()
    assert (run.id, run.state) == (result.plan.run_id, "complete")
    (cell,) = fwprof.summarize(result).cells
    assert cell.metrics["step_time"].p50 is not None
    assert (cell.fate, cell.metrics["step_time"].unit) == ("ok", "ns")


def test_a_request_is_as_good_as_keywords() -> None:
    fields = {**short(), "plugins": (parse_framework("fake:graph,slow=2"),)}
    request = fwprof.RunRequest(**fields)
    by_record = fwprof.make_plan(request)
    by_keywords = fwprof.make_plan(**short(plugins=["fake:graph,slow=2"]))
    same = {"run_id": "", "created": ""}
    assert msgspec.structs.replace(by_record, **same) == msgspec.structs.replace(by_keywords, **same)


def test_a_path_may_be_given_as_a_path(tmp_path: Path) -> None:
    assert fwprof.make_plan(**short(output=tmp_path / "there")).request.output == str(tmp_path / "there")


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"typo": 1}, "Object contains unknown field `typo`"),
        ({"rounds": 0}, "Expected `int` >= 1 - at `$.rounds`"),
        ({"plugins": "fake"}, "Expected `array`, got `str` - at `$.plugins`"),
        ({"workloads": "mlp"}, "Expected `array`, got `str` - at `$.workloads`"),
        ({"plugins": 3}, "Expected `array`, got `int` - at `$.plugins`"),
        ({"output": object()}, "no field takes a value of type object"),
    ],
)
def test_keywords_that_do_not_fit_are_named(fields: dict[str, Any], cause: str) -> None:
    with pytest.raises(RequestError, match="the request does not fit RunRequest") as caught:
        fwprof.make_plan(**short(**fields))
    assert cause in caught.value.cause


def test_a_record_made_by_hand_is_checked_too() -> None:
    request = fwprof.RunRequest(workloads="mlp")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(RequestError, match="the request does not fit RunRequest"):
        fwprof.make_plan(request)


def test_a_request_and_keywords_together_are_refused() -> None:
    with pytest.raises(RequestError, match="a request and keywords were given together") as caught:
        fwprof.profile(fwprof.RunRequest(), rounds=3)
    assert caught.value.cause == "keywords: rounds"


def test_what_is_not_installed_raises_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PluginNotFoundError, match="no framework plugin 'fakee' is installed; did you mean"):
        fwprof.profile(**short(plugins=("fakee",)))
    assert not (tmp_path / "fwprof-runs").exists()


def test_a_device_plugin_that_is_not_installed_is_named() -> None:
    with pytest.raises(
        PluginError, match="no device plugin 'fakecrad' is installed; did you mean 'fakecard'"
    ):
        fwprof.make_plan(**short(devices=("fakecrad",)))


def test_an_output_that_cannot_be_written_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        fwprof.profile(**short(output=str(tmp_path / "file")))


def test_a_run_is_exported_by_a_plugin(tmp_path: Path) -> None:
    result = fwprof.profile(**short(), isolate=False)
    for reference in (result, "last"):
        (path,) = fwprof.export(reference, "fakelines", f"lines-{type(reference).__name__}.txt")
        assert path.read_text() == "mlp-small.fake.fakecard-0 ok\n"
        assert path.parent == tmp_path


def test_it_runs_in_any_thread() -> None:
    results: list[fwprof.RunResult] = []
    heard: set[int] = set()
    thread = threading.Thread(
        target=lambda: results.append(
            fwprof.profile(**short(), observer=lambda _: heard.add(threading.get_ident()))
        )
    )
    thread.start()
    thread.join()
    assert [cell.fate for cell in results[0].cells] == ["ok"]
    assert heard == {thread.ident}


@pytest.mark.parametrize("isolate", [True, False])
def test_another_thread_stops_a_run_and_what_was_measured_is_kept(isolate: bool) -> None:
    stop, measured = fwprof.Cancellation(), threading.Event()

    def observe(event: events.Event) -> None:
        if isinstance(event, events.RoundDone):
            measured.set()

    thread = threading.Thread(target=lambda: (measured.wait(), stop.cancel()))
    thread.start()
    result = fwprof.profile(**short(rounds=100_000), observer=observe, cancellation=stop, isolate=isolate)
    thread.join()
    (cell,) = result.cells
    assert result.is_interrupted
    assert (cell.fate, "incomplete" in cell.labels) == ("interrupted", True)
    assert len(cell.measurements[0].blocks) >= 5
    assert fwprof.load("last") == result


def test_a_run_cancelled_beforehand_measures_nothing_and_is_stored() -> None:
    stop = fwprof.Cancellation()
    stop.cancel()
    stop.cancel()
    result = fwprof.profile(**short(), cancellation=stop)
    assert (result.is_interrupted, [cell.fate for cell in result.cells]) == (True, ["interrupted"])


def test_a_signal_handler_may_cancel() -> None:
    stop = fwprof.Cancellation()
    before = signal.signal(signal.SIGUSR1, lambda *_: stop.cancel())
    try:
        result = fwprof.profile(
            **short(rounds=100_000),
            cancellation=stop,
            observer=lambda event: (
                signal.raise_signal(signal.SIGUSR1) if isinstance(event, events.RoundDone) else None
            ),
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert result.is_interrupted


def test_cells_measured_in_this_process_say_so_and_why_memory_is_not() -> None:
    result = fwprof.profile(**short(memory=True, plugins=("fake", "fake:graph")), isolate=False)
    assert not result.plan.is_isolated
    for cell in result.cells:
        assert (cell.fate, cell.labels) == ("ok", ("in_process", "synthetic_data"))
        for name in ("host_peak", "host_import"):
            reading = cell.readings[name]
            assert (reading.value, reading.reason) == (
                None,
                "measured inside the caller's process, where the model's share cannot be told apart",
            )
    assert result.limits == {}


def state() -> dict[str, Any]:
    """What a library must not change in the process that calls it."""
    process = psutil.Process()
    return {
        "collects": gc.isenabled(),
        "thresholds": gc.get_threshold(),
        "frozen": gc.get_freeze_count(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "path": list(sys.path),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "descriptors": process.num_fds(),
        "children": process.children(recursive=True),
        "hooks": (sys.excepthook, sys.stdout, sys.stderr),
    }


@pytest.mark.parametrize("isolate", [True, False])
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolate: bool) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_parts.py").write_text("from fwprof.testing.native_network import make\n")
    (tmp_path / "mine" / "my_net.py").write_text("from my_parts import make\n")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    own = short(workloads=(), models=(f"fake={tmp_path}/mine/my_net.py:make",))
    fwprof.profile(**own, isolate=isolate)
    gc.collect()
    before, modules = state(), set(sys.modules)
    result = fwprof.profile(**own, isolate=isolate)
    gc.collect()
    assert [cell.fate for cell in result.cells] == ["ok"]
    assert state() == before
    assert set(sys.modules) - modules == set()
    assert {"my_net", "my_parts"} & set(sys.modules) == set()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_importing_fwprof_imports_no_heavy_package() -> None:
    program = (
        "import sys, fwprof; fwprof.profile; "
        "print({'numpy', 'scipy', 'rich', 'yaml', 'psutil', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fwprof' has no attribute 'profil'"):
        fwprof.profil  # noqa: B018  # type: ignore[attr-defined]  # what is tested


def test_an_observer_that_raises_ends_the_run_and_leaves_no_process() -> None:
    def observe(event: events.Event) -> None:
        if isinstance(event, events.RoundDone):
            raise ZeroDivisionError("the observer's own")

    children = psutil.Process().children(recursive=True)
    with pytest.raises(ZeroDivisionError, match="the observer's own"):
        fwprof.profile(**short(), observer=observe)
    assert psutil.Process().children(recursive=True) == children
    (run,) = fwprof.runs()
    assert run.state == "interrupted"
    assert fwprof.load(run.id).cells[0].measurements[0].blocks


def test_the_example_of_another_program_runs() -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "--framework", "fake", "--device", "fakecard:0"),
            *("--last", "16", "--rounds", "2", "--seconds", "0.5"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:1] == ["16"]
    assert done.stdout.rstrip().endswith("samples/s <-")
    assert "batch 16: ok" in done.stderr


def test_the_example_says_what_it_cannot_do() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--framework", "absent", "--device", "fakecard:0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no framework plugin 'absent' is installed\n")


def test_the_example_stops_when_it_is_asked_to() -> None:
    started = subprocess.Popen(
        [
            *(sys.executable, str(EXAMPLE), "--framework", "fake", "--device", "fakecard:0"),
            *("--rounds", "100000"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    while "round" not in (line := started.stderr.read(20)):
        assert line
    started.send_signal(signal.SIGINT)
    out, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    assert out.split()[:1] == ["16"]


def test_the_limits_of_the_machine_can_be_left_unmeasured() -> None:
    passes: list[str] = []

    def observe(event: events.Event) -> None:
        if isinstance(event, events.PassStarted):
            passes.append(event.name)

    assert fwprof.profile(**short(machine_limits=False), observer=observe).limits == {}
    assert passes == []
