"""A neutral workload in tensorflow 2: network, loss and optimizer from canonical weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import ResolvedLayer, UnsupportedError
from fwprof.plugin import layers as kinds
from fwprof_tensorflow.network import build_network
from fwprof_tensorflow.settings import set_precision
from fwprof_tensorflow.steps import Steps
from fwprof_tensorflow.trained import TrainedModel

if TYPE_CHECKING:
    from fwprof.plugin import Batch, CellPlan, LoadedWorkload, Options
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
            workload.layers,
            workload.spec.input,
            cell.seed,
            drops=not cell.is_verification,
            is_exact=cell.precision == "float64",
        )
        model = network.model
        criterion = _make_loss(workload.spec.loss)
        optimizer = _make_optimizer(workload.spec.optimizer)
        variables = [slot.variable for slot in network.parameters.values()]
        optimizer.build(variables)

        def loss(inputs: Any, targets: Any) -> Any:
            return criterion(targets, model(inputs, training=True))

        def infer(inputs: Any) -> Any:
            return model(inputs, training=False)

        super().__init__(
            steps=Steps(loss, infer, variables, _make_update(workload, optimizer, variables), mode),
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
        inputs, targets = next(self._pipeline)
        if not self.place.is_host:
            with tf.device(self.place.name):
                inputs, targets = tf.identity(inputs), tf.identity(targets)
            self.place.wait()
        return inputs, targets

    def reset(self) -> None:
        """Restore canonical weights, a fresh optimizer and dropout's streams, all in place."""
        self.load_parameters(self._weights)
        for variable in self.optimizer.variables:
            if variable is not self.optimizer.learning_rate:
                variable.assign(tf.zeros_like(variable))
        for variable, start in self._randoms:
            variable.assign(start)

    def prepare_inputs(self, staged: Pair) -> Any:
        """Return the inputs."""
        return staged[0]


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
        cell.precision: cell.precision != "float32",
        "dropout off": any(isinstance(layer, kinds.Dropout) for layer in present),
        "gelu's constant in float64": is_exact and has_gelu,
        "attention's scale in float64": is_exact
        and any(isinstance(layer, kinds.Attention) for layer in present),
    }
    return tuple(words for words, applies in found.items() if applies)


def walk(layers: Sequence[ResolvedLayer]) -> Iterator[ResolvedLayer]:
    """Yield all layers, those inside others too."""
    for resolved in layers:
        yield resolved
        yield from walk(resolved.inner)


def load_data(batches: Sequence[Batch]) -> Any:
    """Return the pipeline over the batches, without end.

    Without prefetching: a batch costs what it costs, and nothing is fetched while others are timed.
    """
    arrays = tuple(
        np.concatenate([_convert(getattr(batch, part)) for batch in batches])
        for part in ("inputs", "targets")
    )
    data = tf.data.Dataset.from_tensor_slices(arrays).batch(len(batches[0].targets)).repeat()
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def fetch(batches: Sequence[Batch]) -> Iterator[Pair]:
    """Yield pairs of tensors without end; the pipeline is made at the first."""
    yield from load_data(batches)


def _convert(array: Any) -> Any:
    # Floats follow the cell's precision; ids and class labels stay what they are.
    return array.astype(tf.keras.config.floatx()) if array.dtype.kind == "f" else array


def _make_loss(name: str) -> Callable[[Any, Any], Any]:
    losses: Mapping[str, Any] = {
        "cross_entropy": tf.keras.losses.SparseCategoricalCrossentropy,
        "binary_cross_entropy": tf.keras.losses.BinaryCrossentropy,
    }
    if name not in losses:
        raise UnsupportedError(f"tensorflow has no loss {name!r} here")
    loss: Callable[[Any, Any], Any] = losses[name](from_logits=True)
    return loss


def _make_optimizer(spec: kinds.Optimizer) -> Any:
    match spec:
        case kinds.Sgd():
            return tf.keras.optimizers.SGD(spec.learning_rate, momentum=spec.momentum)
        case kinds.Adam():
            shared = {"beta_1": spec.beta_1, "beta_2": spec.beta_2, "epsilon": spec.epsilon}
            if spec.weight_decay > 0:
                return tf.keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay, **shared)
            return tf.keras.optimizers.Adam(spec.learning_rate, **shared)
    raise UnsupportedError(f"tensorflow has no optimizer {type(spec).__name__} here")


def _make_update(
    workload: LoadedWorkload, optimizer: Any, variables: Sequence[Any]
) -> Callable[[Sequence[Any]], None]:
    assert workload.spec is not None
    has_table = any(isinstance(resolved.layer, kinds.Embedding) for resolved in walk(workload.layers))
    # Keras's Adam squares the gradient of each look-up by itself: a row that a batch looks up twice
    # would have its second moment from a sum of squares, and the square of the sum is meant.
    is_summed = has_table and isinstance(workload.spec.optimizer, kinds.Adam)

    def update(gradients: Sequence[Any]) -> None:
        if is_summed:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return update
