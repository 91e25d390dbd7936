"""Neutral layers → the keras layers that a tensorflow user takes, with the place of each parameter.

Knows nothing of losses, optimizers and devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import ResolvedLayer, UnsupportedError, Workload, sample_shape, walk
from fwprof.plugin import layers as kinds
from fwprof_tensorflow.layout import VariableSlot, slot_of

_LAST = "channels_last"
_TAKES = (
    (1, "ids (length,)", kinds.Embedding),
    (
        2,
        "(length, channels)",
        kinds.Conv1d
        | kinds.PositionEmbedding
        | kinds.Attention
        | kinds.Lstm
        | kinds.Gru
        | kinds.AverageOverSequence
        | kinds.MaxOverSequence
        | kinds.FirstOfSequence
        | kinds.PairwiseProducts,
    ),
    (
        3,
        "an image (height, width, channels)",
        kinds.Conv2d | kinds.MaxPool2d | kinds.AveragePool2d | kinds.AverageOverImage,
    ),
)
"""Number of axes without the batch's, in words, and the layers that take it."""


@dataclass
class Network:
    """A functional keras model, and where the canonical arrays lie in it."""

    model: Any
    parameters: dict[str, VariableSlot]
    statistics: dict[str, VariableSlot]
    """What is not trained: batch statistics and frozen parameters."""
    between: dict[str, tuple[Any, Any]]
    """Path of a layer of the workload's own list → the model's tensors before and after it."""


def build_network(
    spec: Workload, layers: Sequence[ResolvedLayer], seed: int, *, drops: bool, is_exact: bool
) -> Network:
    """Return the network of resolved layers, with random weights of keras.

    Parameters are of keras's floatx.

    Args:
        spec: for the shape and type of the input.
        layers: in order; `repeat` is expanded.
        seed: of dropout's random streams.
        drops: whether dropout drops anything.
        is_exact: whether constants that tensorflow rounds to float32 are replaced by exact ones.

    Raises:
        UnsupportedError: a layer, or its place, is not supported; names it.
    """
    shared = frozenset(resolved.table for resolved in walk(layers) if resolved.table is not None)
    builder = _Builder(seed=seed, drops=drops, is_exact=is_exact, shared=shared)
    dtype = spec.input.dtype if spec.input.dtype == "int64" else None
    first = tf.keras.Input(sample_shape(spec), dtype=dtype)
    between: dict[str, tuple[Any, Any]] = {}
    tensor = first
    for resolved in layers:
        before, tensor = tensor, builder.chain((resolved,), tensor)
        between[resolved.path] = before, tensor
    return Network(
        model=tf.keras.Model(first, tensor),
        parameters=builder.parameters,
        statistics=builder.statistics,
        between=between,
    )


def gelu_in_float64(tensor: Any) -> Any:
    """Return x·Φ(x); tf.nn.gelu takes √2 in float32, whatever the precision is."""
    return 0.5 * tensor * (1 + tf.math.erf(tensor * tf.constant(0.5**0.5, tensor.dtype)))


@tf.keras.utils.register_keras_serializable(package="fwprof_tensorflow")
class PositionEmbedding(tf.keras.layers.Layer):  # type: ignore[misc]  # untyped in tensorflow
    """Adds a learned vector a position to (batch, length, channels)."""

    table: Any

    def build(self, shape: tuple[int | None, ...]) -> None:  # noqa: D102 (keras's own)
        self.table = self.add_weight(shape=shape[1:], initializer="random_normal", name="table")

    def call(self, inputs: Any) -> Any:  # noqa: D102 (keras's own)
        return inputs + self.table


