"""A neutral workload in tensorflow 2: network, loss and optimizer from canonical weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import Format, ResolvedLayer, UnsupportedError, sample_shape, walk
from fwprof.plugin import layers as kinds
from fwprof_tensorflow.formats import whole_model_formats
from fwprof_tensorflow.layers import TensorFlowLayer
from fwprof_tensorflow.network import build_network
from fwprof_tensorflow.pipeline import DatasetPipeline
from fwprof_tensorflow.settings import MIXED, set_precision
from fwprof_tensorflow.steps import Steps
from fwprof_tensorflow.trained import TrainedModel

if TYPE_CHECKING:
    from fwprof.plugin import (
        Batch,
        CellPlan,
        DataPipeline,
        LayerCase,
        LayerPrograms,
        LoadedWorkload,
        Options,
        PipelineData,
    )
    from fwprof_tensorflow.modes import Mode
    from fwprof_tensorflow.places import Place

    Pair = tuple[Any, Any]


class NeutralModel(TrainedModel):
    """The network of a neutral workload, its mean loss and its optimizer.

    Args:
        workload: layers, canonical weights and batches.

    Raises:
        UnsupportedError: a layer, the loss or the optimizer is not supported.
    """

    def __init__(self, workload: LoadedWorkload, place: Place, mode: Mode, options: Options) -> None:
        if workload.spec is None:
            raise UnsupportedError(f"workload {workload.name} has no layers for tensorflow to build")
        cell = options.cell
        self._weights = workload.weights
        set_precision(cell)
        network = build_network(
            workload.spec,
            workload.layers,
            cell.seed,
            drops=not cell.is_verification,
            is_exact=cell.precision == "float64",
        )
        model = network.model
        criterion = _make_loss(workload.spec.loss)
        number = np.float64 if cell.precision == "float64" else float
        optimizer = _make_optimizer(workload.spec.optimizer, number)
        is_mixed = cell.precision in MIXED
        if cell.precision == "float16":
            # Small gradients would become zero in it.
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        # A variable that holds two canonical arrays is trained once.
        variables = list({id(slot.variable): slot.variable for slot in network.parameters.values()}.values())
        optimizer.build(variables)

        def loss(inputs: Any, targets: Any) -> Any:
            return criterion(targets, model(inputs, training=True))

        def infer(inputs: Any) -> Any:
            outputs = model(inputs, training=False)
            return tf.cast(outputs, tf.float32) if is_mixed else outputs

        super().__init__(
            steps=Steps(
                loss,
                infer,
                variables,
                _make_update(workload, optimizer, variables),
                mode,
                parts=workload.spec.accumulate,
                scale=getattr(optimizer, "scale_loss", None) if cell.precision == "float16" else None,
                signature=_signature(workload),
            ),
            optimizer=optimizer,
            states=[*model.variables, *optimizer.variables],
            parameters=network.parameters,
            statistics=network.statistics,
            place=place,
            mode=mode,
            verified_with=differences(cell, workload.layers),
        )
        known = {id(slot.variable) for slot in (*network.parameters.values(), *network.statistics.values())}
        self._randoms = [
            (variable, variable.numpy()) for variable in model.variables if id(variable) not in known
        ]
        self._network, self._criterion = model, criterion
        self._between = network.between
        self._scalars = [
            (each, np.array(each.numpy())) for each in optimizer.variables if not each.shape.rank
        ]
        self._batch_size = len(workload.batches[0].targets) if workload.batches else 0
        self._pipeline = fetch(workload.batches)
        self.reset()

    @property
    def batch_size(self) -> int:
        """Samples in the batch staged last."""
        return self._batch_size

    def stage(self, batch: Batch) -> Pair:
        """Put one batch on the device and wait."""
        self._batch_size = len(batch.targets)
        # tf.constant copies an array, so that the caller's stays its own.
        with tf.device(self.place.name):
            staged = tf.constant(_convert(batch.inputs)), tf.constant(_convert(batch.targets))
        self.place.wait()
        return staged

    def next_batch(self) -> Pair:
        """Fetch one batch from a tf.data pipeline and put it on the device."""
        pair = self._copy(*next(self._pipeline))
        if not self.place.is_host:
            self.place.wait()
        return pair

    def pipeline(self, data: PipelineData) -> DataPipeline:
        """Return a tf.data pipeline of the samples."""
        return DatasetPipeline(data, self._copy)

    def reset(self) -> None:
        """Restore canonical weights, a fresh optimizer and dropout's streams, all in place."""
        self.load_parameters(self._weights)
        for variable in self.optimizer.variables:
            if len(variable.shape):
                variable.assign(tf.zeros_like(variable))
        for variable, start in (*self._randoms, *self._scalars):
            variable.assign(start)

    def formats(self) -> Mapping[str, Format]:
        """Return tensorflow's checkpoint, in which dropout's streams are too, and keras's whole models."""
        return {
            "tf_checkpoint": Format(
                holds=("parameters", "statistics", "optimizer", "random_state"),
                save=self.save,
                restore=self.restore,
            ),
            **whole_model_formats(self._network, self.optimizer, self._criterion),
        }

    @property
    def fused_by(self) -> str:
        """What compiles the layers of a program together; else tensorflow's own passes over the graph."""
        return "XLA" if self.steps.is_compiled else "grappler" if self.steps.is_traced else ""

    def open_layer(self, case: LayerCase) -> LayerPrograms:
        """Return one layer alone."""
        return TensorFlowLayer(self._between[case.layer.path], case, self.trained, self.steps, self.place)

    def prepare_inputs(self, staged: Pair) -> Any:
        """Return the inputs."""
        return staged[0]

    def _copy(self, inputs: Any, targets: Any) -> Pair:
        if self.place.is_host:
            return inputs, targets
        with tf.device(self.place.name):
            return tf.identity(inputs), tf.identity(targets)


