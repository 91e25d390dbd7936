from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from fwprof import codec
from fwprof.errors import UnsupportedError
from fwprof.execution.training import train
from fwprof.plugin import LoadedWorkload, Options, RunResult, layers
from fwprof.testing import fake_device, fake_meter, native_network
from fwprof.testing.clock import FakeClock
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.fake_framework import FakeFramework, plugin
from fwprof.testing.fake_runtime import runtime
from fwprof.testing.samples import MLP_BN, STEP_NS, sample_cell, sample_result
from fwprof.workloads import find_workload, plan_workload
from fwprof.workloads.inputs import read_data_set, read_inputs, write_inputs

SHORT_TEXT = {
    "input.shape[0]": 12,
    "data.min_length": 4,
    "data.samples": 512,
    "layers[0].vocabulary": 20,
    "layers[0].units": 8,
    "layers[1].units": 8,
}
LENGTHS = {"forward_us": 100, "backward_us": 200, "update_us": 50, "data_us": 7, "compile_us": 1000}


def build(tmp_path, loaded=None, clock=None, **changes):
    framework = FakeFramework(clock)
    cell = sample_cell(**changes)
    loaded = loaded or load_case("plain")
    model = framework.build_model(loaded, cell.device, Options(cell=cell, cache=tmp_path))
    return model, framework.train_step(model), [model.stage(batch) for batch in loaded.batches]


def lengths(clock, programs, staged):
    found = {}
    for program in (programs.forward, programs.forward_backward, programs.run):
        begin = clock.now_ns()
        program(staged)
        found[program.__name__] = clock.now_ns() - begin
    begin = clock.now_ns()
    programs.next_batch()
    return {**found, "next_batch": clock.now_ns() - begin}


def test_each_program_lasts_as_long_as_its_phases(tmp_path):
    clock = FakeClock()
    _, programs, staged = build(tmp_path, clock=clock, options=LENGTHS)
    assert lengths(clock, programs, staged[0]) == {
        "forward": 100_000,
        "forward_backward": 300_000,
        "run": 350_000,
        "next_batch": 7_000,
    }


def test_a_slow_fake_is_slower_in_every_phase(tmp_path):
    clock = FakeClock()
    _, programs, staged = build(tmp_path, clock=clock, options={**LENGTHS, "slow": 1.25})
    assert lengths(clock, programs, staged[0])["run"] == 437_500


def test_a_graph_is_compiled_once_a_program_and_shape(tmp_path):
    clock = FakeClock()
    model, programs, staged = build(tmp_path, clock=clock, variant="graph", options=LENGTHS)
    first, again = (lengths(clock, programs, staged[0]) for _ in range(2))
    assert first["run"] - again["run"] == 1_000_000
    assert model.compilations() == 3
    programs.run(type(staged[0])(staged[0].inputs[:3], staged[0].targets[:3]))
    assert model.compilations() == 4


def test_eager_compiles_nothing(tmp_path):
    model, programs, staged = build(tmp_path)
    programs.run(staged[0])
    assert model.compilations() == 0
    assert model.describe().mode == "eager"


def test_prepare_sets_the_threads_that_settings_shows(tmp_path):
    before = runtime.get_threads()
    try:
        plugin.prepare(sample_cell(threads=3))
        assert build(tmp_path)[0].settings()["threads"] == 3
    finally:
        runtime.set_threads(before)


def test_the_device_says_how_the_fake_names_it(tmp_path):
    _, second = fake_device.devices()
    assert build(tmp_path, device=second)[0].describe().native_device == "card1"


def test_adam_goes_on_after_a_restore(tmp_path):
    loaded = load_case("plain")
    spec = replace(loaded.spec, optimizer=layers.Adam(learning_rate=0.01))
    adam = LoadedWorkload(**{**vars(loaded), "spec": spec})
    model, programs, staged = build(tmp_path, adam)
    programs.run(staged[0])
    model.save(tmp_path / "saved")
    programs.run(staged[1])
    wanted = model.parameters()
    model.reset()
    model.restore(tmp_path / "saved")
    programs.run(staged[1])
    assert all(np.array_equal(value, wanted[name]) for name, value in model.parameters().items())


