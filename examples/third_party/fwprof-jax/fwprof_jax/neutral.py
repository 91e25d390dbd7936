"""A neutral workload in jax: a pure network, optax's loss and optimizer, from canonical weights."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax

from fwprof.plugin import Batch, UnsupportedError, sample_shape, walk
from fwprof.plugin import layers as kinds
from fwprof_jax.layers import JaxLayer
from fwprof_jax.mixed import FORMATS, with_scaled_gradients
from fwprof_jax.model import JaxModel
from fwprof_jax.network import apply, make_state
from fwprof_jax.optimizers import make_optimizer
from fwprof_jax.pipeline import ThreadPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwprof.plugin import (
        CellPlan,
        DataPipeline,
        LayerCase,
        LayerPrograms,
        LoadedWorkload,
        Options,
        PipelineData,
        Staged,
        Workload,
    )
    from fwprof_jax.model import Array
    from fwprof_jax.modes import Mode
    from fwprof_jax.network import Params, State

    Pair = tuple[jax.Array, jax.Array]


PADDING = 0
"""The id that stands in front of a short sequence."""


class NeutralModel(JaxModel):
    """The network of a neutral workload, its loss and its optimizer.

    Args:
        workload: layers, canonical weights and batches.

    Raises:
        UnsupportedError: a layer, the loss or the optimizer is not supported.
    """

    def __init__(self, workload: LoadedWorkload, device: jax.Device, mode: Mode, options: Options) -> None:
        spec, cell = workload.spec, options.cell
        if spec is None:
            raise UnsupportedError(f"workload {workload.name} has no layers for jax to build")
        layers, has_dropout = workload.layers, not cell.is_verification
        mixed = self._mixed = FORMATS.get(cell.precision)
        self._first = layers[0].path
        criterion = _criterion(spec)

        def loss(params: Params, state: State, batch: Pair) -> tuple[jax.Array, State]:
            inputs, targets = batch
            outputs, state = apply(
                layers, params, state, inputs, is_training=True, has_dropout=has_dropout, mixed=mixed
            )
            return criterion(outputs, targets).mean(), state

        self._part_count = spec.accumulate
        self._dtype = np.float64 if cell.precision == "float64" else np.float32
        weights = {name: np.asarray(array, self._dtype) for name, array in workload.weights.items()}
        trained = [name for resolved in walk(layers) for name in resolved.parameters]
        optimizer = make_optimizer(spec.optimizer, canonical=cell.is_verification)
        if cell.precision == "float16":
            optimizer = with_scaled_gradients(optimizer)
        self.verified_with = _differences(spec, layers, cell) if cell.is_verification else ()
        super().__init__(
            params={name: weights[name] for name in trained},
            state=make_state(layers, weights, cell.seed),
            loss=loss,
            batch=workload.batches[0],
            optimizer=optimizer,
            device=device,
            mode=mode,
            options=options,
            has_parts=spec.accumulate > 1,
        )
        self._infer = jax.jit(
            lambda params, state, inputs: apply(
                layers, params, state, inputs, is_training=False, mixed=mixed
            )[0]
        )
        self._pipeline = _slices(workload.batches, is_trimmed=None in sample_shape(spec))

    @property
    def batch_size(self) -> int:
        """Samples in the batch staged last."""
        return self._batch_size

    def convert(self, batch: Batch) -> tuple[Array, Array]:
        """Return inputs and targets, their floats in the cell's precision.

        Where gradients are accumulated, both are cut into (parts, samples, …).
        """
        self._batch_size = len(batch.targets)
        return self._cut(self._cast(batch.inputs)), self._cut(self._cast(batch.targets))

    def next_batch(self) -> Staged:
        """Slice one batch out of the data in memory and put it on the device."""
        return self.stage(next(self._pipeline))

    def pipeline(self, data: PipelineData) -> DataPipeline:
        """Return batches that threads make ahead."""
        return ThreadPipeline(data, self.convert, self.device)

    @property
    def fused_by(self) -> str:
        """What compiles the layers of a program together."""
        return "XLA" if self.settings()["jit"] else ""

    def open_layer(self, case: LayerCase) -> LayerPrograms:
        """Return one layer alone."""
        is_mixed = self._mixed is not None and case.layer.path != self._first
        return JaxLayer(self, case, self._mixed, self._mixed if is_mixed else self._dtype)

    def predict(self, staged: Staged) -> Array:
        """Return the logits `(batch, classes)` in inference mode."""
        inputs = staged[0]
        if self._part_count > 1:
            inputs = inputs.reshape(-1, *inputs.shape[2:])
        return np.array(self._infer(self.params, self.state, inputs))

    def _cut(self, array: Array) -> Array:
        if self._part_count == 1:
            return array
        # Of a batch to predict from, the last one of a data set may not be divisible.
        parts = self._part_count if len(array) % self._part_count == 0 else 1
        return array.reshape(parts, -1, *array.shape[1:])

    def _cast(self, array: Array) -> Array:
        return array.astype(self._dtype, copy=False) if array.dtype.kind == "f" else array


def _criterion(spec: Workload) -> Any:
    match spec.loss:
        case "cross_entropy":
            return optax.losses.softmax_cross_entropy_with_integer_labels
        case "binary_cross_entropy":
            return optax.losses.sigmoid_binary_cross_entropy
        case "mean_squared_error":
            return optax.losses.squared_error
    raise UnsupportedError(f"jax has no loss {spec.loss!r} here")


def _differences(spec: Workload, layers: Sequence[Any], cell: CellPlan) -> tuple[str, ...]:
    """Return how the verified program differs from the timed one."""
    found = [str(cell.precision)] if cell.precision == "float64" else []
    if any(isinstance(resolved.layer, kinds.Dropout) for resolved in walk(layers)):
        found.append("no dropout")
    if isinstance(spec.optimizer, kinds.Adam):
        found.append("Adam's epsilon scaled to the canonical form")
    return tuple(found)


def _slices(batches: Sequence[Batch], *, is_trimmed: bool) -> Iterator[Batch]:
    """Yield batches without end, cut from one array as from a data set in memory.

    Args:
        is_trimmed: whether a batch loses the padding in front that all its sequences have.
    """
    longest = max(batch.inputs.shape[1] for batch in batches)
    inputs = np.concatenate([_pad(batch.inputs, longest) for batch in batches])
    targets = np.concatenate([batch.targets for batch in batches])
    size = len(batches[0].targets)
    for start in cycle(range(0, len(targets), size)):
        part = inputs[start : start + size]
        if is_trimmed:
            part = part[:, (part != PADDING).any(axis=0).argmax() :]
        yield Batch(inputs=part, targets=targets[start : start + size])


def _pad(inputs: Array, length: int) -> Array:
    missing = length - inputs.shape[1]
    return np.pad(inputs, ((0, 0), (missing, 0)), constant_values=PADDING) if missing else inputs