def differences(cell: CellPlan, layers: Sequence[ResolvedLayer]) -> tuple[str, ...]:
    """Return in words how a verified program differs from the timed one."""
    if not cell.is_verification:
        return ()
    present = [resolved.layer for resolved in walk(layers)]
    is_exact = cell.precision == "float64"
    has_gelu = any(
        "gelu" in (getattr(layer, "activation", None), getattr(layer, "function", None)) for layer in present
    )
    found = {
        cell.precision: is_exact,
        "dropout off": any(isinstance(layer, kinds.Dropout) for layer in present),
        "gelu's constant in float64": is_exact and has_gelu,
        "attention's scale in float64": is_exact
        and any(isinstance(layer, kinds.Attention) for layer in present),
    }
    return tuple(words for words, applies in found.items() if applies)


def load_data(batches: Sequence[Batch]) -> Any:
    """Return the pipeline over the batches, without end.

    Without prefetching: a batch costs what it costs, and nothing is fetched while others are timed.
    """
    size, targets = len(batches[0].targets), np.concatenate([_convert(batch.targets) for batch in batches])
    if len({batch.inputs.shape[1:] for batch in batches}) == 1:
        inputs = np.concatenate([_convert(batch.inputs) for batch in batches])
        data = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(size)
    else:
        # All sequences of a batch are of one length: there is nothing to pad.
        ragged = tf.data.Dataset.from_tensor_slices((_ragged(batches), targets)).batch(size)
        data = ragged.map(lambda inputs, labels: (inputs.to_tensor(), labels))
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.repeat().with_options(options)


def _ragged(batches: Sequence[Batch]) -> Any:
    """Return the sequences of all batches in one tensor, each with its own length."""
    lengths = np.concatenate([np.full(len(batch.inputs), batch.inputs.shape[1]) for batch in batches])
    return tf.RaggedTensor.from_row_lengths(np.concatenate([b.inputs.ravel() for b in batches]), lengths)


def _signature(workload: LoadedWorkload) -> tuple[tf.TensorSpec, ...] | None:
    """Return inputs and targets as one trace takes them, where their length changes; else None."""
    assert workload.spec is not None
    shape = sample_shape(workload.spec)
    if None not in shape or not workload.batches:
        return None
    targets = _convert(workload.batches[0].targets)
    return (
        tf.TensorSpec((None, *shape), workload.spec.input.dtype),
        tf.TensorSpec((None, *targets.shape[1:]), targets.dtype),
    )


def fetch(batches: Sequence[Batch]) -> Iterator[Pair]:
    """Yield pairs of tensors without end; the pipeline is made at the first."""
    yield from load_data(batches)


def _convert(array: Any) -> Any:
    # Floats follow the cell's precision; ids and class labels stay what they are.
    return array.astype(tf.keras.config.floatx()) if array.dtype.kind == "f" else array


def _make_loss(name: str) -> Callable[[Any, Any], Any]:
    losses: Mapping[str, Callable[[], Any]] = {
        "cross_entropy": partial(tf.keras.losses.SparseCategoricalCrossentropy, from_logits=True),
        "binary_cross_entropy": partial(tf.keras.losses.BinaryCrossentropy, from_logits=True),
        "mean_squared_error": tf.keras.losses.MeanSquaredError,
    }
    if name not in losses:
        raise UnsupportedError(f"tensorflow has no loss {name!r} here")
    loss: Callable[[Any, Any], Any] = losses[name]()
    return loss


def _make_optimizer(spec: kinds.Optimizer, number: Callable[[float], Any]) -> Any:
    """Return the optimizer, its constants as `number`.

    On its way into tensorflow a plain float is rounded to float32; where a gradient is as small as
    Adam's epsilon, that alone moves a weight by 1e-4 of the largest within three steps.
    """
    match spec:
        case kinds.Sgd():
            return tf.keras.optimizers.SGD(spec.learning_rate, momentum=number(spec.momentum))
        case kinds.Adam():
            shared = {name: number(getattr(spec, name)) for name in ("beta_1", "beta_2", "epsilon")}
            if spec.weight_decay > 0:
                decay = number(spec.weight_decay)
                return tf.keras.optimizers.AdamW(spec.learning_rate, weight_decay=decay, **shared)
            return tf.keras.optimizers.Adam(spec.learning_rate, **shared)
    raise UnsupportedError(f"tensorflow has no optimizer {type(spec).__name__} here")


def _make_update(
    workload: LoadedWorkload, optimizer: Any, variables: Sequence[Any]
) -> Callable[[Sequence[Any]], None]:
    assert workload.spec is not None
    present = {type(resolved.layer) for resolved in walk(workload.layers)}
    # Keras's Adam squares the gradient of each look-up by itself: a row that a batch looks up twice
    # would have its second moment from a sum of squares, and the square of the sum is meant. The
    # gradient of a tied table has every row anyway, and would be listed with the look-ups.
    is_adam = isinstance(workload.spec.optimizer, kinds.Adam)
    is_summed = kinds.TiedDense in present or (kinds.Embedding in present and is_adam)

    def update(gradients: Sequence[Any]) -> None:
        if is_summed:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return update
