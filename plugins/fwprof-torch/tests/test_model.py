"""Training of neutral workloads: optimizers, reset, files, settings, programs."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
import torch

from fwprof.plugin import UnsupportedError, layers
from fwprof.testing.checks import OPTIMIZERS, check_optimizer
from fwprof.testing.small import make_workload, train
from fwprof_torch import plugin
from fwprof_torch.places import open_place
from fwprof_torch.settings import apply_preset

SPECS = (
    layers.Dense(units=6, activation="relu"),
    layers.BatchNorm(),
    layers.Dropout(rate=0.3),
    layers.Dense(units=3),
)


@pytest.fixture
def trained(build):
    """Build the small network and take some steps."""

    def make(optimizer="adam", steps=0, **changes):
        workload = make_workload(SPECS, (4,), optimizer=OPTIMIZERS[optimizer])
        model = build(workload, **changes)
        programs = plugin.train_step(model=model)
        return workload, model, programs, train(model, programs, workload.batches, steps)

    return make


@pytest.mark.parametrize("is_verification", [False, True], ids=["timed", "verified"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_by_its_formula(build, name, is_verification):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name])
    model = build(workload, double=not is_verification, is_verification=is_verification)
    programs = plugin.train_step(model=model)
    check_optimizer(workload, model, programs, tolerance=1e-9, canonical=is_verification)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reset_repeats_the_same_training_bit_by_bit(trained, name):
    workload, model, programs, losses = trained(name, steps=4)
    after = model.parameters()
    tensors = [parameter.data_ptr() for parameter in model.module.parameters()]
    model.reset()
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[key])
    assert train(model, programs, workload.batches, 4) == losses
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, after[key])
    assert [parameter.data_ptr() for parameter in model.module.parameters()] == tensors


def test_forward_and_gradients_change_neither_parameters_nor_optimizer(trained):
    workload, model, programs, _ = trained(steps=1)
    before = {key: value for key, value in model.parameters().items() if "moving" not in key}
    state = torch.cat([v["exp_avg"].flatten() for v in model.optimizer.state.values()]).clone()
    staged = model.stage(workload.batches[0])
    programs.forward(staged)
    programs.forward_backward(staged)
    for key, value in before.items():
        np.testing.assert_array_equal(model.parameters()[key], value)
    after = torch.cat([v["exp_avg"].flatten() for v in model.optimizer.state.values()])
    assert torch.equal(state, after)


def test_forward_leaves_the_gradients_of_an_earlier_backward_pass(trained):
    workload, model, programs, _ = trained()
    staged = model.stage(workload.batches[0])
    _, gradients = programs.read(programs.forward_backward(staged))
    programs.forward(staged)
    for key, value in model.gradients().items():
        np.testing.assert_array_equal(value, gradients[key])


def test_a_saved_model_goes_on_as_if_it_had_not_been_interrupted(trained, tmp_path):
    workload, model, programs, _ = trained(steps=3)
    model.save(tmp_path / "saved")
    random = torch.get_rng_state()
    expected = train(model, programs, workload.batches, 3)
    wanted = model.parameters()
    _, other, others, _ = trained()
    other.restore(tmp_path / "saved")
    torch.set_rng_state(random)
    assert train(other, others, workload.batches, 3) == expected
    for key, value in other.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-6)


def test_the_pipeline_gives_the_batches_in_order_and_begins_again(trained):
    workload, _, programs, _ = trained()
    before = torch.get_rng_state()
    for batch in [*workload.batches, workload.batches[0]]:
        inputs, targets = programs.next_batch()
        np.testing.assert_array_equal(inputs.numpy(), batch.inputs)
        np.testing.assert_array_equal(targets.numpy(), batch.targets)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_staged_batch_shares_no_memory_with_the_callers(trained):
    workload, model, _, _ = trained()
    inputs, _ = model.stage(workload.batches[0])
    inputs.zero_()
    assert np.any(workload.batches[0].inputs)


def test_split_names_the_phases_and_takes_a_step(trained):
    workload, model, programs, _ = trained()
    split = programs.split(model.stage(workload.batches[0]))
    assert list(split) == ["forward", "backward", "optimizer"]
    assert all(length > 0 for length in split.values())
    assert np.any(model.parameters()["0.kernel"] != workload.weights["0.kernel"])


def test_the_description_says_what_was_built(trained):
    workload, model, programs, _ = trained()
    before = model.compilations()
    found = model.describe()
    assert (found.mode, found.backend, found.native_device) == ("eager", None, "cpu")
    assert found.parameter_count == 4 * 6 + 6 + 6 + 6 + 6 * 3 + 3
    assert found.batch_size == 4
    assert found.versions == {"torch": str(torch.__version__)}
    assert found.labels == ()
    train(model, programs, workload.batches, 2)
    assert model.compilations() == before


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("threads", lambda: torch.set_num_threads(3), 3),
        ("float32_matmul_precision", lambda: torch.set_float32_matmul_precision("high"), "high"),
        ("matmul_allow_tf32", lambda: torch.set_float32_matmul_precision("high"), True),
    ],
)
def test_settings_are_read_back_from_torch(trained, name, change, expected):
    _, model, _, _ = trained()
    assert model.settings()[name] != expected
    change()
    assert model.settings()[name] == expected


def test_settings_that_user_code_mixed_are_still_read(trained):
    _, model, _, _ = trained()
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        found = model.settings()
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert found["matmul_fp32_precision"] == "tf32"
    assert found["float32_matmul_precision"] == "mixed"


@pytest.mark.parametrize("preset", ["as-shipped", "equal"])
def test_on_the_host_a_preset_changes_nothing(make_cell, preset):
    torch.set_float32_matmul_precision("high")
    apply_preset(preset, "float32", open_place(make_cell().device))
    assert torch.get_float32_matmul_precision() == "high"


def test_a_loss_that_torch_lacks_is_refused(build):
    workload = make_workload(SPECS, (4,))
    other = msgspec.structs.replace(workload.spec, loss="hinge")
    with pytest.raises(UnsupportedError, match="no loss 'hinge'"):
        build(dataclasses.replace(workload, spec=other))
