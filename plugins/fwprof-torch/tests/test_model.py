"""Training of neutral workloads: optimizers, reset, files, settings, programs."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
import torch

from fwprof.plugin import UnsupportedError, layers
from fwprof_torch import plugin
from fwprof_torch.places import open_place
from fwprof_torch.settings import apply_preset

SPECS = (
    layers.Dense(units=6, activation="relu"),
    layers.BatchNorm(),
    layers.Dropout(rate=0.3),
    layers.Dense(units=3),
)
OPTIMIZERS = {
    "sgd": layers.Sgd(learning_rate=0.1),
    "momentum": layers.Sgd(learning_rate=0.1, momentum=0.9),
    "adam": layers.Adam(learning_rate=0.01),
    "adamw": layers.Adam(learning_rate=0.01, weight_decay=0.1),
}


def update(spec, w, g, state, t):
    """One step of the formulas in the workload language, in NumPy."""
    if isinstance(spec, layers.Sgd):
        state["v"] = spec.momentum * state.get("v", 0) + g
        return w - spec.learning_rate * state["v"]
    state["m"] = spec.beta_1 * state.get("m", 0) + (1 - spec.beta_1) * g
    state["s"] = spec.beta_2 * state.get("s", 0) + (1 - spec.beta_2) * g**2
    mean, square = state["m"] / (1 - spec.beta_1**t), state["s"] / (1 - spec.beta_2**t)
    decayed = w * (1 - spec.learning_rate * spec.weight_decay)
    return decayed - spec.learning_rate * mean / (np.sqrt(square) + spec.epsilon)


@pytest.fixture
def trained(build, make_workload):
    """Build the small network and take some steps."""

    def make(optimizer="adam", steps=0, **changes):
        workload = make_workload(SPECS, (4,), optimizer=OPTIMIZERS[optimizer])
        model = build(workload, **changes)
        programs = plugin.train_step(model=model)
        return workload, model, programs, take_steps(workload, model, programs, steps)

    return make


def take_steps(workload, model, programs, count):
    return [programs.read(programs.run(model.stage(workload.batches[i])))[0] for i in range(count)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_by_its_formula(build, make_workload, name):
    spec = OPTIMIZERS[name]
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=spec)
    model = build(workload, double=True)
    programs = plugin.train_step(model=model)
    w = {key: value.astype(np.float64) for key, value in workload.weights.items()}
    states = {key: {} for key in w}
    for t, batch in enumerate(workload.batches[:4], start=1):
        staged = model.stage(batch)
        _, gradients = programs.read(programs.forward_backward(staged))
        w = {key: update(spec, w[key], gradients[key], states[key], t) for key in w}
        programs.run(staged)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, w[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reset_repeats_the_same_training_bit_by_bit(trained, name):
    workload, model, programs, losses = trained(name, steps=4)
    after = model.parameters()
    tensors = [parameter.data_ptr() for parameter in model.module.parameters()]
    model.reset()
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[key])
    assert take_steps(workload, model, programs, 4) == losses
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
    expected = take_steps(workload, model, programs, 3)
    wanted = model.parameters()
    _, other, others, _ = trained()
    other.restore(tmp_path / "saved")
    torch.set_rng_state(random)
    assert take_steps(workload, other, others, 3) == expected
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
    take_steps(workload, model, programs, 2)
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


def test_a_loss_that_torch_lacks_is_refused(make_workload, build):
    workload = make_workload(SPECS, (4,))
    other = msgspec.structs.replace(workload.spec, loss="hinge")
    with pytest.raises(UnsupportedError, match="no loss 'hinge'"):
        build(dataclasses.replace(workload, spec=other))
