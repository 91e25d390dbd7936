"""Neutral workloads on every backend: layers, optimizers, state, settings, loops."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import Device, PluginUnavailableError, UnsupportedError, layers
from fwprof_keras import plugin

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

SPECS = (
    layers.Dense(units=6, activation="relu"),
    layers.BatchNorm(),
    layers.Dropout(rate=0.3),
    layers.Dense(units=3),
)
OPTIMIZERS = {
    "sgd": layers.Sgd(learning_rate=0.1),
    "momentum": layers.Sgd(learning_rate=0.1, momentum=0.9),
    "adam": layers.Adam(learning_rate=0.01, epsilon=1e-3),
    "adamw": layers.Adam(learning_rate=0.01, epsilon=1e-3, weight_decay=0.1),
}


def take_steps(workload, model, programs, count):
    return [programs.read(programs.run(model.stage(workload.batches[i])))[0] for i in range(count)]


def update(spec, w, g, state, t):
    """One step of the formulas in the workload language, in NumPy."""
    if isinstance(spec, layers.Sgd):
        state["v"] = spec.momentum * state.get("v", 0) + g
        return w - spec.learning_rate * state["v"]
    state["m"] = spec.beta_1 * state.get("m", 0) + (1 - spec.beta_1) * g
    state["s"] = spec.beta_2 * state.get("s", 0) + (1 - spec.beta_2) * g**2
    rate = spec.learning_rate * np.sqrt(1 - spec.beta_2**t) / (1 - spec.beta_1**t)
    decayed = w * (1 - spec.learning_rate * spec.weight_decay)
    return decayed - rate * state["m"] / (np.sqrt(state["s"]) + spec.epsilon)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_by_its_canonical_formula(verified, make_workload, name):
    spec = OPTIMIZERS[name]
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=spec)
    model, programs = verified(workload)
    w = {key: value.astype(np.float64) for key, value in workload.weights.items()}
    states = {key: {} for key in w}
    for t, batch in enumerate(workload.batches[:4], start=1):
        staged = model.stage(batch)
        _, gradients = programs.read(programs.forward_backward(staged))
        w = {key: update(spec, w[key], gradients[key], states[key], t) for key in w}
        programs.run(staged)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, w[key], rtol=1e-7, atol=1e-10)


def test_moving_statistics_follow_the_biased_batch_statistics(verified, make_workload):
    specs = (layers.BatchNorm(momentum=0.8), layers.Flatten(), layers.Dense(units=3))
    workload = make_workload(specs, (2, 3, 2))
    model, programs = verified(workload)
    variance = workload.weights["0.moving_variance"].astype(np.float64)
    for batch in workload.batches[:3]:
        programs.run(model.stage(batch))
        variance = 0.8 * variance + 0.2 * batch.inputs.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(model.parameters()["0.moving_variance"], variance, rtol=1e-9)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_reset_repeats_the_same_training(build, make_workload, name):
    workload = make_workload(SPECS, (4,), optimizer=OPTIMIZERS[name])
    model, programs = build(workload)
    losses = take_steps(workload, model, programs, 4)
    after, count = model.parameters(), model.compilations()
    model.reset()
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[key])
    assert take_steps(workload, model, programs, 4) == pytest.approx(losses, rel=1e-6)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, after[key], rtol=1e-5, atol=1e-7)
    assert model.compilations() == count


def test_parameters_are_right_between_any_steps(build, make_workload):
    """Whoever looks between steps, or trains by keras's own loop, disturbs nothing."""
    workload = make_workload(SPECS[:2] + SPECS[3:], (4,), optimizer=OPTIMIZERS["adam"])
    model, programs = build(workload)
    take_steps(workload, model, programs, 3)
    undisturbed = model.parameters()
    model.reset()
    for index in range(3):
        staged = model.stage(workload.batches[index])
        programs.run(staged)
        model.parameters()
        model.predict(staged)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, undisturbed[key], rtol=1e-6, err_msg=key)


@pytest.mark.parametrize("loop", ["train_on_batch", "fit"])
def test_keras_own_loops_take_the_same_steps(build, make_workload, loop):
    workload = make_workload(SPECS[:2] + SPECS[3:], (4,), optimizer=OPTIMIZERS["adam"])
    model, programs = build(workload)
    take_steps(workload, model, programs, 3)
    wanted = model.parameters()
    model.reset()
    programs.api()[loop](3)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_a_second_batch_size_is_counted_as_a_compilation(build, make_workload, backend):
    workload, other = make_workload(SPECS, (4,)), make_workload(SPECS, (4,), batch=3)
    model, programs = build(workload)
    take_steps(workload, model, programs, 2)
    before = model.compilations()
    programs.run(model.stage(other.batches[0]))
    assert (model.compilations() > before) == (backend != "torch")


