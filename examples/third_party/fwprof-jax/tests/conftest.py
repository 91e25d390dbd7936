"""Cells to build in, models built in them, and jax's global state put back after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import pytest

from fwprof.plugin import CellPlan, LoadedWorkload, Options
from fwprof.testing.fixtures import module_environment as module_environment
from fwprof.testing.fixtures import own_environment as own_environment
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
    return partial(sample_cell, name="jax")


@pytest.fixture
def build(make_cell: Callable[..., CellPlan], tmp_path: Path) -> Callable[..., Any]:
    """Build a workload through the hook; keywords change its cell."""

    def make(workload: LoadedWorkload, **changes: Any) -> Any:
        cell = make_cell(**changes)
        options = Options(cell=cell, cache=tmp_path)
        return plugin.build_model(workload=workload, device=cell.device, options=options)

    return make


@pytest.fixture(autouse=True)
def _keep_configuration() -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in KEPT}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
