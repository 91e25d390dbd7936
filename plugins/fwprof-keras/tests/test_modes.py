"""Variants, options and the environment: what is decided before keras is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fwprof.plugin import Device, PluginUnavailableError, UnsupportedError
from fwprof_keras import modes
from fwprof_keras.modes import Mode, default_backend, prepare_environment, read_mode, require_backend


def test_loading_the_plugin_loads_neither_keras_nor_a_backend():
    code = (
        "import sys, fwprof_keras.plugin, fwprof_keras.modes; "
        "print(*sorted({'keras', 'torch', 'tensorflow', 'jax', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("variable", "written", "expected"),
    [
        ("jax", None, "jax"),
        ("jax", {"backend": "torch"}, "jax"),
        (None, {"backend": "torch"}, "torch"),
        (None, {}, "tensorflow"),
        (None, None, "tensorflow"),
    ],
)
def test_without_a_variant_the_backend_is_the_one_keras_would_choose(
    make_cell, monkeypatch, tmp_path, variable, written, expected
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if written is not None:
        (tmp_path / "keras.json").write_text(json.dumps(written))
    assert default_backend() == expected
    assert read_mode(make_cell()).backend == expected


@pytest.mark.parametrize(
    ("variant", "options", "expected"),
    [
        ("tensorflow", {}, Mode("tensorflow")),
        ("tensorflow", {"mode": "compiled"}, Mode("tensorflow", run_eagerly=False)),
        ("tensorflow", {"mode": "eager"}, Mode("tensorflow", run_eagerly=True)),
        (
            "tensorflow",
            {"jit": True, "model": "functional"},
            Mode("tensorflow", jit=True, model="functional"),
        ),
        ("torch", {"mode": "eager"}, Mode("torch", run_eagerly=True)),
        ("jax", {"mode": "compiled"}, Mode("jax", run_eagerly=False, jit=True)),
        ("jax", {"jit": "false"}, Mode("jax", jit=False)),
    ],
)
def test_options_are_read_as_compile_takes_them(make_cell, variant, options, expected):
    assert read_mode(make_cell(variant=variant, options=options)) == expected


@pytest.mark.parametrize(
    ("variant", "options", "words", "advice"),
    [
        ("tensrflow", {}, "no variant 'tensrflow'", "did you mean 'tensorflow'?"),
        ("numpy", {}, "no variant 'numpy'", "use one of tensorflow, torch, jax"),
        ("jax", {"mod": "eager"}, "no option 'mod'", "did you mean 'mode'?"),
        ("jax", {"mode": "eagr"}, "no mode 'eagr'", "did you mean 'eager'?"),
        ("jax", {"jit": 3}, "no jit 3", "leave it out for auto"),
        ("jax", {"mode": "eager", "jit": True}, "cannot run eagerly and with jit", "leave one of them out"),
        ("jax", {"mode": "compiled", "jit": False}, "no compiled mode without jit", "leave jit=false out"),
        ("torch", {"jit": True}, "keras:torch is not compiled here yet", "leave mode and jit out"),
    ],
)
def test_a_wrong_variant_or_option_is_refused_with_the_known_ones(make_cell, variant, options, words, advice):
    with pytest.raises(UnsupportedError, match=words) as caught:
        read_mode(make_cell(variant=variant, options=options))
    assert caught.value.next.startswith(advice)
    assert all(len(line) <= 100 for line in caught.value.lines())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"world_size": 2}, "does not support world_size 2"),
        ({"data_pipeline": "files"}, "does not support data_pipeline 'files'"),
        ({"trainable": "head"}, "does not support trainable 'head'"),
    ],
)
def test_what_is_not_supported_yet_is_refused_by_name(make_cell, changes, words):
    with pytest.raises(UnsupportedError, match=words):
        read_mode(make_cell(variant="jax", **changes))


def test_a_backend_that_is_not_installed_is_refused_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(modes, "find_spec", lambda name: None if name == "jax" else object())
    with pytest.raises(PluginUnavailableError, match="keras:jax needs jax, which is not installed") as caught:
        require_backend("jax")
    assert caught.value.next == "pip install 'fwprof-keras[jax]'"


@pytest.mark.parametrize(
    ("variant", "variables"),
    [
        ("tensorflow", {"KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "3"}),
        ("torch", {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "3", "KERAS_TORCH_DEVICE": "cpu"}),
        ("jax", {"KERAS_BACKEND": "jax", "NPROC": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),
    ],
)
def test_the_environment_names_the_backend_and_its_threads(make_cell, variant, variables):
    prepare_environment(Mode(variant), make_cell(threads=3))
    assert {name: os.environ[name] for name in variables} == variables


def test_a_card_is_named_as_keras_on_torch_reads_it(make_cell):
    card = Device(name="cuda:0", kind="cuda", native={"keras": "gpu:0"})
    prepare_environment(Mode("torch"), make_cell(device=card))
    assert os.environ["KERAS_TORCH_DEVICE"] == "cuda:0"
