"""The hooks' own doors: variants, environment, places, memory, peaks."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import Device, PluginUnavailableError, UnsupportedError
from fwprof_tensorflow import plugin
from fwprof_tensorflow.meters import AllocatorMeter
from fwprof_tensorflow.modes import read_mode
from fwprof_tensorflow.places import Place, open_place


@pytest.fixture(autouse=True)
def _own_environment(own_environment):
    """Every test here may call `prepare`, which sets variables."""


def test_loading_the_plugin_loads_neither_tensorflow_nor_numpy():
    code = "import sys, fwprof_tensorflow.plugin; print(*sorted({'tensorflow', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_users_default_backend_of_keras_changes_nothing(make_cell, tmp_path):
    """In a process of its own, as backend and threads are read once."""
    cell = msgspec.json.encode(make_cell(threads=3)).decode()
    code = f"""
import msgspec, pathlib
from fwprof.plugin import CellPlan
from fwprof_tensorflow import plugin
cell = msgspec.json.decode({cell!r}, type=CellPlan)
versions = plugin.prepare(plan=cell, cache=pathlib.Path({str(tmp_path)!r}))
import tensorflow as tf
threading = tf.config.threading
print(tf.keras.backend.backend(), *sorted(versions), tf.keras.config.image_data_format(),
      threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads())
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["tensorflow", "keras", "tensorflow", "channels_last", "3", "3"]


def test_prepare_fixes_the_random_state_before_the_factory_is_called(make_cell, tmp_path):
    drawn = []
    for _ in range(2):
        plugin.prepare(plan=make_cell(seed=5), cache=tmp_path)
        layer = tf.keras.layers.Dense(3)
        layer.build((None, 2))
        drawn.append(layer.kernel.numpy())
    np.testing.assert_array_equal(*drawn)


def test_other_threads_than_those_in_force_are_refused(make_cell, tmp_path):
    plugin.prepare(plan=make_cell(), cache=tmp_path)
    with pytest.raises(PluginUnavailableError, match="already set up otherwise in this process") as caught:
        plugin.prepare(plan=make_cell(threads=7), cache=tmp_path)
    assert "cannot be modified after initialization" in caught.value.cause
    assert caught.value.next


@pytest.mark.parametrize(
    ("variant", "options", "words", "advice"),
    [
        ("funktion", {}, "no variant 'funktion'", "did you mean 'function'?"),
        ("compile", {}, "no variant 'compile'", "use one of function, eager, xla, graph"),
        ("xla", {"jit": True}, "tensorflow:xla has no option 'jit'", "leave it out"),
        (None, {"x": 1}, "tensorflow:function has no option 'x'", "leave it out"),
    ],
)
def test_an_unknown_variant_or_option_is_refused_with_the_known_ones(
    make_cell, variant, options, words, advice
):
    with pytest.raises(UnsupportedError, match=words) as caught:
        read_mode(make_cell(variant=variant, options=options))
    assert caught.value.next == advice


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "float64"}, "cannot train in float64"),
        ({"world_size": 2}, "does not support world_size 2"),
        ({"data_pipeline": "files"}, "does not support data_pipeline 'files'"),
        ({"trainable": "head"}, "does not support trainable 'head'"),
    ],
)
def test_what_is_not_supported_yet_is_refused_by_name(make_cell, changes, words):
    with pytest.raises(UnsupportedError, match=words):
        read_mode(make_cell(**changes))


def test_float64_is_for_cells_that_are_verified(make_cell):
    assert read_mode(make_cell(verified=True)).name == "function"


@pytest.mark.parametrize("native", ["GPU:7", "nonsense"])
def test_a_device_this_tensorflow_cannot_use_is_unavailable(native):
    device = Device(name="other:0", kind="other", native={"tensorflow": native})
    with pytest.raises(PluginUnavailableError, match=r"cannot use other:0 \(") as caught:
        open_place(device)
    assert "CPU:0" in caught.value.cause


@pytest.mark.parametrize("native", [{"tensorflow": "CPU:0"}, {"tensorflow": "cpu"}, {}])
def test_the_host_has_several_spellings(native):
    place = open_place(Device(name="cpu", kind="cpu", native=native))
    assert (place.name, place.is_host) == ("CPU:0", True)


def test_an_allocator_that_runs_out_is_recognised():
    # The real thing takes ten seconds, for which an allocator waits for memory.
    assert plugin.is_out_of_memory(error=tf.errors.ResourceExhaustedError(None, None, "OOM"))


@pytest.mark.parametrize("error", [RuntimeError("OOM"), tf.errors.InvalidArgumentError(None, None, "x")])
def test_other_errors_are_not_taken_for_a_lack_of_memory(error):
    assert not plugin.is_out_of_memory(error=error)


def test_peak_kernels_multiply_and_copy(make_cell, tmp_path):
    cell = make_cell()
    kernels = plugin.peak_kernels(device=cell.device, plan=cell, cache=tmp_path)
    left, right = kernels._matrices(32)
    np.testing.assert_allclose(kernels.gemm(32), left.numpy() @ right.numpy(), rtol=1e-5)
    copied = kernels.copy(4096)
    assert copied.numpy().nbytes == 4096
    assert not np.shares_memory(copied.numpy(), kernels._buffer(4096).numpy())
    assert kernels.library == f"tensorflow {tf.__version__}"


def test_the_allocator_of_the_host_keeps_a_peak(make_cell):
    (meter,) = plugin.measure(model=object(), device=make_cell().device)
    meter.start()
    before = meter.stop()["tensor_peak"].value
    meter.start()
    tensor = tf.zeros((1000, 1000)) + 1
    del tensor
    reading = meter.stop()["tensor_peak"]
    assert reading.value >= before + 4_000_000
    assert "allocator of CPU:0" in reading.basis
    assert plugin.measure(model=None, device=make_cell().device) == ()


def test_a_device_without_statistics_says_so():
    meter = AllocatorMeter(Place("CPU:5"))
    meter.start()
    reading = meter.stop()["tensor_peak"]
    assert reading.value is None
    assert reading.reason


def test_train_step_refuses_a_foreign_model():
    with pytest.raises(TypeError, match="got a object"):
        plugin.train_step(model=object())
