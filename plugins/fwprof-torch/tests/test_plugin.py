"""The hooks' own doors: modes, options, environment, places, memory, peaks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from fwprof.plugin import Device, PluginUnavailableError, UnsupportedError
from fwprof_torch import modes, plugin
from fwprof_torch.modes import Mode, prepare_environment, read_mode


@pytest.fixture(autouse=True)
def _own_environment(own_environment):
    """Every test here may call `prepare`, which sets variables."""


def test_loading_the_plugin_loads_neither_torch_nor_numpy():
    code = "import sys, fwprof_torch.plugin; print(*sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_eager_step_loads_no_compiler(tmp_path):
    """torch loads the compiler's front end with the first optimizer; the compiler itself is not needed."""
    code = f"""
import sys, numpy, pathlib
from fwprof.plugin import Batch, LoadedWorkload, Options
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.samples import sample_cell
from fwprof_torch import plugin
cell, cache, workload = sample_cell(name="torch"), pathlib.Path({str(tmp_path)!r}), load_case("plain")
plugin.prepare(plan=cell, cache=cache)
print("torch._dynamo" in sys.modules)
model = plugin.build_model(workload=workload, device=cell.device, options=Options(cell=cell, cache=cache))
plugin.train_step(model=model).run(model.stage(workload.batches[0]))
print("torch._inductor.compile_fx" in sys.modules, model.compilations())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "0"]


def test_prepare_sets_threads_and_gives_versions(make_cell, tmp_path):
    before = torch.get_num_threads()
    try:
        versions = plugin.prepare(plan=make_cell(threads=before + 1), cache=tmp_path)
        assert torch.get_num_threads() == before + 1
        assert os.environ["OMP_NUM_THREADS"] == str(before + 1)
    finally:
        torch.set_num_threads(before)
    assert versions == {"torch": str(torch.__version__)}
    assert all(type(version) is str for version in versions.values())


def test_prepare_fixes_the_random_state_before_the_factory_is_called(make_cell, tmp_path):
    drawn = []
    for _ in range(2):
        plugin.prepare(plan=make_cell(seed=5), cache=tmp_path)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_a_fresh_cache_lies_in_the_workers_own_folder(make_cell, tmp_path):
    prepare_environment(Mode(name="compile"), make_cell(), tmp_path)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TMPDIR"):
        assert Path(os.environ[name]).is_relative_to(tmp_path)
    assert Path(tempfile.gettempdir()).is_relative_to(tmp_path)


def test_a_cache_the_user_names_is_warm_once_it_holds_something(make_cell, tmp_path):
    folder = tmp_path / "kept"
    mode = read_mode(make_cell(variant="compile", options={"cache": str(folder)}))
    assert not mode.has_warm_cache()
    prepare_environment(mode, make_cell(), tmp_path)
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(folder)
    assert not mode.has_warm_cache(), "what prepare makes is no compiled code"
    (folder / "inductor").mkdir()
    (folder / "inductor" / "code").write_text("x")
    assert mode.has_warm_cache()


def test_compiling_without_a_compiler_says_what_was_looked_for(make_cell, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PluginUnavailableError, match=r"torch:compile needs a C\+\+ compiler") as caught:
        plugin.prepare(plan=make_cell(variant="compile"), cache=tmp_path)
    assert "'no-such-compiler' on PATH" in caught.value.cause
    assert "apt install g++" in caught.value.next
    assert all(len(line) <= 110 for line in caught.value.lines())


def test_compiling_without_pythons_headers_says_so(make_cell, tmp_path, monkeypatch):
    monkeypatch.setattr(modes.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(PluginUnavailableError, match="needs the headers of this Python"):
        plugin.prepare(plan=make_cell(variant="compile"), cache=tmp_path)


@pytest.mark.parametrize(
    ("variant", "options", "words", "advice"),
    [
        ("compil", {}, "no variant 'compil'", "did you mean 'compile'?"),
        ("graph", {}, "no variant 'graph'", "use one of eager, compile"),
        ("compile", {"cach": "x"}, "torch:compile has no option 'cach'", "did you mean 'cache'?"),
        (None, {"cache": "x"}, "torch:eager has no option 'cache'", "leave it out"),
    ],
)
def test_an_unknown_variant_or_option_is_refused_with_the_known_ones(
    make_cell, variant, options, words, advice
):
    with pytest.raises(UnsupportedError, match=words) as caught:
        read_mode(make_cell(variant=variant, options=options))
    assert caught.value.next == advice


def test_an_option_of_the_wrong_type_is_refused(make_cell):
    with pytest.raises(UnsupportedError, match="torch:compile has no compile_optimizer 3"):
        read_mode(make_cell(variant="compile", options={"compile_optimizer": 3}))
    assert read_mode(make_cell(variant="compile", options={"compile_optimizer": "true"})).compile_optimizer


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


@pytest.mark.parametrize("native", ["cuda:0", "nonsense"])
def test_a_device_this_torch_cannot_use_is_unavailable(make_cell, tmp_path, native):
    if native == "cuda:0" and torch.cuda.is_available():
        pytest.skip("this machine has a card")
    device = Device(name="other:0", kind="other", native={"torch": native})
    with pytest.raises(PluginUnavailableError, match=rf"cannot use other:0 \({native}\)") as caught:
        plugin.prepare(plan=make_cell(device=device), cache=tmp_path)
    assert caught.value.cause


def test_a_device_without_a_native_name_is_called_by_its_kind(make_cell, tmp_path):
    device = Device(name="cpu", kind="cpu")
    assert plugin.prepare(plan=make_cell(device=device), cache=tmp_path)


def test_the_hosts_allocator_running_out_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert plugin.is_out_of_memory(error=caught.value)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), RuntimeError("CUDA error: out of memory")])
def test_a_devices_allocator_running_out_is_recognised(error):
    assert plugin.is_out_of_memory(error=error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_a_lack_of_memory(error):
    assert not plugin.is_out_of_memory(error=error)


def test_peak_kernels_multiply_and_copy(make_cell, tmp_path):
    cell = make_cell()
    kernels = plugin.peak_kernels(device=cell.device, plan=cell, cache=tmp_path)
    kernels.gemm(32)
    left, right, product = kernels._matrices(32)
    torch.testing.assert_close(product, left @ right)
    kernels.copy(4096)
    source, target = kernels._buffers(4096)
    assert source.nbytes == 4096
    target.zero_()
    kernels.copy(4096)
    assert torch.equal(source, target)
    assert kernels.library == f"torch {torch.__version__}"


def test_the_cpu_has_no_allocator_to_read(make_cell):
    assert plugin.measure(model=object(), device=make_cell().device) == ()
    assert plugin.measure(model=None, device=make_cell().device) == ()


def test_train_step_refuses_a_foreign_model():
    with pytest.raises(TypeError, match="got a object"):
        plugin.train_step(model=object())
