"""Neutral layers → the model a keras user would write, with the place of each parameter.

Knows nothing of losses, optimizers, backends and devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers as library

from fwprof.plugin import ResolvedLayer, UnsupportedError, Workload
from fwprof.plugin import layers as kinds
from fwprof_keras.layout import Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    Apply = Any
    """A keras layer, or a function of the graph's tensors."""

_CHANNELS_LAST = "channels_last"


@dataclass
class Network:
    """A built model, and where the canonical arrays lie in it, in the order of the layers."""

    model: keras.Model
    parameters: dict[str, Slot]
    statistics: dict[str, Slot]


def build_network(
    spec: Workload,
    layers: Sequence[ResolvedLayer],
    *,
    kind: str = "auto",
    id_dtype: str = "int64",
    has_dropout: bool = True,
    is_exact: bool = False,
) -> Network:
    """Return the model of resolved layers, with keras's own random weights.

    Args:
        spec: for the shape and type of the input.
        layers: in order; `repeat` is expanded.
        kind: `sequential`, `functional`, or `auto`: sequential where the layers allow it.
        id_dtype: the backend's type of integer inputs.
        has_dropout: False: dropout layers drop nothing, as verification needs it.
        is_exact: in float64: write out what a backend would compute partly in float32.

    Raises:
        UnsupportedError: a layer is not supported, or does not fit into a Sequential; names it.
    """
    builder = _Builder(has_dropout, is_exact)
    steps = [builder.make(resolved) for resolved in layers]
    graph = next((r for r in layers if isinstance(r.layer, kinds.Residual | kinds.Attention)), None)
    if kind == "sequential" and graph is not None:
        raise UnsupportedError(
            f"keras: {_kind(graph)} at {graph.path} does not fit into a Sequential model",
            cause="its layers do not form a chain",
            next="use model=functional, or leave model out",
        )
    inputs = keras.Input(spec.input.shape, dtype=id_dtype if spec.input.dtype == "int64" else None)
    if kind == "functional" or graph is not None:
        outputs = inputs
        for step in steps:
            outputs = step(outputs)
        model = keras.Model(inputs, outputs)
    else:
        model = keras.Sequential([inputs, *steps])
    return Network(model=model, **builder.slots())


@keras.saving.register_keras_serializable(package="fwprof")
class PositionEmbedding(library.Layer):  # type: ignore[misc]  # untyped in keras
    """Adds a learned vector a position to (batch, length, channels)."""

    def build(self, input_shape: Sequence[int]) -> None:  # noqa: D102 (keras's own)
        self.table = self.add_weight(name="table", shape=tuple(input_shape[1:]), initializer="random_normal")

    def call(self, inputs: Any) -> Any:  # noqa: D102 (keras's own)
        return inputs + self.table


