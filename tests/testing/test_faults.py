"""Faults strike where they are told to, and nowhere else."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import psutil
import pytest

from fwprof.errors import PluginUnavailableError, UnsupportedError
from fwprof.execution.layers import layer_cases
from fwprof.plugin import Options, PipelineData, transforms
from fwprof.records import Schedule
from fwprof.records.frames import (
    CheckAnswers,
    MeasureLayers,
    Open,
    RunBlock,
    RunPipeline,
    TakeReadings,
    Train,
    WarmUp,
)
from fwprof.testing import faults
from fwprof.testing.clock import FakeClock
from fwprof.testing.conformance.cases import load_case, plan_of
from fwprof.testing.fake_framework import FakeFramework
from fwprof.testing.fake_runtime import one_thread_more
from fwprof.testing.samples import sample_cell

BLOCK = RunBlock(round=0, order=0, program="run")
ORDERS = {
    "warm_up": WarmUp(program="run", cap_ns=1),
    "block": BLOCK,
    "check": CheckAnswers(),
    "memory": TakeReadings(pass_name="memory", seconds=1, rate_hz=1),
    "energy": TakeReadings(pass_name="energy", seconds=1, rate_hz=1),
    "train": Train(epochs=1),
    "pipeline": RunPipeline(seconds=1, rate_hz=1),
    "layers": MeasureLayers(seconds=1),
}


def make_cell(**options):
    return sample_cell(workload=plan_of(load_case("plain")), options=options)


def build(tmp_path, plugin=None, **options):
    plugin = plugin or FakeFramework()
    cell = make_cell(**options)
    plugin.prepare(cell)
    loaded = load_case("plain")
    model = plugin.build_model(loaded, cell.device, Options(cell=cell, cache=tmp_path))
    return model, plugin.train_step(model), model.stage(loaded.batches[0])


def serve(order, call, *arguments):
    """Hold an order while calling, as a worker does."""
    return call(*arguments)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("raise", RuntimeError),
        ("memory", MemoryError),
        ("unsupported", UnsupportedError),
        ("unavailable", PluginUnavailableError),
    ],
)
@pytest.mark.parametrize("stage", ["import", "build", "first_step"])
def test_an_error_is_raised_in_the_stage_asked_for(tmp_path, fault, error, stage):
    plugin, cell = FakeFramework(), make_cell(fault=fault, stage=stage)
    reached = []

    def open_cell():
        plugin.prepare(cell)
        reached.append("import")
        loaded = load_case("plain")
        model = plugin.build_model(loaded, cell.device, Options(cell=cell, cache=tmp_path))
        reached.append("build")
        plugin.train_step(model).run(model.stage(loaded.batches[0]))

    with pytest.raises(error, match="the fault that was asked for"):
        open_cell()
    assert reached == {"import": [], "build": ["import"], "first_step": ["import", "build"]}[stage]


@pytest.mark.parametrize("stage", ORDERS)
def test_a_fault_waits_for_the_order_of_its_stage(tmp_path, stage):
    _, programs, staged = build(tmp_path, fault="raise", stage=stage)
    for other in ORDERS.keys() - {stage}:
        assert math.isfinite(serve(ORDERS[other], programs.run, staged).loss)
    with pytest.raises(RuntimeError, match="the fault that was asked for"):
        serve(ORDERS[stage], programs.run, staged)


def test_a_fault_without_a_stage_strikes_in_a_block(tmp_path):
    _, programs, staged = build(tmp_path, fault="raise")
    programs.run(staged)
    with pytest.raises(RuntimeError, match="the fault that was asked for"):
        serve(BLOCK, programs.forward, staged)


def test_as_many_blocks_pass_as_asked(tmp_path):
    _, programs, staged = build(tmp_path, fault="raise", stage="block", after=2)
    for order in range(2):
        block = RunBlock(round=0, order=order, program="run")
        for _ in range(3):
            serve(block, programs.run, staged)
    with pytest.raises(RuntimeError, match="the fault that was asked for"):
        serve(RunBlock(round=1, order=0, program="run"), programs.next_batch)


def test_a_fault_strikes_once(tmp_path):
    _, programs, staged = build(tmp_path, fault="raise")
    with pytest.raises(RuntimeError, match="the fault that was asked for"):
        serve(BLOCK, programs.run, staged)
    assert math.isfinite(serve(BLOCK, programs.run, staged).loss)


def test_a_nan_loss_lasts_from_its_stage_on(tmp_path):
    _, programs, staged = build(tmp_path, fault="nan", stage="block")
    assert math.isfinite(programs.read(programs.run(staged))[0])
    serve(BLOCK, programs.run, staged)
    assert math.isnan(programs.read(programs.run(staged))[0])


def test_a_lasting_fault_without_a_stage_is_there_from_the_start(tmp_path):
    _, programs, staged = build(tmp_path, fault="nan")
    assert math.isnan(programs.read(programs.run(staged))[0])


def test_a_gradient_can_be_dropped(tmp_path):
    _, programs, staged = build(tmp_path, fault="drop_gradients")
    _, gradients = programs.read(programs.forward_backward(staged))
    assert len(gradients) == 3


def test_each_step_can_retrace(tmp_path):
    model, programs, staged = build(tmp_path, fault="retrace")
    programs.run(staged)
    programs.forward(staged)
    assert model.compilations() == 2


def test_without_wait_the_work_is_done_later(tmp_path):
    clock = FakeClock()
    model, programs, staged = build(tmp_path, FakeFramework(clock), fault="no_wait")
    programs.wait(programs.run(staged))
    waited_ns = clock.now_ns()
    model.parameters()
    assert clock.now_ns() - waited_ns == faults.LATE_NS


def test_an_unsteady_step_is_longer_than_the_one_before(tmp_path):
    clock = FakeClock()
    _, programs, staged = build(tmp_path, FakeFramework(clock), fault="unsteady")
    ends = [0]
    for _ in range(6):
        programs.run(staged)
        ends.append(clock.now_ns())
        clock.advance(100_000_000)
    lengths = [end - begin for begin, end in pairwise(ends)]
    assert lengths[1:] == sorted(set(lengths[1:]))


def test_settings_can_be_an_echo(tmp_path):
    model, _, _ = build(tmp_path, fault="echo_settings")
    with one_thread_more():
        assert model.settings()["threads"] == model.describe().settings["threads"] == 1
        assert model.inner.settings()["threads"] == 2


def test_memory_can_leak(tmp_path):
    _, programs, staged = build(tmp_path, fault="leak", size=12_345)
    programs.run(staged)
    programs.run(staged)
    assert [len(each) for each in programs._leaked] == [12_345, 12_345]


def test_a_wrong_option_is_named(tmp_path):
    with pytest.raises(UnsupportedError, match="speling"):
        build(tmp_path, speling=1)
    with pytest.raises(UnsupportedError, match="Invalid enum value 'explode'"):
        build(tmp_path, fault="explode")


# What ends a process, or writes to it, is watched from outside.

SCRIPT = """
import signal
import sys
from itertools import pairwise
from pathlib import Path
import msgspec
from fwprof.plugin import CellPlan, Options
from fwprof.records import Schedule
from fwprof.records.frames import Open, RunBlock

