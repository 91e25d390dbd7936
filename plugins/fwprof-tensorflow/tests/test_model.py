"""Training of neutral workloads in three modes: optimizers, reset, files, settings, programs."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import UnsupportedError, layers
from fwprof.testing.checks import OPTIMIZERS, check_optimizer
from fwprof.testing.small import make_workload, train
from fwprof_tensorflow import plugin

SPECS = (
    layers.Dense(units=6, activation="relu"),
    layers.BatchNorm(),
    layers.Dropout(rate=0.3),
    layers.Dense(units=3),
)
TOLERANCE = 1e-9
"""A constant rounded to float32 is off by 1e-7 and more, another form of Adam by 1e-3."""


@pytest.fixture
def trained(build):
    """Build the small network and take some steps."""

    def make(optimizer="adam", steps=0, **changes):
        workload = make_workload(SPECS, (4,), optimizer=OPTIMIZERS[optimizer])
        model = build(workload, **changes)
        programs = plugin.train_step(model=model)
        return workload, model, programs, train(model, programs, workload.batches, steps)

    return make


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_by_its_formula(build, name):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name])
    model = build(workload, verified=True)
    check_optimizer(workload, model, plugin.train_step(model=model), tolerance=TOLERANCE)


@pytest.mark.parametrize("variant", ["function", "eager", "xla"])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_a_row_that_a_batch_looks_up_twice_is_updated_by_the_sum_of_its_gradients(build, name, variant):
    """Adam of keras 3 takes the square of each look-up apart: the plugin sums them first."""
    specs = (
        layers.Embedding(vocabulary=3, units=4),
        layers.AverageOverSequence(),
        layers.Dense(units=3),
    )
    workload = make_workload(specs, (6,), vocabulary=3, optimizer=OPTIMIZERS[name])
    model = build(workload, verified=True, variant=variant)
    check_optimizer(workload, model, plugin.train_step(model=model), tolerance=TOLERANCE)


@pytest.mark.parametrize("variant", ["function", "eager"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reset_repeats_the_same_training_bit_by_bit(trained, name, variant):
    workload, model, programs, losses = trained(name, steps=4, variant=variant)
    after = model.parameters()
    model.reset()
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[key])
    assert train(model, programs, workload.batches, 4) == losses
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, after[key])


def test_eager_steps_train_as_traced_ones_do_and_drop_the_same(trained):
    _, _, _, losses = trained(steps=4)
    _, _, _, found = trained(steps=4, variant="eager")
    assert found == pytest.approx(losses, rel=1e-5)


def test_forward_and_gradients_change_neither_parameters_nor_optimizer(trained):
    workload, model, programs, _ = trained(steps=1)
    before = {key: value for key, value in model.parameters().items() if "moving" not in key}
    state = [variable.numpy() for variable in model.optimizer.variables]
    staged = model.stage(workload.batches[0])
    programs.forward(staged)
    programs.forward_backward(staged)
    for key, value in before.items():
        np.testing.assert_array_equal(model.parameters()[key], value)
    for variable, value in zip(model.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_saved_model_goes_on_as_if_it_had_not_been_interrupted(trained, tmp_path):
    workload, model, programs, _ = trained(steps=3)
    model.save(tmp_path / "saved")
    expected = train(model, programs, workload.batches, 3)
    wanted = model.parameters()
    _, other, others, _ = trained()
    other.restore(tmp_path / "saved")
    assert train(other, others, workload.batches, 3) == expected
    for key, value in other.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-6)


def test_the_pipeline_gives_the_batches_in_order_and_begins_again(trained):
    workload, _, programs, _ = trained()
    for batch in [*workload.batches, workload.batches[0]]:
        inputs, targets = programs.next_batch()
        np.testing.assert_array_equal(inputs.numpy(), batch.inputs)
        np.testing.assert_array_equal(targets.numpy(), batch.targets)


def test_a_batch_of_the_pipeline_is_traced_as_a_staged_one_is(trained):
    _, model, programs, _ = trained(steps=1)
    before = model.compilations()
    programs.run(programs.next_batch())
    assert model.compilations() == before


def test_a_staged_batch_shares_no_memory_with_the_callers(trained):
    workload, model, _, _ = trained()
    batch = workload.batches[0]
    inputs = batch.inputs.copy()
    staged, _ = model.stage(dataclasses.replace(batch, inputs=inputs))
    inputs[:] = 0
    np.testing.assert_array_equal(staged.numpy(), batch.inputs)


def test_only_an_eager_step_is_split_into_its_phases(trained):
    workload, model, programs, _ = trained(variant="eager")
    split = programs.split(model.stage(workload.batches[0]))
    assert list(split) == ["forward", "backward", "optimizer"]
    assert all(length > 0 for length in split.values())
    assert np.any(model.parameters()["0.kernel"] != workload.weights["0.kernel"])
    assert not hasattr(trained()[2], "split")


@pytest.mark.parametrize(
    ("variant", "labels", "graphs", "jit"),
    [
        ("function", ("whole_graph",), True, False),
        ("eager", (), False, False),
        ("xla", ("whole_graph",), True, True),
    ],
)
def test_the_description_says_what_was_built(trained, variant, labels, graphs, jit):
    _, model, _, _ = trained(variant=variant)
    found = model.describe()
    assert (found.mode, found.backend, found.native_device) == (variant, None, "CPU:0")
    assert found.parameter_count == 4 * 6 + 6 + 6 + 6 + 6 * 3 + 3
    assert found.batch_size == 4
    assert found.versions == {"tensorflow": tf.__version__}
    assert found.labels == labels
    assert found.verified_with == ()
    assert (found.settings["graphs"], found.settings["jit"]) == (graphs, jit)
    assert found.settings["default_dtype"] == found.settings["parameter_dtype"] == "float32"
    assert found.settings["optimizer"] == "Adam"
    assert set(found.notable) <= set(found.settings)


def test_a_verified_cell_says_how_it_differs_and_drops_nothing(trained, build):
    workload, model, programs, _ = trained(verified=True)
    found = model.describe()
    assert found.verified_with == ("float64", "dropout off")
    assert found.settings["parameter_dtype"] == "float64"
    staged = model.stage(workload.batches[0])
    assert len({programs.read(programs.forward(staged))[0] for _ in range(3)}) == 1
    specs = (
        layers.Dense(units=6, activation="gelu"),
        layers.Residual(layers=(layers.Attention(heads=2),)),
        layers.AverageOverSequence(),
        layers.Dense(units=3),
    )
    described = build(make_workload(specs, (4, 6)), verified=True).describe()
    assert described.verified_with == (
        "float64",
        "gelu's constant in float64",
        "attention's scale in float64",
    )


def test_functions_that_run_eagerly_are_described_as_eager(trained):
    workload, model, programs, _ = trained()
    tf.config.run_functions_eagerly(True)
    try:
        assert model.describe().mode == "eager"
        assert model.describe().labels == ()
        train(model, programs, workload.batches, 2)
    finally:
        tf.config.run_functions_eagerly(False)
    assert model.describe().mode == "function"


def test_an_eager_model_is_never_compiled(trained):
    _, model, _, _ = trained(variant="eager", steps=3)
    assert model.compilations() == 0


@pytest.mark.parametrize("variant", ["function", "xla"])
def test_steps_resets_and_predictions_trace_nothing_more_and_another_batch_size_does(trained, variant):
    workload, model, programs, _ = trained(steps=1, variant=variant)
    staged = model.stage(workload.batches[1])
    model.predict(staged)
    before = model.compilations()
    assert before == 2
    for _ in range(2):
        model.reset()
        model.predict(staged)
        train(model, programs, workload.batches, 2)
    assert model.compilations() == before
    batch = workload.batches[0]
    smaller = dataclasses.replace(batch, inputs=batch.inputs[:3], targets=batch.targets[:3])
    programs.run(model.stage(smaller))
    assert model.compilations() == before + 1


def test_settings_are_read_back_from_tensorflow(trained):
    _, model, _, _ = trained()
    assert model.settings()["auto_clustering"] == "off"
    tf.config.optimizer.set_jit(True)
    try:
        assert model.settings()["auto_clustering"] == "autoclustering"
    finally:
        tf.config.optimizer.set_jit(False)


@pytest.mark.parametrize(
    ("preset", "device", "allowed"),
    [("as-shipped", "card:0", True), ("equal", "card:0", False), ("equal", "cpu", True)],
)
def test_the_equal_preset_asks_for_strict_products_where_there_is_a_choice(
    make_cell, preset, device, allowed
):
    from fwprof_tensorflow.settings import apply_preset

    place = msgspec.structs.replace(make_cell().device, name=device)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    apply_preset(make_cell(settings_preset=preset, device=place))
    assert tf.config.experimental.tensor_float_32_execution_enabled() is allowed


def test_waiting_for_a_process_that_works_asynchronously_waits_for_its_updates(trained):
    workload, model, programs, _ = trained(variant="eager", optimizer="sgd")
    staged = model.stage(workload.batches[0])
    tf.config.experimental.set_synchronous_execution(False)
    try:
        assert model.settings()["synchronous_execution"] is False
        result = programs.run(staged)
        programs.wait(result)
        found = model.parameters()
    finally:
        tf.config.experimental.set_synchronous_execution(True)
    model.reset()
    programs.wait(programs.run(staged))
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(found[key], value)


def test_a_loss_that_tensorflow_lacks_is_refused(build):
    workload = make_workload(SPECS, (4,))
    other = msgspec.structs.replace(workload.spec, loss="hinge")
    for variant in ("function", "graph"):
        plain = dataclasses.replace(workload, spec=other, layers=workload.layers[:1])
        with pytest.raises(UnsupportedError, match="no loss 'hinge'"):
            build(plain, variant=variant)


def test_a_workload_without_layers_or_a_model_is_refused(build):
    with pytest.raises(UnsupportedError, match="no layers for tensorflow to build"):
        build(dataclasses.replace(make_workload(SPECS, (4,)), spec=None))
