"""Small neutral workloads with random numbers, and a few steps of training, for the tests of plugins.

Knows the model language and the programs' contract; no plugin and no check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fwprof.plugin import Batch, LoadedWorkload, Model, PipelineData, Programs, Workload, layers, transforms
from fwprof.workloads.data import target_form
from fwprof.workloads.language import parameter_shapes, resolve, state_shapes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]


def make_workload(
    specs: Sequence[layers.Layer],
    shape: tuple[int, ...],
    *,
    classes: int = 3,
    batch: int = 4,
    batches: int = 8,
    optimizer: layers.Optimizer | None = None,
    vocabulary: int = 0,
    loss: layers.Loss = "cross_entropy",
    accumulate: int = 1,
    name: str = "small",
    seed: int = 11,
) -> LoadedWorkload:
    """Return a workload of these layers, its weights and batches drawn from `seed`.

    Args:
        specs: layers, the last of which gives `(classes,)`.
        shape: of one sample.
        batch: samples in a batch.
        batches: how many there are.
        optimizer: None: SGD with a learning rate of 0.1.
        vocabulary: where it is not 0, inputs are ids below it.
        accumulate: parts that a batch is cut into; divides `batch`.

    Raises:
        RequestError: the language refuses the layers.
    """
    spec = Workload(
        name=name,
        input=layers.InputSpec(shape=shape, dtype="int64" if vocabulary else "float32"),
        layers=tuple(specs),
        classes=classes,
        loss=loss,
        accumulate=accumulate,
        optimizer=optimizer or layers.Sgd(learning_rate=0.1),
        batch_size={"default": batch},
    )
    resolved, random = resolve(spec), np.random.default_rng(seed)
    shapes = {**parameter_shapes(resolved), **state_shapes(resolved)}
    weights = {key: _draw_weight(key, size, random) for key, size in shapes.items()}
    drawn = tuple(_draw_batch(spec, batch, vocabulary, random) for _ in range(batches))
    return LoadedWorkload(name=name, spec=spec, layers=resolved, weights=weights, batches=drawn)


def train(model: Model, programs: Programs, batches: Sequence[Any], count: int = 4) -> list[float]:
    """Take a training step on each of the first `count` batches; return the losses."""
    losses = []
    for batch in batches[:count]:
        result = programs.run(model.stage(batch))
        programs.wait(result)
        losses.append(programs.read(result)[0])
    return losses


def write_samples(folder: Path, count: int = 13, **asked: Any) -> PipelineData:
    """Write images of 5 × 4 pixels in two channels, with their numbers as labels: batches of 4 samples.

    Args:
        folder: gets `inputs.npy` and `targets.npy`.
        asked: fields of `Pipeline`.
    """
    inputs, targets = folder / "inputs.npy", folder / "targets.npy"
    np.save(inputs, np.arange(count * 5 * 4 * 2, dtype=np.float32).reshape(count, 5, 4, 2))
    np.save(targets, np.arange(count))
    return PipelineData(inputs, targets, 4, transforms.Pipeline(**asked), seed=3)


IMAGES = (layers.Flatten(), layers.Dense(units=3)), (5, 4, 2)
"""Layers, and the shape of one sample, of a workload that such samples fit."""


def _draw_weight(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    # Away from 0 and 1 everywhere, so that a plugin that skips one is seen.
    values = random.normal(scale=0.3, size=shape)
    if name.endswith(("gamma", "moving_variance")):
        values = 1 + np.abs(values)
    return values.astype(np.float32)


def _draw_batch(spec: Workload, size: int, vocabulary: int, random: np.random.Generator) -> Batch:
    if vocabulary:
        inputs: Array = random.integers(0, vocabulary, (size, *spec.input.shape))
    else:
        inputs = random.normal(size=(size, *spec.input.shape)).astype(np.float32)
    shape, dtype = target_form(spec)
    if spec.loss == "mean_squared_error":
        return Batch(inputs, random.normal(size=(size, *shape)).astype(dtype))
    labels = spec.classes if spec.loss == "cross_entropy" else 2
    return Batch(inputs, random.integers(0, labels, (size, *shape)).astype(dtype))
