"""Cells to build in, models built in them, and jax's global state put back after each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import msgspec
import pytest

from fwprof.plugin import CellPlan, LoadedWorkload, Options
from fwprof.testing.samples import sample_cell
from fwprof_jax import plugin

KEPT = (
    "jax_default_matmul_precision",
    "jax_enable_x64",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def make_cell() -> Callable[..., CellPlan]:
    return _make_cell


def _make_cell(**changes: Any) -> CellPlan:
    fields = CellPlan.__struct_fields__
    later = {
        key: changes.pop(key) for key in list(changes) if key in fields and key not in ("device", "seed")
    }
    return msgspec.structs.replace(sample_cell(name="jax", **changes), **later)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    """Build a workload through the hook; keywords change its cell."""

    def make(workload: LoadedWorkload, **changes: Any) -> Any:
        cell = _make_cell(**changes)
        options = Options(cell=cell, cache=tmp_path)
        return plugin.build_model(workload=workload, device=cell.device, options=options)

    return make


@pytest.fixture(scope="module")
def module_environment() -> Iterator[None]:
    """Undo what `prepare` sets in the environment, after the last test of a module."""
    with _kept_environment():
        yield


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Undo what `prepare` sets in the environment, after the test."""
    with _kept_environment():
        yield


@contextmanager
def _kept_environment() -> Iterator[None]:
    variables = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)


@pytest.fixture(autouse=True)
def _keep_configuration() -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in KEPT}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
