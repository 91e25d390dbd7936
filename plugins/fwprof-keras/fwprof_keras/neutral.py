"""A neutral workload in keras: network, loss and optimizer from canonical weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fwprof.plugin import Format, UnsupportedError, sample_shape
from fwprof.plugin import layers as kinds
from fwprof_keras.data import Batches
from fwprof_keras.formats import whole_model_formats
from fwprof_keras.layers import KerasLayer
from fwprof_keras.layout import write_slots
from fwprof_keras.model import KerasModel
from fwprof_keras.network import build_network, build_part
from fwprof_keras.pipeline import DatasetPipeline
from fwprof_keras.precision import MIXED, set_dtype
from fwprof_keras.verification import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwprof.plugin import (
        Batch,
        DataPipeline,
        Device,
        LayerCase,
        LayerPrograms,
        LoadedWorkload,
        Options,
        PipelineData,
    )
    from fwprof_keras.backends import Backend, Staged
    from fwprof_keras.modes import Mode


class NeutralModel(KerasModel):
    """The network of a neutral workload, its loss and its optimizer, compiled by `Model.compile`.

    Raises:
        UnsupportedError: a layer, the loss or the optimizer is not supported.
    """

    def __init__(
        self, workload: LoadedWorkload, backend: Backend, mode: Mode, device: Device, options: Options
    ) -> None:
        if workload.spec is None:
            raise UnsupportedError(f"workload {workload.name} has no layers for keras to build")
        cell = options.cell
        self._has_processes = mode.has_processes
        self._dtype = "float64" if cell.precision == "float64" else "float32"
        set_dtype(self._dtype, MIXED.get(cell.precision))
        self._weights = workload.weights
        self._parts = workload.spec.accumulate
        # Without 64-bit types, jax has 32-bit ids alone.
        self._id_dtype = keras.backend.standardize_dtype(backend.place(np.zeros(1, np.int64)).dtype)
        network = build_network(
            workload.spec,
            workload.layers,
            kind=mode.model,
            id_dtype=self._id_dtype,
            has_dropout=not cell.is_verification,
            is_exact=cell.precision == "float64",
        )
        model = network.model
        model.compile(
            optimizer=_make_optimizer(
                workload.spec.optimizer,
                np.float64 if cell.precision == "float64" else float,
                # Keras knows no accumulation over a single step.
                self._parts if self._parts > 1 else None,
            ),
            loss=_make_loss(workload.spec.loss),
            run_eagerly=bool(mode.run_eagerly),
            jit_compile="auto" if mode.jit is None else mode.jit,
        )
        model.optimizer.build(model.trainable_variables)
        self._batch_size = len(workload.batches[0].targets) if workload.batches else 0
        super().__init__(
            model=model,
            backend=backend,
            device=device,
            parameters=network.parameters,
            statistics=network.statistics,
            batches=[part for batch in workload.batches for part in self._cut(batch)],
            cell=cell,
            sums_rows=True,
            parts=self._parts,
            has_lengths=None in sample_shape(workload.spec),
        )
        self.verified_with = differences(workload, cell)
        self._steps, self._first = network.steps, workload.layers[0].path
        self._data = Batches(self.batches)
        self._next = 0
        scalars = [v for v in model.optimizer.variables if len(v.shape) == 0]
        self._scalars = [(v, np.array(keras.ops.convert_to_numpy(v.value))) for v in scalars]
        self.reset()

    @property
    def batch_size(self) -> int:
        """Samples in the batch staged last."""
        return self._batch_size

    def stage(self, batch: Batch) -> Staged:
        """Put one batch on the device and wait."""
        self._batch_size = len(batch.targets)
        return self.place(self._cut(batch))

    def next_batch(self) -> Staged:
        """Fetch one batch, or its parts, from a PyDataset and put it on the device."""
        first, self._next = self._next, self._next + self._parts
        return self.place([(*self._data[number], None) for number in range(first, self._next)])

    def formats(self) -> Mapping[str, Format]:
        """Return keras's whole models beside the weights alone."""
        return {**whole_model_formats(self), **super().formats()}

    def pipeline(self, data: PipelineData) -> DataPipeline:
        """Return a PyDataset of the samples."""
        return DatasetPipeline(
            data,
            has_processes=self._has_processes,
            send=lambda batch: self.send(self._cut(batch)),
        )

    @property
    def fused_by(self) -> str:
        """What compiles the layers of a program together."""
        return self.backend.fused_by(self.engine.mode)

    def open_layer(self, case: LayerCase) -> LayerPrograms:
        """Return one layer alone."""
        path, dtype = case.layer.path, self._id_dtype
        if case.inputs.dtype.kind == "f":
            # Layers give on what they compute in; the workload's own input comes as it is.
            mixed = keras.config.dtype_policy().compute_dtype
            dtype = self._dtype if path == self._first else mixed
        # A stateless call of a single layer would cast none of its variables; that of a model does.
        is_model = self.backend.name == "jax"
        part = build_part(self._steps[path], case.layer.input_shape, dtype, is_model=is_model)
        return KerasLayer(self, part, case, dtype)

    def restore_start(self) -> None:
        """Set canonical weights, a fresh optimizer, and the states that random layers draw from."""
        write_slots(self._slots, self._weights)
        for variable in self.model.optimizer.variables:
            if len(variable.shape) > 0:
                variable.assign(np.zeros(variable.shape, variable.dtype))
        for variable, start in self._scalars:
            variable.assign(start.copy())
        for number, variable in enumerate(self._seeds()):
            variable.assign(np.array([self.cell.seed + number, 0], variable.dtype))

    def _seeds(self) -> list[keras.Variable]:
        """Return the states of keras's seed generators: a seed and how often it was drawn from."""
        placed = {id(slot.variable) for slot in self._slots.values()}
        return [v for v in self.model.non_trainable_variables if id(v) not in placed]

    def _cut(self, batch: Batch) -> list[tuple[np.ndarray, np.ndarray, None]]:
        """Return the parts of a batch, each of which is a batch to keras.

        The last batch of an epoch may be smaller: to predict, it has parts of unequal size.
        """
        inputs, targets, _ = self._convert(batch)
        parts = min(self._parts, len(targets))
        pairs = zip(np.array_split(inputs, parts), np.array_split(targets, parts), strict=True)
        return [(*pair, None) for pair in pairs]

    def _convert(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, None]:
        inputs, targets = batch.inputs, batch.targets
        if inputs.dtype == np.float32:
            inputs = inputs.astype(self._dtype)
        if targets.dtype == np.float32:
            targets = targets.astype(self._dtype)
        return inputs, targets, None


