"""Cells to build in, models built in them, and torch's global state put back after each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fwprof.plugin import CellPlan, LoadedWorkload, Options
from fwprof.testing.fixtures import module_environment as module_environment
from fwprof.testing.fixtures import own_environment as own_environment
from fwprof.testing.samples import sample_cell
from fwprof_torch import plugin
from fwprof_torch.modes import Mode
from fwprof_torch.neutral import NeutralModel
from fwprof_torch.places import open_place


@pytest.fixture
def make_cell() -> Callable[..., CellPlan]:
    return _make_cell


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., Options]:
    def make(**changes: Any) -> Options:
        return Options(cell=_make_cell(**changes), cache=tmp_path)

    return make


def _make_cell(**changes: Any) -> CellPlan:
    return sample_cell(name="torch", threads=changes.pop("threads", torch.get_num_threads()), **changes)


@pytest.fixture
def build(options: Callable[..., Options]) -> Callable[..., Any]:
    """Build a workload through the hook; `double` in float64, past the hook."""

    def make(
        workload: LoadedWorkload, *, double: bool = False, is_verification: bool = False, **changes: Any
    ) -> Any:
        precision = "float64" if double or is_verification else "float32"
        made = options(precision=precision, is_verification=is_verification, **changes)
        if not double:
            return plugin.build_model(workload=workload, device=made.cell.device, options=made)
        return NeutralModel(workload, open_place(made.cell.device), Mode(), made)

    return make


@pytest.fixture(autouse=True)
def _keep_global_settings() -> Any:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