def test_the_description_says_what_runs(build, make_workload, backend):
    model, _ = build(make_workload(SPECS, (4,)))
    found = model.describe()
    assert found.backend == backend
    assert found.mode == {"tensorflow": "function", "torch": "eager", "jax": "jit"}[backend]
    assert found.labels == (() if backend == "torch" else ("whole_graph",))
    assert found.settings["jit"] is (backend == "jax")
    assert found.settings["model"] == "sequential"
    assert found.parameter_count == 4 * 6 + 6 + 6 + 6 + 6 * 3 + 3
    assert {"keras", backend} <= set(found.versions)
    assert set(found.notable) <= set(found.settings)


def test_what_verification_changed_is_said(verified, make_workload, backend):
    model, _ = verified(make_workload(SPECS, (4,)))
    narrowing = () if backend == "tensorflow" else ("keras's narrowing of float64 to float32 switched off",)
    assert model.describe().verified_with == ("float64", *narrowing, "dropout off")


def test_an_eager_step_is_split_into_its_phases(build, make_workload, backend):
    options = {} if backend == "torch" else {"mode": "eager"}
    workload = make_workload(SPECS, (4,))
    model, programs = build(workload, options=options)
    assert model.describe().mode == "eager"
    assert hasattr(programs, "split") == (backend != "jax")
    if backend != "jax":
        split = programs.split(model.stage(workload.batches[0]))
        assert list(split) == ["forward", "backward", "optimizer"]
        assert np.any(model.parameters()["0.kernel"] != workload.weights["0.kernel"])


def test_a_sequential_model_is_refused_where_layers_form_a_graph(build, make_workload):
    specs = (layers.Residual(layers=(layers.Dense(units=4),)), layers.Dense(units=3))
    with pytest.raises(UnsupportedError, match="Residual at 0 does not fit into a Sequential model"):
        build(make_workload(specs, (4,)), options={"model": "sequential"})
    assert build(make_workload(specs, (4,)))[0].settings()["model"] == "functional"


def test_on_the_host_the_equal_preset_changes_nothing(build, make_workload, backend):
    from fwprof_keras.backends import open_backend

    model, _ = build(make_workload(SPECS, (4,)))
    before = model.settings()
    open_backend(backend).apply_preset("equal", "float32")
    assert model.settings() == before


def test_tf32_is_allowed_where_it_is_asked_for(build, make_workload, backend):
    from fwprof_keras.backends import open_backend

    model, _ = build(make_workload(SPECS, (4,)))
    setting, loose, undo = {
        "tensorflow": ("tf32", True, None),
        "torch": ("float32_matmul_precision", "high", "torch"),
        "jax": ("matmul_precision", "tensorfloat32", "jax"),
    }[backend]
    try:
        open_backend(backend).apply_preset("as-shipped", "tf32")
        assert model.settings()[setting] == loose
    finally:
        if undo == "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", None)
        elif undo == "torch":
            import torch

            torch.set_float32_matmul_precision("highest")


def test_a_device_the_backend_cannot_use_is_unavailable(backend):
    from fwprof_keras.backends import open_backend

    with pytest.raises(PluginUnavailableError, match=r"cannot use other:0 \(.*7\)"):
        open_backend(backend).open_device(Device(name="other:0", kind="other", native={"keras": "gpu:7"}))


def test_another_backend_in_the_same_process_is_refused(build, make_workload, make_cell, backend):
    build(make_workload(SPECS, (4,)))
    other = "torch" if backend != "torch" else "jax"
    with pytest.raises(
        PluginUnavailableError, match=f"keras runs on {backend} in this process, not on {other}"
    ):
        plugin.prepare(plan=make_cell(variant=other))


def test_only_a_lack_of_memory_is_taken_for_one(build, make_workload, backend):
    build(make_workload(SPECS, (4,)))
    if backend == "tensorflow":
        import tensorflow as tf

        lack = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    elif backend == "torch":
        import torch

        lack = torch.OutOfMemoryError("x")
    else:
        import jax

        lack = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    assert plugin.is_out_of_memory(error=lack)
    assert not plugin.is_out_of_memory(error=RuntimeError("shapes differ"))
