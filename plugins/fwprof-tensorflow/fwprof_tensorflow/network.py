"""Neutral layers → the keras layers that a tensorflow user takes, with the place of each parameter.

Knows nothing of losses, optimizers and devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from fwprof.plugin import ResolvedLayer, UnsupportedError
from fwprof.plugin import layers as kinds
from fwprof_tensorflow.layout import VariableSlot, slot_of

_IMAGE = 3
_SEQUENCE = 2


@dataclass
class Network:
    """A functional keras model, and where the canonical arrays lie in it."""

    model: Any
    parameters: dict[str, VariableSlot]
    statistics: dict[str, VariableSlot]


def build_network(
    layers: Sequence[ResolvedLayer], inputs: kinds.InputSpec, seed: int, *, drops: bool, is_exact: bool
) -> Network:
    """Return the network of resolved layers, with random weights of keras.

    Parameters are of keras's floatx.

    Args:
        layers: in order; `repeat` is expanded.
        inputs: what one sample is.
        seed: of dropout's random streams.
        drops: whether dropout drops anything.
        is_exact: whether constants that tensorflow rounds to float32 are replaced by exact ones.

    Raises:
        UnsupportedError: a layer, or its place, is not supported; names it.
    """
    builder = _Builder(seed=seed, drops=drops, is_exact=is_exact)
    dtype = inputs.dtype if inputs.dtype == "int64" else None
    first = tf.keras.Input(inputs.shape, dtype=dtype)
    model = tf.keras.Model(first, builder.chain(layers, first))
    return Network(model=model, parameters=builder.parameters, statistics=builder.statistics)


def gelu_in_float64(tensor: Any) -> Any:
    """Return x·Φ(x); tf.nn.gelu takes √2 in float32, whatever the precision is."""
    return 0.5 * tensor * (1 + tf.math.erf(tensor * tf.constant(0.5**0.5, tensor.dtype)))


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
    parameters: dict[str, VariableSlot] = field(default_factory=dict)
    statistics: dict[str, VariableSlot] = field(default_factory=dict)
    _dropouts: int = 0

    def chain(self, layers: Sequence[ResolvedLayer], tensor: Any) -> Any:
        for resolved in layers:
            tensor = self._apply(resolved, tensor)
        return tensor

    def _apply(self, resolved: ResolvedLayer, tensor: Any) -> Any:
        layer, keras = resolved.layer, tf.keras.layers
        match layer:
            case kinds.Dense():
                activation = self._activation(layer.activation)
                dense = keras.Dense(layer.units, activation=activation, use_bias=layer.use_bias)
                tensor = dense(tensor)
                self._keep_kernel_and_bias(resolved, dense)
                return tensor
            case kinds.Conv2d():
                return self._conv(resolved, layer, tensor)
            case kinds.MaxPool2d():
                _require(resolved, rank=_IMAGE, what="an image (height, width, channels)")
                return keras.MaxPooling2D(layer.size, data_format="channels_last")(tensor)
            case kinds.AveragePool2d():
                _require(resolved, rank=_IMAGE, what="an image (height, width, channels)")
                return keras.AveragePooling2D(layer.size, data_format="channels_last")(tensor)
            case kinds.Flatten():
                return keras.Flatten(data_format="channels_last")(tensor)
            case kinds.Activation():
                return keras.Activation(self._activation(layer.function))(tensor)
            case kinds.Dropout():
                return self._dropout(layer, tensor)
            case kinds.BatchNorm():
                norm = keras.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)
                tensor = norm(tensor)
                self._keep(resolved, gamma=norm.gamma, beta=norm.beta)
                self.statistics[f"{resolved.path}.moving_mean"] = slot_of(norm.moving_mean)
                self.statistics[f"{resolved.path}.moving_variance"] = slot_of(norm.moving_variance)
                return tensor
            case kinds.LayerNorm():
                norm = keras.LayerNormalization(epsilon=layer.epsilon)
                tensor = norm(tensor)
                self._keep(resolved, gamma=norm.gamma, beta=norm.beta)
                return tensor
            case kinds.Embedding():
                _require(resolved, rank=1, what="ids (length,)")
                embedding = keras.Embedding(layer.vocabulary, layer.units)
                tensor = embedding(tensor)
                self._keep(resolved, table=embedding.embeddings)
                return tensor
            case kinds.PositionEmbedding():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                positions = PositionEmbedding()
                tensor = positions(tensor)
                self._keep(resolved, table=positions.table)
                return tensor
            case kinds.Attention():
                return self._attention(resolved, layer, tensor)
            case kinds.Lstm():
                return self._lstm(resolved, layer, tensor)
            case kinds.AverageOverSequence():
                _require(resolved, rank=_SEQUENCE, what="(length, channels)")
                return keras.GlobalAveragePooling1D(data_format="channels_last")(tensor)
            case kinds.Residual():
                return keras.Add()([tensor, self.chain(resolved.inner, tensor)])
            case _:
                raise UnsupportedError(
                    f"tensorflow has no layer for layer {resolved.path} ({_kind(resolved)})"
                )

    def _conv(self, resolved: ResolvedLayer, layer: kinds.Conv2d, tensor: Any) -> Any:
        _require(resolved, rank=_IMAGE, what="an image (height, width, channels)")
        conv = tf.keras.layers.Conv2D(
            layer.filters,
            layer.size,
            strides=layer.stride,
            padding=layer.padding,
            activation=self._activation(layer.activation),
            use_bias=layer.use_bias,
            data_format="channels_last",
        )
        tensor = conv(tensor)
        self._keep_kernel_and_bias(resolved, conv)
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
        _require(resolved, rank=_SEQUENCE, what="(length, channels)")
        channels = resolved.input_shape[-1]
        size = channels // layer.heads
        attention = tf.keras.layers.MultiHeadAttention(layer.heads, size)
        if self.is_exact:
            # On its way into tensorflow keras's own number is rounded to float32.
            attention._inverse_sqrt_key_dim = tf.constant(size**-0.5, tf.float64)
        tensor = attention(tensor, tensor, use_causal_mask=layer.causal)
        for part in ("query", "key", "value", "output"):
            dense = getattr(attention, f"{part}_dense")
            kernel = VariableSlot(dense.kernel, (channels, channels))
            self.parameters[f"{resolved.path}.{part}_kernel"] = kernel
            self.parameters[f"{resolved.path}.{part}_bias"] = VariableSlot(dense.bias, (channels,))
        return tensor

    def _lstm(self, resolved: ResolvedLayer, layer: kinds.Lstm, tensor: Any) -> Any:
        _require(resolved, rank=_SEQUENCE, what="(length, channels)")
        lstm = tf.keras.layers.LSTM(layer.units, return_sequences=layer.return_sequences)
        tensor = lstm(tensor)
        cell = lstm.cell
        self._keep(resolved, kernel=cell.kernel, recurrent_kernel=cell.recurrent_kernel, bias=cell.bias)
        return tensor

    def _keep_kernel_and_bias(self, resolved: ResolvedLayer, layer: Any) -> None:
        self._keep(resolved, kernel=layer.kernel)
        if layer.use_bias:
            self._keep(resolved, bias=layer.bias)

    def _keep(self, resolved: ResolvedLayer, **variables: Any) -> None:
        for name, variable in variables.items():
            self.parameters[f"{resolved.path}.{name}"] = slot_of(variable)


def _require(resolved: ResolvedLayer, *, rank: int, what: str) -> None:
    if len(resolved.input_shape) != rank:
        raise UnsupportedError(
            f"tensorflow: {_kind(resolved)} at {resolved.path} takes {what}",
            cause=f"its input is {resolved.input_shape}",
        )


def _kind(resolved: ResolvedLayer) -> str:
    return type(resolved.layer).__name__
