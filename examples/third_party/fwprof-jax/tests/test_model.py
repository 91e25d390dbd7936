"""Training of neutral workloads: optimizers, losses, reset, files, settings, compilations."""

from __future__ import annotations

from dataclasses import replace

import jax
import msgspec
import numpy as np
import pytest

from fwprof.plugin import Batch
from fwprof.testing.checks import OPTIMIZERS, check_optimizer
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.definitions import loss_of
from fwprof.testing.small import train
from fwprof_jax import plugin


def load(case="plain", **changes):
    workload = load_case(case)
    return replace(workload, spec=msgspec.structs.replace(workload.spec, **changes))


@pytest.mark.parametrize("canonical", [False, True], ids=["timed", "verified"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_by_its_formula(build, name, canonical):
    workload = load(optimizer=OPTIMIZERS[name])
    model = build(workload, precision="float64", is_verification=canonical)
    programs = plugin.train_step(model=model)
    check_optimizer(workload, model, programs, tolerance=1e-9, canonical=canonical)


def test_a_verified_cell_computes_in_float64_drops_nothing_and_says_so(build):
    workload = load("dropout", optimizer=OPTIMIZERS["adam"])
    model = build(workload, precision="float64", is_verification=True)
    programs = plugin.train_step(model=model)
    staged = model.stage(workload.batches[0])
    result = programs.forward_backward(staged)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((result.loss, result.gradients, staged[0]))} == {
        "float64"
    }
    losses = [programs.read(programs.forward(staged))[0] for _ in range(2)]
    wanted = loss_of(workload, workload.weights, workload.batches[0])
    assert losses == pytest.approx([wanted, wanted], rel=1e-12)
    assert model.describe().verified_with == (
        "float64",
        "no dropout",
        "Adam's epsilon scaled to the canonical form",
    )
    assert build(workload).describe().verified_with == ()


@pytest.mark.parametrize("case", ["plain", "dropout", "batch_norm"])
def test_reset_repeats_the_same_training_bit_by_bit(build, case):
    workload = load(case, optimizer=OPTIMIZERS["adam"])
    model = build(workload)
    programs = plugin.train_step(model=model)
    losses = train(model, programs, workload.batches)
    trained = model.parameters()
    model.reset()
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[key])
    assert train(model, programs, workload.batches) == losses
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, trained[key])


def test_a_saved_model_goes_on_as_if_it_had_not_been_interrupted(build, tmp_path):
    workload = load("dropout", optimizer=OPTIMIZERS["adam"])
    model = build(workload)
    programs = plugin.train_step(model=model)
    train(model, programs, workload.batches)
    model.save(tmp_path / "saved")
    wanted = train(model, programs, workload.batches)
    other = build(workload)
    other.restore(tmp_path / "saved")
    assert train(other, plugin.train_step(model=other), workload.batches) == wanted


def test_a_step_gives_the_memory_of_its_arguments_away(build):
    workload = load()
    model = build(workload)
    programs = plugin.train_step(model=model)
    before = jax.tree.leaves((model.params, model.optimizer_state))
    result = programs.run(model.stage(workload.batches[0]))
    assert all(leaf.is_deleted() for leaf in before)
    programs.wait(result)
    assert all(leaf.is_ready() for leaf in jax.tree.leaves(result))


def test_a_result_waits_for_everything_its_call_updated(build):
    workload = load("batch_norm")
    model = build(workload)
    result = plugin.train_step(model=model).run(model.stage(workload.batches[0]))
    held = {id(leaf) for leaf in jax.tree.leaves(result)}
    updated = jax.tree.leaves((model.params, model.optimizer_state, model.state))
    assert {id(leaf) for leaf in updated} < held


def test_each_program_is_compiled_once_and_again_for_another_size_of_batch(build):
    workload = load("dropout")
    model = build(workload)
    programs = plugin.train_step(model=model)
    staged = [model.stage(batch) for batch in workload.batches]
    before = model.compilations()
    for batch in staged[:3]:
        for program in (programs.forward, programs.forward_backward, programs.run):
            programs.wait(program(batch))
    assert model.compilations() == before + 3
    half = Batch(inputs=workload.batches[0].inputs[:8], targets=workload.batches[0].targets[:8])
    programs.run(model.stage(half))
    assert model.compilations() > before + 3


def test_the_pipeline_gives_the_batches_in_order_and_begins_again(build):
    workload = load()
    programs = plugin.train_step(model=build(workload))
    for batch in [*workload.batches, workload.batches[0]]:
        inputs, targets = programs.next_batch()
        np.testing.assert_array_equal(inputs, batch.inputs)
        np.testing.assert_array_equal(targets, batch.targets)


def test_training_leaves_the_caller_s_weights_and_batches_alone(build):
    workload = load("batch_norm")
    weights = {name: value.copy() for name, value in workload.weights.items()}
    inputs = workload.batches[0].inputs.copy()
    model = build(workload)
    train(model, plugin.train_step(model=model), workload.batches)
    for name, value in weights.items():
        np.testing.assert_array_equal(workload.weights[name], value)
    np.testing.assert_array_equal(workload.batches[0].inputs, inputs)


def test_the_description_says_what_was_built(build):
    model = build(load("batch_norm"))
    found = model.describe()
    assert (found.mode, found.backend, found.native_device) == ("jit", None, "cpu:0")
    assert found.labels == ("whole_graph",)
    assert set(found.versions) == {"jax", "optax"}
    assert set(found.notable) <= set(found.settings)
    with jax.disable_jit():
        disabled = model.describe()
    assert (disabled.mode, disabled.labels) == ("jit disabled", ())


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("default_matmul_precision", "jax_default_matmul_precision", "bfloat16"),
        ("enable_x64", "jax_enable_x64", True),
        ("jit", "jax_disable_jit", False),
    ],
)
def test_settings_are_read_back_from_jax(build, name, setting, value):
    model = build(load())
    before, changed = model.settings()[name], value if name != "jit" else not value
    kept = getattr(jax.config, setting)
    try:
        jax.config.update(setting, changed)
        assert model.settings()[name] == value != before
    finally:
        jax.config.update(setting, kept)


def test_on_the_host_both_presets_read_back_the_same(build):
    as_shipped, equal = build(load()), build(load(), settings_preset="equal")
    assert equal.settings() == as_shipped.settings()
    assert equal.settings()["default_matmul_precision"] is None
