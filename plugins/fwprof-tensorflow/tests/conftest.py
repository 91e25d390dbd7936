"""Small workloads with their shapes resolved, and cells to build them in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import Batch, CellPlan, LoadedWorkload, Options, Workload, layers
from fwprof.testing.language import parameter_shapes, resolve, state_shapes
from fwprof.testing.samples import sample_cell
from fwprof_tensorflow import plugin

Layers = Sequence[Any]

# tensorflow takes them once a process: before anything is computed, and as conformance asks for them.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def _make_workload(
    specs: Layers,
    shape: tuple[int, ...],
    classes: int = 3,
    batch: int = 4,
    optimizer: Any = None,
    vocabulary: int = 0,
    loss: Any = "cross_entropy",
) -> LoadedWorkload:
    random = np.random.default_rng(11)
    spec = Workload(
        name="small",
        input=layers.InputSpec(shape=shape, dtype="int64" if vocabulary else "float32"),
        layers=tuple(specs),
        classes=classes,
        loss=loss,
        optimizer=optimizer or layers.Sgd(learning_rate=0.1),
    )
    resolved = resolve(spec)
    weights = {}
    for name, size in {**parameter_shapes(resolved), **state_shapes(resolved)}.items():
        values = random.normal(scale=0.3, size=size)
        is_scale = name.endswith(("gamma", "moving_variance"))
        weights[name] = (1 + np.abs(values) if is_scale else values).astype(np.float32)

    def draw() -> Batch:
        inputs = (
            random.integers(0, vocabulary, (batch, *shape))
            if vocabulary
            else random.normal(size=(batch, *shape)).astype(np.float32)
        )
        targets = (
            random.integers(0, classes, batch)
            if loss == "cross_entropy"
            else random.integers(0, 2, (batch, classes)).astype(np.float32)
        )
        return Batch(inputs=inputs, targets=targets)

    return LoadedWorkload(
        name="small", spec=spec, layers=resolved, weights=weights, batches=[draw() for _ in range(8)]
    )


def _make_cell(*, verified: bool = False, **changes: Any) -> CellPlan:
    cell = sample_cell(name="tensorflow", **changes)
    return msgspec.structs.replace(cell, is_verification=True, precision="float64") if verified else cell


@pytest.fixture
def make_workload() -> Callable[..., LoadedWorkload]:
    return _make_workload


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
def _keep_global_settings() -> Any:
    products, keras = tf.config.experimental, tf.keras.config
    tf32, floatx = products.tensor_float_32_execution_enabled(), keras.floatx()
    policy = keras.dtype_policy()
    yield
    products.enable_tensor_float_32_execution(tf32)
    keras.set_floatx(floatx)
    keras.set_dtype_policy(policy)
