"""Small workloads with their shapes resolved, and cells to build them in."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from fwprof.plugin import Batch, CellPlan, LoadedWorkload, Options, ResolvedLayer, Workload, layers
from fwprof.testing.samples import sample_cell
from fwprof_torch import plugin
from fwprof_torch.modes import Mode
from fwprof_torch.neutral import NeutralModel
from fwprof_torch.places import open_place

Layers = Sequence[Any]


def resolve(specs: Layers, shape: tuple[int, ...], prefix: str = "") -> tuple[ResolvedLayer, ...]:
    found = []
    for index, layer in enumerate(specs):
        found.append(_resolve(layer, shape, f"{prefix}{index}"))
        shape = found[-1].output_shape
    return tuple(found)


def _resolve(layer: Any, shape: tuple[int, ...], path: str) -> ResolvedLayer:
    channels, output, state = shape[-1], shape, {}
    inner: tuple[ResolvedLayer, ...] = ()
    own: dict[str, tuple[int, ...]] = {}
    match layer:
        case layers.Dense():
            output = (*shape[:-1], layer.units)
            own = {"kernel": (channels, layer.units), "bias": (layer.units,)}
        case layers.Conv2d():
            sides = [
                -(-size // layer.stride)
                if layer.padding == "same"
                else (size - layer.size) // layer.stride + 1
                for size in shape[:2]
            ]
            output = (*sides, layer.filters)
            own = {
                "kernel": (layer.size, layer.size, channels, layer.filters),
                "bias": (layer.filters,),
            }
        case layers.MaxPool2d() | layers.AveragePool2d():
            output = (shape[0] // layer.size, shape[1] // layer.size, channels)
        case layers.Flatten():
            output = (math.prod(shape),)
        case layers.BatchNorm() | layers.LayerNorm():
            own = {"gamma": (channels,), "beta": (channels,)}
            if isinstance(layer, layers.BatchNorm):
                state = {f"{path}.moving_mean": (channels,), f"{path}.moving_variance": (channels,)}
        case layers.Embedding():
            output = (*shape, layer.units)
            own = {"table": (layer.vocabulary, layer.units)}
        case layers.PositionEmbedding():
            own = {"table": shape}
        case layers.Attention():
            for part in ("query", "key", "value", "output"):
                own |= {f"{part}_kernel": (channels, channels), f"{part}_bias": (channels,)}
        case layers.AverageOverSequence():
            output = shape[1:]
        case layers.Lstm():
            output = (shape[0], layer.units) if layer.return_sequences else (layer.units,)
            gates = 4 * layer.units
            own = {"kernel": (channels, gates), "recurrent_kernel": (layer.units, gates), "bias": (gates,)}
        case layers.Residual():
            inner = resolve(layer.layers, shape, f"{path}.")
    return ResolvedLayer(
        path=path,
        layer=layer,
        input_shape=shape,
        output_shape=output,
        parameters={f"{path}.{name}": size for name, size in own.items()},
        state=state,
        inner=inner,
    )


def all_layers(found: Sequence[ResolvedLayer]) -> list[ResolvedLayer]:
    return [each for layer in found for each in (layer, *all_layers(layer.inner))]


def _make_workload(
    specs: Layers,
    shape: tuple[int, ...],
    classes: int = 3,
    batch: int = 4,
    optimizer: Any = None,
    vocabulary: int = 0,
    batches: int = 8,
    loss: Any = "cross_entropy",
) -> LoadedWorkload:
    random = np.random.default_rng(11)
    resolved = resolve(specs, shape)
    weights = {}
    for layer in all_layers(resolved):
        for name, size in {**layer.parameters, **layer.state}.items():
            values = random.normal(scale=0.3, size=size)
            is_scale = name.endswith(("gamma", "moving_variance"))
            weights[name] = (1 + np.abs(values) if is_scale else values).astype(np.float32)

    def draw() -> Batch:
        inputs = (
            random.integers(0, vocabulary, (batch, *shape))
            if vocabulary
            else random.normal(size=(batch, *shape)).astype(np.float32)
        )
        if loss == "binary_cross_entropy":
            return Batch(inputs, random.integers(0, 2, (batch, classes)).astype(np.float32))
        return Batch(inputs=inputs, targets=random.integers(0, classes, batch))

    return LoadedWorkload(
        name="small",
        spec=Workload(
            name="small",
            input=layers.InputSpec(shape=shape, dtype="int64" if vocabulary else "float32"),
            layers=tuple(specs),
            classes=classes,
            loss=loss,
            optimizer=optimizer or layers.Sgd(learning_rate=0.1),
        ),
        layers=resolved,
        weights=weights,
        batches=[draw() for _ in range(batches)],
    )


@pytest.fixture
def make_workload() -> Callable[..., LoadedWorkload]:
    return _make_workload


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
        made = options(**changes)
        precision = "float64" if double or is_verification else made.cell.precision
        cell = msgspec.structs.replace(made.cell, precision=precision, is_verification=is_verification)
        made = Options(cell=cell, cache=made.cache)
        if not double:
            return plugin.build_model(workload=workload, device=cell.device, options=made)
        return NeutralModel(workload, open_place(cell.device), Mode(), made)

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
    variables, folder = dict(os.environ), tempfile.tempdir
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)
        tempfile.tempdir = folder


@pytest.fixture(autouse=True)
def _keep_global_settings() -> Any:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
