"""The hooks' own doors: modes, options, environment, devices, memory, peaks."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwprof.plugin import Device, PluginUnavailableError, UnsupportedError
from fwprof_jax import plugin
from fwprof_jax.modes import read_mode


@pytest.fixture(autouse=True)
def _own_environment(own_environment):
    """Every test here may call `prepare`, which sets variables."""


def test_loading_the_plugin_loads_neither_jax_nor_numpy():
    code = "import sys, fwprof_jax.plugin; print(*sorted({'jax', 'optax', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_prepare_sets_platform_and_threads_and_gives_versions(make_cell):
    versions = plugin.prepare(plan=make_cell(threads=3))
    assert set(versions) == {"jax", "optax"}
    assert (os.environ["JAX_PLATFORMS"], os.environ["PJRT_NPROC"]) == ("cpu", "3")


@pytest.mark.parametrize(("asked", "found"), [(None, "false"), ("true", "true")])
def test_a_card_is_not_taken_in_advance_unless_the_user_says_so(make_cell, monkeypatch, asked, found):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    if asked:
        monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", asked)
    plugin.prepare(plan=make_cell())
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == found


FIRST_STEP = """
import sys, pathlib
from fwprof.plugin import Options
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.samples import sample_cell
from fwprof_jax import plugin
folder = pathlib.Path(sys.argv[1])
cell, workload = sample_cell(name="jax", options=eval(sys.argv[2])), load_case("plain")
plugin.prepare(plan=cell)
model = plugin.build_model(workload=workload, device=cell.device, options=Options(cell=cell, cache=folder))
plugin.train_step(model=model).run(model.stage(workload.batches[0]))
print(*model.describe().labels)
"""


def labels_of_a_first_step(folder, options, **environment):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP, str(folder), repr(options)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_compiled_programs_are_kept_where_the_user_says_and_nowhere_else(tmp_path):
    kept, users = tmp_path / "kept", tmp_path / "users"
    kept.mkdir()
    users.mkdir()
    asked = {"cache": str(kept)}
    assert labels_of_a_first_step(tmp_path, asked) == ["whole_graph"]
    assert any(kept.iterdir())
    assert labels_of_a_first_step(tmp_path, asked) == ["whole_graph", "warm_cache"]
    assert labels_of_a_first_step(tmp_path, {}, JAX_COMPILATION_CACHE_DIR=str(users)) == ["whole_graph"]
    assert not any(users.iterdir())


@pytest.mark.parametrize(
    ("variant", "options", "words", "advice"),
    [
        ("jitt", {}, "jax has no variant 'jitt'", "did you mean 'jit'?"),
        ("eager", {}, "jax has no variant 'eager'", "leave it out"),
        (None, {"cach": "x"}, "jax:jit has no option 'cach'", "did you mean 'cache'?"),
        (None, {"donate": True}, "jax:jit has no option 'donate'", "leave it out"),
    ],
)
def test_an_unknown_variant_or_option_is_refused_with_advice(make_cell, variant, options, words, advice):
    with pytest.raises(UnsupportedError, match=words) as caught:
        read_mode(make_cell(variant=variant, options=options))
    assert caught.value.next == advice
    assert all(len(line) <= 100 for line in caught.value.lines())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"world_size": 2}, "does not support world_size 2"),
        ({"data_pipeline": "files"}, "does not support data_pipeline 'files'"),
        ({"trainable": "head"}, "does not support trainable 'head'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(make_cell, changes, words):
    with pytest.raises(UnsupportedError, match=words):
        read_mode(make_cell(**changes))


@pytest.mark.parametrize("native", ["cuda:0", "nonsense", "cpu:99"])
def test_a_device_this_jax_cannot_use_is_unavailable(make_cell, native):
    cell = make_cell(device=Device(name="other:0", kind="other", native={"jax": native}))
    # jax reads the platforms when it opens the first one, which another test did with the cpu alone.
    with pytest.raises(PluginUnavailableError, match=rf"cannot use other:0 \({native}") as caught:
        plugin.prepare(plan=cell)
    assert caught.value.cause
    assert all(len(line) <= 100 for line in caught.value.lines())


def test_memory_running_out_is_recognised():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros(2**45).block_until_ready()
    assert plugin.is_out_of_memory(error=caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("RESOURCE_EXHAUSTED"), jax.errors.JaxRuntimeError("INTERNAL")]
)
def test_other_errors_are_not_taken_for_a_lack_of_memory(error):
    assert not plugin.is_out_of_memory(error=error)


def test_peak_kernels_multiply_and_copy_into_memory_they_hold(make_cell):
    cell = make_cell()
    kernels = plugin.peak_kernels(device=cell.device, plan=cell)
    assert kernels.library == f"jax {jax.__version__}"
    for _ in range(2):
        kernels.gemm(32)
        kernels.copy(4096)
    np.testing.assert_array_equal(kernels._matrices[2], np.full((32, 32), 32.0))
    assert [buffer.nbytes for buffer in kernels._buffers] == [4096, 4096]
    pointers = {buffer.unsafe_buffer_pointer() for buffer in kernels._buffers}
    kernels.copy(4096)
    assert {buffer.unsafe_buffer_pointer() for buffer in kernels._buffers} == pointers


def test_train_step_refuses_a_foreign_model():
    with pytest.raises(TypeError, match="got a object"):
        plugin.train_step(model=object())
