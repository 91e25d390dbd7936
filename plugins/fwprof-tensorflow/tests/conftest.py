"""Cells to build in, models built in them, and tensorflow's global state put back after each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from fwprof.plugin import CellPlan, LoadedWorkload, Options
from fwprof.testing.fixtures import module_environment as module_environment
from fwprof.testing.fixtures import own_environment as own_environment
from fwprof.testing.samples import sample_cell
from fwprof_tensorflow import plugin

# tensorflow takes them once a process: before anything is computed, and as conformance asks for them.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def _make_cell(*, verified: bool = False, **changes: Any) -> CellPlan:
    if verified:
        changes |= {"precision": "float64", "is_verification": True}
    return sample_cell(name="tensorflow", **changes)


@pytest.fixture
def make_cell() -> Callable[..., CellPlan]:
    return _make_cell


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    """Build a workload through the hook; `verified` in float64, as answers are compared."""

    def make(workload: LoadedWorkload, **changes: Any) -> Any:
        options = Options(cell=_make_cell(**changes), cache=tmp_path)
        return plugin.build_model(workload=workload, device=options.cell.device, options=options)

    return make


@pytest.fixture(autouse=True)
def _keep_global_settings() -> Any:
    products, keras = tf.config.experimental, tf.keras.config
    tf32, floatx = products.tensor_float_32_execution_enabled(), keras.floatx()
    policy = keras.dtype_policy()
    yield
    products.enable_tensor_float_32_execution(tf32)
    keras.set_floatx(floatx)
    keras.set_dtype_policy(policy)