@dataclass
class _Builder:
    has_dropout: bool
    is_exact: bool
    _kept: list[tuple[str, tuple[int, ...], bool, library.Layer, str]] = field(default_factory=list)
    """Name, canonical shape, whether it is trained, layer, and dotted attribute of the variable."""

    def slots(self) -> dict[str, dict[str, Slot]]:
        """Return the places, once every layer is built."""
        found: dict[str, dict[str, Slot]] = {"parameters": {}, "statistics": {}}
        for name, shape, is_trained, layer, attribute in self._kept:
            variable: Any = layer
            for part in attribute.split("."):
                variable = getattr(variable, part)
            found["parameters" if is_trained else "statistics"][name] = Slot(variable, shape)
        return found

    def make(self, resolved: ResolvedLayer) -> Apply:
        """Return the layer, or a function of the graph's tensors where it takes several layers."""
        layer = resolved.layer
        match layer:
            case kinds.Dense():
                return self._weighted(
                    resolved,
                    library.Dense(
                        layer.units, activation=self._activation(layer.activation), use_bias=layer.use_bias
                    ),
                )
            case kinds.Conv2d():
                return self._weighted(
                    resolved,
                    library.Conv2D(
                        layer.filters,
                        layer.size,
                        strides=layer.stride,
                        padding=layer.padding,
                        data_format=_CHANNELS_LAST,
                        activation=self._activation(layer.activation),
                        use_bias=layer.use_bias,
                    ),
                )
            case kinds.MaxPool2d():
                return library.MaxPooling2D(layer.size, data_format=_CHANNELS_LAST)
            case kinds.AveragePool2d():
                return library.AveragePooling2D(layer.size, data_format=_CHANNELS_LAST)
            case kinds.Flatten():
                return library.Flatten(data_format=_CHANNELS_LAST)
            case kinds.Activation():
                return library.Activation(self._activation(layer.function))
            case kinds.Dropout():
                return library.Dropout(layer.rate if self.has_dropout else 0.0)
            case kinds.BatchNorm():
                norm = library.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)
                return self._weighted(resolved, norm)
            case kinds.LayerNorm():
                return self._weighted(resolved, library.LayerNormalization(epsilon=layer.epsilon))
            case kinds.Embedding():
                embedding = library.Embedding(layer.vocabulary, layer.units)
                return self._weighted(resolved, embedding, table="embeddings")
            case kinds.PositionEmbedding():
                return self._weighted(resolved, PositionEmbedding())
            case kinds.Attention():
                return self._attention(resolved, layer)
            case kinds.Lstm():
                lstm = library.LSTM(layer.units, return_sequences=layer.return_sequences)
                attributes = {name: f"cell.{name}" for name in ("kernel", "recurrent_kernel", "bias")}
                return self._weighted(resolved, lstm, **attributes)
            case kinds.AverageOverSequence():
                return library.GlobalAveragePooling1D(data_format=_CHANNELS_LAST)
            case kinds.Residual():
                return self._residual(resolved)
            case _:
                raise UnsupportedError(f"keras has no layer for layer {resolved.path} ({_kind(resolved)})")

    def _weighted(self, resolved: ResolvedLayer, layer: library.Layer, **attributes: str) -> Apply:
        """Note where the layer has its canonical arrays: under their own names, unless `attributes`."""
        for arrays, is_trained in ((resolved.parameters, True), (resolved.state, False)):
            for full, shape in arrays.items():
                name = full.rpartition(".")[2]
                self._kept.append((full, shape, is_trained, layer, attributes.get(name, name)))
        return layer

    def _activation(self, name: str | None) -> Any:
        # tensorflow divides by a root of two that is rounded to float32.
        return _exact_gelu if name == "gelu" and self.is_exact else name

    def _attention(self, resolved: ResolvedLayer, layer: kinds.Attention) -> Apply:
        attention = library.MultiHeadAttention(layer.heads, resolved.input_shape[-1] // layer.heads)
        attributes = {
            f"{part}_{kind}": f"{part}_dense.{kind}"
            for part in ("query", "key", "value", "output")
            for kind in ("kernel", "bias")
        }
        self._weighted(resolved, attention, **attributes)
        if not self.is_exact:
            return lambda inputs: attention(inputs, inputs, use_causal_mask=layer.causal)
        # A Python number is rounded to float32 on its way into tensorflow.
        attention._inverse_sqrt_key_dim = 1 / np.sqrt(resolved.input_shape[-1] // layer.heads)
        # Keras writes attention out where its scores are asked for; jax's fused one has float32 inside.
        return lambda inputs: attention(
            inputs, inputs, use_causal_mask=layer.causal, return_attention_scores=True
        )[0]

    def _residual(self, resolved: ResolvedLayer) -> Apply:
        steps = [self.make(inner) for inner in resolved.inner]

        def apply(inputs: Any) -> Any:
            outputs = inputs
            for step in steps:
                outputs = step(outputs)
            return library.Add()([inputs, outputs])

        return apply


def _exact_gelu(x: Any) -> Any:
    return x * (0.5 * (1.0 + keras.ops.erf(x * keras.ops.cast(np.sqrt(0.5), x.dtype))))


def _kind(resolved: ResolvedLayer) -> str:
    return type(resolved.layer).__name__
