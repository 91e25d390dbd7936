"""A worker answers every order, and whatever is raised inside it becomes a stored failure."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwprof import workloads
from fwprof.records import (
    CellPlan,
    Device,
    Failure,
    NativeModel,
    PluginRef,
    Scalar,
    Schedule,
    WorkloadPlan,
    frames,
)
from fwprof.testing.clock import FakeClock
from fwprof.testing.installed import FakeDistribution, installed
from fwprof.testing.samples import WORKLOAD, sample_cell, sample_result
from fwprof.worker import Worker
from fwprof.workloads.inputs import write_inputs

FRAMEWORK = "test_worker_plugin:plugin"
SOURCE = """
from fwprof.testing.fake_framework import FakeFramework
from fwprof.testing.clock import FakeClock
clock = FakeClock()
plugin = FakeFramework(clock)
"""
"""The fake framework on a fake clock, which `worker` shares."""


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[FakeClock]:
    fake = FakeDistribution(name="fwprof-fakeclock", modules={"test_worker_plugin": SOURCE})
    (tmp_path / "installed").mkdir()
    with installed(tmp_path / "installed", fake):
        import test_worker_plugin  # type: ignore[import-not-found]  # written above

        yield test_worker_plugin.clock


class Told(list[frames.Report]):
    """What a worker said."""

    @property
    def types(self) -> list[str]:
        return [str(type(report).__struct_config__.tag) for report in self]

    @property
    def failure(self) -> Failure:
        last = self[-1]
        assert isinstance(last, frames.Failed)
        return last.failure


class Conversation:
    """A worker, what it was told and what it said."""

    def __init__(self, clock: FakeClock | None, folder: Path) -> None:
        self.said = Told()
        # Not isolated: this process is pytest's, whose garbage must not be frozen.
        self.worker = Worker(self.said.append, clock=clock, is_isolated=False)
        self._folder = folder

    def ask(self, order: frames.Order) -> Told:
        before = len(self.said)
        self.worker.serve(order)
        return Told(self.said[before:])

    def open(self, cell: CellPlan | None = None, passes: Sequence[str] = ("timing",)) -> Told:
        cell = cell or make_cell()
        if cell.workload.spec is not None and not (self._folder / "inputs").exists():
            (self._folder / "inputs").mkdir()
            write_inputs(cell.workload, 16, 0, self._folder / "inputs", with_data_set=False)
        return self.ask(
            frames.Open(
                cell=cell,
                schedule=Schedule(),
                inputs=str(self._folder / "inputs"),
                cache=str(self._folder),
                passes=tuple(passes),
            )
        )


@pytest.fixture
def talk(clock: FakeClock, tmp_path: Path) -> Conversation:
    return Conversation(clock, tmp_path)


def make_cell(value: str = FRAMEWORK, workload: WorkloadPlan | None = None, **options: Scalar) -> CellPlan:
    cell = sample_cell(
        options=options, workload=workload or workloads.plan_workload(WORKLOAD, 16), value=value
    )
    card = msgspec.structs.replace(cell.device_plugin, name="fakecard", value="fwprof.testing.fake_device")
    device = msgspec.structs.replace(cell.device, kind="fakecard", name="fakecard:1")
    return msgspec.structs.replace(cell, device=device, device_plugin=card)


def test_opening_goes_through_its_stages_in_order(talk: Conversation) -> None:
    told = talk.open()
    assert told.types == ["entered", "entered", "described", "entered", "ready"]
    stages = [report.stage for report in told if isinstance(report, frames.Entered)]
    assert stages == ["import", "build", "first_step"]


def test_what_opening_cost_is_measured_on_the_workers_clock(talk: Conversation) -> None:
    ready = talk.open()[-1]
    assert isinstance(ready, frames.Ready)
    # The fake framework's phases on a fake clock: 0.10 + 0.20 + 0.05 ms.
    assert (ready.startup.first_step_ns, ready.startup.second_step_ns) == (350_000, 350_000)
    assert (ready.startup.import_ns, ready.startup.build_ns) == (0, 0)


def test_the_description_is_the_models_own_with_the_versions_of_prepare(talk: Conversation) -> None:
    (described,) = [report for report in talk.open() if isinstance(report, frames.Described)]
    assert described.description.mode == "eager"
    assert described.description.batch_size == 16
    assert set(described.description.versions) == {"numpy"}


def test_one_conversation_of_a_timing_worker(talk: Conversation) -> None:
    talk.open()
    orders: list[frames.Order] = [
        frames.WarmUp(program="run", cap_ns=10**9),
        frames.RunBlock(round=0, order=0, program="run", reset=True),
        frames.RunBlock(round=0, order=1, program="forward"),
        frames.CheckAnswers(),
        frames.Finish(),
    ]
    # A stage is told once: a second block is answered by its block alone.
    assert [talk.ask(order).types for order in orders] == [
        ["entered", "warm"],
        ["entered", "block_done"],
        ["block_done"],
        ["entered", "checked"],
        ["entered", "finished"],
    ]
    assert talk.worker.is_over


def test_own_loops_are_reported_after_the_guards_and_before_their_answer(talk: Conversation) -> None:
    talk.open(make_cell(loop_us=150))
    told = talk.ask(frames.CheckAnswers())
    assert told.types == ["entered", "api_timed", "checked"]
    assert told[1].times == {"fit": (500_000,) * 5}  # type: ignore[union-attr]  # the type was just looked at


def test_blocks_have_the_length_of_the_programs(talk: Conversation) -> None:
    talk.open()
    steps = {
        program: set(talk.ask(frames.RunBlock(round=0, order=0, program=program))[-1].block.step_ns)  # type: ignore[arg-type, union-attr]  # names of programs; a block
        for program in ("forward", "forward_backward", "run", "next_batch")
    }
    assert steps == {
        "forward": {100_000},
        "forward_backward": {300_000},
        "run": {350_000},
        "next_batch": {20_000},
    }


def test_a_worker_in_somebodys_process_freezes_no_garbage_of_theirs(talk: Conversation) -> None:
    frozen = gc.get_freeze_count()
    talk.open()
    talk.ask(frames.RunBlock(round=0, order=0, program="run", reset=True))
    assert gc.get_freeze_count() == frozen
    assert gc.isenabled()


@pytest.mark.parametrize("passes", [("memory",), ("timing",)])
def test_meters_of_framework_and_device_take_part_in_their_pass_only(
    talk: Conversation, passes: tuple[str, ...]
) -> None:
    talk.open(passes=passes)
    told = talk.ask(frames.TakeReadings(pass_name="memory", seconds=0.0, rate_hz=1.0))
    assert told.types == ["entered", "readings"]
    readings = told[-1].readings  # type: ignore[union-attr]  # Readings
    meters = {"fake.values_bytes", "fakecard.memory_used"} if passes == ("memory",) else set()
    assert set(readings) == meters | {"host_import"}
    assert readings["host_import"].value is None


def test_the_users_own_model_is_built_from_its_factory(talk: Conversation) -> None:
    native = NativeModel(factory="fwprof.testing.native_network:make", arguments={"units": 3})
    cell = make_cell(workload=WorkloadPlan(name="mine", native=native))
    told = talk.open(msgspec.structs.replace(cell, batch_size=None))
    assert told.types[-1] == "ready"
    (described,) = [report for report in told if isinstance(report, frames.Described)]
    assert (described.description.batch_size, described.description.parameter_count) == (4, 6 * 3 + 3 * 3)


def test_an_order_before_the_cell_is_open_is_refused(talk: Conversation) -> None:
    told = talk.ask(frames.WarmUp(program="run", cap_ns=1))
    assert (told.failure.fate, told.failure.message) == ("failed", "an order came before the cell was opened")


@pytest.mark.parametrize(
    ("options", "stage", "fate", "message"),
    [
        (
            {"fault": "raise", "stage": "import"},
            "import",
            "failed",
            "RuntimeError: the fault that was asked for",
        ),
        (
            {"fault": "raise", "stage": "build"},
            "build",
            "failed",
            "RuntimeError: the fault that was asked for",
        ),
        ({"fault": "raise", "stage": "first_step"}, "first_step", "failed", "RuntimeError: the fault that"),
        ({"fault": "memory", "stage": "build"}, "build", "out_of_memory", "MemoryError: the fault that was"),
        ({"fault": "unsupported", "stage": "build"}, "build", "unsupported", "the fault that was asked for"),
        (
            {"fault": "unavailable", "stage": "import"},
            "import",
            "unsupported",
            "the fault that was asked for",
        ),
        ({"fault": "nan"}, "first_step", "invalid", "the loss is nan in the first step"),
        ({"typo": 1}, "import", "unsupported", "the fake framework cannot take its options"),
    ],
)
def test_what_opening_raises_is_classified_with_its_stage_and_owner(
    talk: Conversation, options: dict[str, Scalar], stage: str, fate: str, message: str
) -> None:
    failure = talk.open(make_cell(**options)).failure
    assert (failure.stage, failure.fate, failure.plugin) == (stage, fate, "fwprof-fake 1.0")
    assert failure.message.startswith(message)
    assert failure.traceback.startswith("Traceback")
    assert talk.worker.is_over


@pytest.mark.parametrize(
    ("order", "stage"),
    [
        (frames.WarmUp(program="run", cap_ns=10**9), "warm_up"),
        (frames.RunBlock(round=0, order=0, program="run"), "block"),
        (frames.CheckAnswers(), "check"),
        (frames.TakeReadings(pass_name="memory", seconds=0.0, rate_hz=1.0), "memory"),
        (frames.TakeReadings(pass_name="energy", seconds=0.0, rate_hz=1.0), "energy"),
    ],
)
def test_what_a_later_order_raises_names_its_stage(
    talk: Conversation, order: frames.Order, stage: Any
) -> None:
    meter = PluginRef(
        kind="meter", name="fakemeter", distribution="x", version="1", value="fwprof.testing.fake_meter"
    )
    cell = msgspec.structs.replace(make_cell(fault="raise", stage=stage), meter_plugins=(meter,))
    talk.open(cell, passes=("memory", "energy"))
    told = talk.ask(order)
    assert told.types == ["entered", "failed"]
    assert (told.failure.stage, told.failure.fate) == (stage, "failed")


def test_a_block_whose_loss_is_no_number_is_kept_and_the_cell_is_invalid(talk: Conversation) -> None:
    talk.open(make_cell(fault="nan", stage="block"))
    told = talk.ask(frames.RunBlock(round=4, order=0, program="run"))
    assert told.types == ["entered", "block_done", "failed"]
    assert told[1].block.loss is None  # type: ignore[union-attr]  # a block
    assert (told.failure.fate, told.failure.message) == ("invalid", "the loss became nan in round 4")


def test_code_that_asks_to_exit_is_no_end_of_the_worker(talk: Conversation, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\ndef make(): sys.exit(3)\n")
    native = NativeModel(factory=f"{tmp_path}/leaves.py:make")
    failure = talk.open(make_cell(workload=WorkloadPlan(name="leaves", native=native))).failure
    assert (failure.fate, failure.message) == ("failed", "the code asked to exit with status 3")


def test_a_model_that_lacks_methods_blames_its_plugin(talk: Conversation, tmp_path: Path) -> None:
    source = (
        "from fwprof.plugin import hookimpl\n"
        "@hookimpl\ndef build_model(): return object()\n"
        "@hookimpl\ndef train_step(): return None\n"
    )
    folder = tmp_path / "half"
    folder.mkdir()
    with installed(folder, FakeDistribution(name="fwprof-half", modules={"half_a_plugin": source})):
        failure = talk.open(make_cell("half_a_plugin")).failure
    assert (failure.fate, failure.stage) == ("failed", "build")
    assert failure.message.startswith(
        "the framework plugin 'fake' (fwprof-fake 1.0) does not keep the plugin contract: "
        "what build_model returned has no compilations, describe, load_parameters"
    )


def test_long_messages_and_tracebacks_are_cut(talk: Conversation, tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text("def make(): raise ValueError('x' * 50_000)\n")
    native = NativeModel(factory=f"{tmp_path}/chatty.py:make")
    failure = talk.open(make_cell(workload=WorkloadPlan(name="chatty", native=native))).failure
    assert len(failure.message) <= 2000
    assert len(failure.traceback) == 20_000


def device_plugin(value: str) -> PluginRef:
    return PluginRef(kind="device", name="d", distribution="fwprof-d", version="2.0", value=value)


def test_devices_are_listed(talk: Conversation) -> None:
    told = talk.ask(frames.ListDevices(plugin=device_plugin("fwprof.testing.fake_device")))
    assert told.types == ["devices_listed"]
    assert [device.name for device in told[0].devices] == ["fakecard:0", "fakecard:1"]  # type: ignore[union-attr]  # the list


@pytest.mark.parametrize(
    ("body", "fate", "message"),
    [
        ("return None", "failed", "fwprof-d: devices returned None"),
        ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
        (
            "raise PluginUnavailableError('no card', cause='the driver is too old', next='update it')",
            "unsupported",
            "no card: the driver is too old",
        ),
    ],
)
def test_a_device_plugin_that_finds_nothing_says_why(
    talk: Conversation, tmp_path: Path, body: str, fate: str, message: str
) -> None:
    source = f"from fwprof.plugin import *\n@hookimpl\ndef devices():\n    {body}\n"
    folder = tmp_path / "devices"
    folder.mkdir()
    with installed(folder, FakeDistribution(name="fwprof-d", modules={"device_for_test": source})):
        failure = talk.ask(frames.ListDevices(plugin=device_plugin("device_for_test"))).failure
    assert (failure.fate, failure.message, failure.plugin) == (fate, message, "fwprof-d 2.0")


def test_an_exporter_writes_a_stored_run(talk: Conversation, tmp_path: Path) -> None:
    from fwprof.codec import encode_pretty

    (tmp_path / "run.json").write_bytes(encode_pretty(sample_result(1)))
    exporter = PluginRef(
        kind="exporter", name="lines", distribution="x", version="1", value="fwprof.testing.fake_exporter"
    )
    told = talk.ask(
        frames.Export(plugin=exporter, run=str(tmp_path), destination=str(tmp_path / "lines.txt"))
    )
    assert told == [frames.Exported(paths=(str(tmp_path / "lines.txt"),))]
    assert (tmp_path / "lines.txt").read_text().splitlines()[0].endswith("cpu ok")


def test_limits_are_measured_with_the_frameworks_own_kernels(talk: Conversation, tmp_path: Path) -> None:
    told = talk.ask(frames.MeasureLimits(cell=make_cell(), seconds=0.0, cache=str(tmp_path)))
    assert told.types == ["entered", "entered", "limits_measured"]
    (own,) = told[-1].libraries  # type: ignore[union-attr]  # the limits
    assert own.readings["best_gemm"].value > 0
    assert re.fullmatch(r"numpy, \d+ x \d+", own.readings["best_gemm"].basis)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_the_host_its_own_library_counts_too_and_in_16_bits_by_its_copy_alone(
    talk: Conversation, tmp_path: Path, precision: str
) -> None:
    device = Device(name="cpu", kind="cpu")
    cell = msgspec.structs.replace(make_cell(), device=device, precision=precision)
    told = talk.ask(frames.MeasureLimits(cell=cell, seconds=0.0, cache=str(tmp_path)))
    _, host = told[-1].libraries  # type: ignore[union-attr]  # the limits
    assert host.library.startswith("numpy/")
    assert host.readings["best_copy"].value > 0
    gemm = host.readings["best_gemm"]
    assert (gemm.value is None, gemm.reason) == (
        (False, "") if precision == "float32" else (True, "its product is in another precision")
    )