@dataclass
class _Builder:
    seed: int
    drops: bool
    is_exact: bool
    shared: frozenset[str]
    """Names of the tables that a tied layer shares."""
    parameters: dict[str, VariableSlot] = field(default_factory=dict)
    statistics: dict[str, VariableSlot] = field(default_factory=dict)
    _dropouts: int = 0
    _tables: dict[str, Any] = field(default_factory=dict)

    def chain(self, layers: Sequence[ResolvedLayer], tensor: Any) -> Any:
        for resolved in layers:
            tensor = self._apply(resolved, tensor)
        return tensor

    def _apply(self, resolved: ResolvedLayer, tensor: Any) -> Any:
        """Return what a layer gives; here are those that have no parameters of their own."""
        _require_place(resolved)
        layer, keras = resolved.layer, tf.keras.layers
        match layer:
            case kinds.MaxPool2d():
                if layer.padding:
                    around = (layer.padding, layer.padding)
                    tensor = tf.keras.ops.pad(
                        tensor, ((0, 0), around, around, (0, 0)), constant_values=-np.inf
                    )
                return keras.MaxPooling2D(layer.size, layer.stride, data_format=_LAST)(tensor)
            case kinds.AveragePool2d():
                return keras.AveragePooling2D(layer.size, data_format=_LAST)(tensor)
            case kinds.AverageOverImage():
                return keras.GlobalAveragePooling2D(data_format=_LAST)(tensor)
            case kinds.AverageOverSequence():
                return keras.GlobalAveragePooling1D(data_format=_LAST)(tensor)
            case kinds.MaxOverSequence():
                return keras.GlobalMaxPooling1D(data_format=_LAST)(tensor)
            case kinds.FirstOfSequence():
                return tensor[:, 0]
            case kinds.PairwiseProducts():
                return _multiply_pairs(tensor, resolved.input_shape[0])
            case kinds.Flatten():
                return keras.Flatten(data_format=_LAST)(tensor)
            case kinds.Activation():
                return keras.Activation(self._activation(layer.function))(tensor)
            case kinds.Dropout():
                return self._dropout(layer, tensor)
            case kinds.TiedDense():
                assert resolved.table is not None
                return self._tables[resolved.table](tensor, reverse=True)
            case kinds.Chain():
                return self.chain(resolved.inner, tensor)
            case kinds.Branches():
                outputs = [self._apply(inner, tensor) for inner in resolved.inner]
                return (keras.Add() if layer.join == "add" else keras.Concatenate())(outputs)
            case kinds.Residual():
                return keras.Add()([tensor, self.chain(resolved.inner, tensor)])
            case _:
                return self._apply_weighted(resolved, tensor)

    def _apply_weighted(self, resolved: ResolvedLayer, tensor: Any) -> Any:
        layer, keras = resolved.layer, tf.keras.layers
        match layer:
            case kinds.Dense(lora_rank=int()):
                return self._low_rank(resolved, layer, tensor)
            case kinds.Dense():
                activation = self._activation(layer.activation)
                dense = keras.Dense(layer.units, activation=activation, use_bias=layer.use_bias)
                tensor = dense(tensor)
                self._keep(resolved, dense, kernel=dense.kernel, bias=dense.bias)
            case kinds.Conv2d() | kinds.Conv1d():
                tensor = self._conv(resolved, layer, tensor)
            case kinds.BatchNorm():
                norm = keras.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)
                tensor = norm(tensor)
                names = ("gamma", "beta", "moving_mean", "moving_variance")
                self._keep(resolved, norm, **{name: getattr(norm, name) for name in names})
            case kinds.LayerNorm():
                norm = keras.LayerNormalization(epsilon=layer.epsilon)
                tensor = norm(tensor)
                self._keep(resolved, norm, gamma=norm.gamma, beta=norm.beta)
            case kinds.Embedding():
                tensor = self._embedding(resolved, layer, tensor)
            case kinds.PositionEmbedding():
                positions = PositionEmbedding()
                tensor = positions(tensor)
                self._keep(resolved, positions, table=positions.table)
            case kinds.Attention():
                tensor = self._attention(resolved, layer, tensor)
            case kinds.Lstm() | kinds.Gru():
                tensor = self._recurrent(resolved, layer, tensor)
            case _:
                raise UnsupportedError(
                    f"tensorflow has no layer for layer {resolved.path} ({_kind(resolved)})"
                )
        return tensor

    def _low_rank(self, resolved: ResolvedLayer, layer: kinds.Dense, tensor: Any) -> Any:
        """Return a frozen dense layer beside two small ones, of which the second widens again.

        `Dense.enable_lora` makes kernel + lora_a·lora_b anew in each step, keeps both in float32
        whatever the precision is, and saves their sum alone (keras 3.15).
        """
        keras = tf.keras.layers
        dense = keras.Dense(layer.units, use_bias=layer.use_bias, trainable=False)
        down = keras.Dense(layer.lora_rank, use_bias=False)
        up = keras.Dense(layer.units, use_bias=False)
        total = keras.Add()([dense(tensor), up(down(tensor))])
        self._keep(resolved, dense, kernel=dense.kernel, bias=dense.bias)
        self._keep(resolved, down, lora_a=down.kernel)
        self._keep(resolved, up, lora_b=up.kernel)
        if layer.activation is None:
            return total
        return keras.Activation(self._activation(layer.activation))(total)

    def _conv(self, resolved: ResolvedLayer, layer: kinds.Conv2d | kinds.Conv1d, tensor: Any) -> Any:
        keras, padding = tf.keras.layers, layer.padding
        if not isinstance(padding, str):
            tensor = keras.ZeroPadding2D(padding, data_format=_LAST)(tensor) if padding else tensor
            padding = "valid"
        conv = (keras.Conv2D if isinstance(layer, kinds.Conv2d) else keras.Conv1D)(
            layer.filters,
            layer.size,
            strides=layer.stride,
            padding=padding,
            activation=self._activation(layer.activation),
            use_bias=layer.use_bias,
            data_format=_LAST,
        )
        tensor = conv(tensor)
        self._keep(resolved, conv, kernel=conv.kernel, bias=conv.bias)
        return tensor

    def _embedding(self, resolved: ResolvedLayer, layer: kinds.Embedding, tensor: Any) -> Any:
        table = f"{resolved.path}.table"
        name = "ReversibleEmbedding" if table in self.shared else "Embedding"
        if not hasattr(tf.keras.layers, name):
            raise UnsupportedError(
                f"tensorflow cannot share the table of layer {resolved.path}",
                cause=f"keras {tf.keras.__version__} has no {name}",
                next="install a newer keras",
            )
        embedding = getattr(tf.keras.layers, name)(layer.vocabulary, layer.units)
        tensor = embedding(tensor)
        self._tables[table] = embedding
        self._keep(resolved, embedding, table=embedding.embeddings)
        return tensor

    def _dropout(self, layer: kinds.Dropout, tensor: Any) -> Any:
        if not self.drops:
            return tensor
        # Each layer has a stream of its own, all of them told by the cell's seed.
        self._dropouts += 1
        return tf.keras.layers.Dropout(layer.rate, seed=self.seed + self._dropouts)(tensor)

    def _activation(self, name: str | None) -> Any:
        return gelu_in_float64 if self.is_exact and name == "gelu" else name

    def _attention(self, resolved: ResolvedLayer, layer: kinds.Attention, tensor: Any) -> Any:
        channels = resolved.input_shape[-1]
        size = channels // layer.heads
        attention = tf.keras.layers.MultiHeadAttention(layer.heads, size)
        if self.is_exact:
            # On its way into tensorflow keras's own number is rounded to float32.
            attention._inverse_sqrt_key_dim = tf.constant(size**-0.5, tf.float64)
        tensor = attention(tensor, tensor, use_causal_mask=layer.causal)
        slots = {}
        for part in ("query", "key", "value", "output"):
            dense = getattr(attention, f"{part}_dense")
            slots[f"{part}_kernel"] = VariableSlot(dense.kernel, (channels, channels))
            slots[f"{part}_bias"] = VariableSlot(dense.bias, (channels,))
        self._keep(resolved, attention, **slots)
        return tensor

    def _recurrent(self, resolved: ResolvedLayer, layer: kinds.Lstm | kinds.Gru, tensor: Any) -> Any:
        is_gru = isinstance(layer, kinds.Gru)
        make = tf.keras.layers.GRU if is_gru else tf.keras.layers.LSTM
        recurrent = make(layer.units, return_sequences=layer.return_sequences)
        tensor = recurrent(tensor)
        cell = recurrent.cell
        biases: dict[str, Any] = {"bias": cell.bias}
        if is_gru:
            rows = enumerate(("bias", "recurrent_bias"))
            biases = {name: VariableSlot(cell.bias, (3 * layer.units,), row) for row, name in rows}
        kernels = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel}
        self._keep(resolved, recurrent, **kernels, **biases)
        return tensor

    def _keep(self, resolved: ResolvedLayer, owner: Any, **places: Any) -> None:
        """Note where a layer's canonical arrays lie, and freeze it where it is not to be trained."""
        if resolved.is_frozen:
            owner.trainable = False
        for name, place in places.items():
            # Keras has None for a bias that is left out.
            if place is not None:
                slot = place if isinstance(place, VariableSlot) else slot_of(place)
                full = f"{resolved.path}.{name}"
                (self.parameters if full in resolved.parameters else self.statistics)[full] = slot


def _multiply_pairs(tensor: Any, rows: int) -> Any:
    """Return the inner products of all pairs of rows, (batch, rows, channels) → (batch, pairs)."""
    ops = tf.keras.ops
    one, other = np.triu_indices(rows, k=1)
    products = ops.matmul(tensor, ops.transpose(tensor, (0, 2, 1)))
    return ops.take(ops.reshape(products, (-1, rows * rows)), one * rows + other, axis=1)


def _require_place(resolved: ResolvedLayer) -> None:
    for rank, what, layers in _TAKES:
        if isinstance(resolved.layer, layers) and len(resolved.input_shape) != rank:
            raise UnsupportedError(
                f"tensorflow: {_kind(resolved)} at {resolved.path} takes {what}",
                cause=f"its input is {resolved.input_shape}",
            )


def _kind(resolved: ResolvedLayer) -> str:
    return type(resolved.layer).__name__