# Whoever runs the tests in the background may have had SIGINT ignored, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
cell = msgspec.json.decode(sys.argv[1], type=CellPlan)
order = Open(cell=cell, schedule=Schedule(), inputs="", cache="")
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.fake_framework import plugin

plugin.prepare(cell)
loaded = load_case("plain")
model = plugin.build_model(loaded, cell.device, Options(cell=cell, cache=Path()))
programs = plugin.train_step(model)
order = RunBlock(round=0, order=0, program="run")
print("built", file=sys.stderr, flush=True)
programs.run(model.stage(loaded.batches[0]))
print("survived", file=sys.stderr)
"""


def start(tmp_path, **options):
    cell = make_cell(**options)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, msgspec.json.encode(cell).decode()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )


@pytest.mark.parametrize("stage", ["start", "import", "block"])
@pytest.mark.parametrize(
    ("fault", "status"), [("kill", -signal.SIGKILL), ("segv", -signal.SIGSEGV), ("exit", 0)]
)
def test_a_process_ends_in_the_stage_asked_for(tmp_path, fault, status, stage):
    process = start(tmp_path, fault=fault, stage=stage)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert b"survived" not in errors


@pytest.mark.parametrize("fault", ["print", "c_print"])
def test_what_a_fault_prints_goes_to_the_first_descriptor(tmp_path, fault):
    output, errors = start(tmp_path, fault=fault, size=3_000_000).communicate(timeout=60)
    assert output.startswith(b"the fake framework ")
    assert (len(output) == 3_000_000) == (fault == "print")
    assert errors == b"built\nsurvived\n"


def test_an_orphan_outlives_its_parent(tmp_path):
    process = start(tmp_path, fault="orphan", pid_file="pid")
    assert process.wait(timeout=60) == 0
    orphan = psutil.Process(int((tmp_path / "pid").read_text()))
    try:
        assert orphan.is_running()
    finally:
        orphan.kill()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("fault", ["hang", "hang_gil"])
def test_a_hung_process_ends_by_a_kill_alone(tmp_path, fault):
    process = start(tmp_path, fault=fault)
    assert process.stderr.readline() == b"built\n"
    with pytest.raises(subprocess.TimeoutExpired, match="timed out"):
        process.wait(timeout=1)
    # Python's handler of SIGINT never runs while the lock of the interpreter is held.
    process.send_signal(signal.SIGINT)
    if fault == "hang_gil":
        with pytest.raises(subprocess.TimeoutExpired, match="timed out"):
            process.wait(timeout=1)
        process.kill()
    process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if fault == "hang_gil" else -signal.SIGINT)


def test_a_shortened_pipeline_ends_each_epoch_after_one_batch(tmp_path):
    np.save(tmp_path / "inputs.npy", np.zeros((8, 12), np.float32))
    np.save(tmp_path / "targets.npy", np.zeros(8, np.int64))
    data = PipelineData(tmp_path / "inputs.npy", tmp_path / "targets.npy", 2, transforms.Pipeline())
    for options, steps in (({}, 4), ({"fault": "few_batches"}, 1)):
        pipeline = build(tmp_path, **options)[0].pipeline(data)
        assert [len(list(pipeline)) for _ in range(2)] == [steps, steps]


def test_a_restore_can_bring_nothing_back(tmp_path):
    def restored(**options):
        model, programs, staged = build(tmp_path, **options)
        format_ = next(iter(model.formats().values()))
        format_.save(tmp_path / "saved")
        saved = model.parameters()
        programs.run(staged)
        format_.restore(tmp_path / "saved")
        return all(np.array_equal(saved[name], value) for name, value in model.parameters().items())

    assert restored()
    assert not restored(fault="forget")


def test_the_first_layer_can_be_refused(tmp_path):
    for options, refused in (({}, []), ({"fault": "refuse_layer"}, ["0"])):
        model, _, _ = build(tmp_path, **options)
        found = []
        for case, _ in layer_cases(load_case("plain"), 2, seed=0):
            try:
                model.open_layer(case)
            except UnsupportedError:
                found.append(case.layer.path)
        assert found == refused


def test_every_fault_has_a_test_here():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in get_args(faults.FaultName) if f'"{name}"' not in source] == []


def test_a_fault_of_the_start_strikes_while_the_cell_is_opened():
    def open_cell(stage):
        order = Open(cell=make_cell(fault="raise", stage=stage), schedule=Schedule(), inputs="", cache="")
        faults.strike_at_start()
        return faults.find_order() is order

    assert open_cell("block")
    with pytest.raises(RuntimeError, match="the fault that was asked for"):
        open_cell("start")


def test_without_an_order_the_start_is_harmless():
    assert faults.find_order() is None
    faults.strike_at_start()
