"""Neutral workloads on every backend: layers, optimizers, state, settings, loops."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import Device, PluginUnavailableError, UnsupportedError, layers
from fwprof.testing.checks import OPTIMIZERS, check_optimizer
from fwprof.testing.small import make_workload, train
from fwprof_keras import plugin

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

SPECS = (
    layers.Dense(units=6, activation="relu"),
    layers.BatchNorm(),
    layers.Dropout(rate=0.3),
    layers.Dense(units=3),
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_by_its_canonical_formula(verified, name):
    workload = make_workload((layers.Dense(units=3),), (4,), optimizer=OPTIMIZERS[name])
    check_optimizer(workload, *verified(workload), tolerance=1e-7)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_reset_repeats_the_same_training(build, name):
    workload = make_workload(SPECS, (4,), optimizer=OPTIMIZERS[name])
    model, programs = build(workload)
    losses = train(model, programs, workload.batches, 4)
    after, count = model.parameters(), model.compilations()
    model.reset()
    for key, value in model.parameters().items():
        np.testing.assert_array_equal(value, workload.weights[key])
    assert train(model, programs, workload.batches, 4) == pytest.approx(losses, rel=1e-6)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, after[key], rtol=1e-5, atol=1e-7)
    assert model.compilations() == count


def test_parameters_are_right_between_any_steps(build):
    """Whoever looks between steps, or trains by keras's own loop, disturbs nothing."""
    workload = make_workload(SPECS[:2] + SPECS[3:], (4,), optimizer=OPTIMIZERS["adam"])
    model, programs = build(workload)
    train(model, programs, workload.batches, 3)
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
def test_keras_own_loops_take_the_same_steps(build, loop):
    workload = make_workload(SPECS[:2] + SPECS[3:], (4,), optimizer=OPTIMIZERS["adam"])
    model, programs = build(workload)
    train(model, programs, workload.batches, 3)
    wanted = model.parameters()
    model.reset()
    programs.api()[loop](3)
    for key, value in model.parameters().items():
        np.testing.assert_allclose(value, wanted[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_a_second_batch_size_is_counted_as_a_compilation(build, backend):
    workload, other = make_workload(SPECS, (4,)), make_workload(SPECS, (4,), batch=3)
    model, programs = build(workload)
    train(model, programs, workload.batches, 2)
    before = model.compilations()
    programs.run(model.stage(other.batches[0]))
    assert (model.compilations() > before) == (backend != "torch")


def test_the_description_says_what_runs(build, backend):
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


def test_what_verification_changed_is_said(verified, backend):
    model, _ = verified(make_workload(SPECS, (4,)))
    narrowing = () if backend == "tensorflow" else ("keras's narrowing of float64 to float32 switched off",)
    assert model.describe().verified_with == ("float64", *narrowing, "dropout off")


def test_an_eager_step_is_split_into_its_phases(build, backend):
    options = {} if backend == "torch" else {"mode": "eager"}
    workload = make_workload(SPECS, (4,))
    model, programs = build(workload, options=options)
    assert model.describe().mode == "eager"
    assert hasattr(programs, "split") == (backend != "jax")
    if backend != "jax":
        split = programs.split(model.stage(workload.batches[0]))
        assert list(split) == ["forward", "backward", "optimizer"]
        assert np.any(model.parameters()["0.kernel"] != workload.weights["0.kernel"])


def test_a_sequential_model_is_refused_where_layers_form_a_graph(build):
    specs = (layers.Residual(layers=(layers.Dense(units=4),)), layers.Dense(units=3))
    with pytest.raises(UnsupportedError, match="Residual at 0 does not fit into a Sequential model"):
        build(make_workload(specs, (4,)), options={"model": "sequential"})
    assert build(make_workload(specs, (4,)))[0].settings()["model"] == "functional"


def test_on_the_host_the_equal_preset_changes_nothing(build, backend):
    from fwprof_keras.backends import open_backend

    model, _ = build(make_workload(SPECS, (4,)))
    before = model.settings()
    open_backend(backend).apply_preset("equal", "float32")
    assert model.settings() == before


def test_tf32_is_allowed_where_it_is_asked_for(build, backend):
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


def test_another_backend_in_the_same_process_is_refused(build, make_cell, backend):
    build(make_workload(SPECS, (4,)))
    other = "torch" if backend != "torch" else "jax"
    with pytest.raises(
        PluginUnavailableError, match=f"keras runs on {backend} in this process, not on {other}"
    ):
        plugin.prepare(plan=make_cell(variant=other))


@pytest.mark.parametrize("backend", ["tensorflow"])
def test_reset_leaves_tensorflow_its_kernels(build, backend, monkeypatch):
    from tensorflow.python.eager import context

    workload = make_workload(SPECS, (4,))
    model, programs = build(workload)
    train(model, programs, workload.batches, 2)
    cleared = []
    monkeypatch.setattr(context.pywrap_tfe, "TFE_ContextClearCaches", cleared.append)
    model.reset()
    train(model, programs, workload.batches, 2)
    assert not cleared


def test_only_a_lack_of_memory_is_taken_for_one(build, backend):
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