def test_a_wrong_load_changes_nothing(tmp_path):
    model, _, _ = build(tmp_path)
    with pytest.raises(ValueError, match="there is no parameter 'spare'"):
        model.load_parameters({"0.bias": np.ones(16), "spare": np.ones(1)})
    assert np.array_equal(model.parameters()["0.bias"], load_case("plain").weights["0.bias"])
    with pytest.raises(ValueError, match=r"parameter '0.bias' has shape \(16,\), not \(2,\)"):
        model.load_parameters({"0.bias": np.ones(2)})


@pytest.mark.parametrize(
    ("native", "kind"), [({}, "NoneType"), ({"model": 3}, "int"), ({"model": [3]}, "list")]
)
def test_a_native_model_of_another_type_is_refused(tmp_path, native, kind):
    with pytest.raises(UnsupportedError, match=f"cannot train a model of type {kind}"):
        build(tmp_path, LoadedWorkload(name="mine", native=native))


def test_a_native_model_trains_on_its_own_batches(tmp_path):
    made = native_network.make(units=4)
    model, programs, staged = build(
        tmp_path, LoadedWorkload(name="mine", native=made, batches=made["batches"])
    )
    losses = [programs.run(staged[0]).loss for _ in range(20)]
    assert losses[-1] < losses[0]
    assert model.describe().parameter_count == 6 * 4 + 4 * 3
    assert model.describe().batch_size == 4


def test_a_workload_without_anything_to_train_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="workload none has neither a spec nor a native model"):
        build(tmp_path, LoadedWorkload(name="none"))


def test_what_the_fake_cannot_do_is_refused_by_name(tmp_path):
    with pytest.raises(UnsupportedError, match="has no variant 'xyz'"):
        build(tmp_path, variant="xyz")
    cell = sample_cell(precision="bfloat16")
    with pytest.raises(UnsupportedError, match="cannot compute in bfloat16"):
        plugin.build_model(load_case("plain"), cell.device, Options(cell=cell, cache=tmp_path))


def test_a_scripted_meter_reads_what_its_counter_moved():
    meter = fake_meter.ScriptedMeter([100, 150, 400])
    meter.start()
    meter.sample()
    readings = meter.stop()
    assert (readings["energy"].value, readings["energy"].unit) == (300, "uJ")
    assert readings["fakemeter.looks"].value == 3


def test_the_sample_of_a_run_is_one_that_could_be_stored():
    result = sample_result(rounds=4)
    assert codec.decode_stored(codec.encode(result), RunResult, "run.json") == result
    programs = [block.program for block in result.cells[0].measurements[0].blocks]
    assert sorted(programs) == sorted([*STEP_NS] * 4)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("text-lstm", {**SHORT_TEXT, "optimizer.learning_rate": 1e-2}),
        (str(MLP_BN), {"optimizer.learning_rate": 1e-2}),
    ],
)
def test_the_fake_learns_text_and_normalised_numbers(tmp_path, name, changes):
    spec = find_workload(name, changes)
    plan = plan_workload(spec, 32)
    write_inputs(plan, 32, 0, tmp_path, with_data_set=True)
    model, programs, _ = build(tmp_path, read_inputs(tmp_path, plan), workload=plan)
    reports = []
    train(
        model, programs, read_data_set(tmp_path), FakeClock(), lambda points, _: reports.append(points),
        loss=spec.loss, batch_size=32, epochs=4, seed=0,
    )  # fmt: skip
    validation = [each for points in reports for each in points if each.split == "validation"]
    assert validation[-1].accuracy > 0.6
    assert validation[-1].loss < np.log(max(spec.classes, 2))