def _make_loss(name: kinds.Loss) -> keras.losses.Loss:
    match name:
        case "cross_entropy":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        case "binary_cross_entropy":
            return keras.losses.BinaryCrossentropy(from_logits=True)
        case "mean_squared_error":
            return keras.losses.MeanSquaredError()
    raise UnsupportedError(f"keras has no loss {name!r} here")


def _make_optimizer(
    spec: kinds.Optimizer, number: Callable[[float], Any], parts: int | None
) -> keras.optimizers.Optimizer:
    """Return the optimizer, its constants as `number`: a plain float is a float32 to tensorflow."""
    match spec:
        case kinds.Sgd():
            momentum = number(spec.momentum)
            return keras.optimizers.SGD(
                spec.learning_rate, momentum=momentum, gradient_accumulation_steps=parts
            )
        case kinds.Adam():
            shared = {name: number(getattr(spec, name)) for name in ("beta_1", "beta_2", "epsilon")}
            shared["gradient_accumulation_steps"] = parts
            if spec.weight_decay > 0:
                decay = number(spec.weight_decay)
                return keras.optimizers.AdamW(spec.learning_rate, weight_decay=decay, **shared)
            return keras.optimizers.Adam(spec.learning_rate, **shared)
    raise UnsupportedError(f"keras has no optimizer {type(spec).__name__} here")
