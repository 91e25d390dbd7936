"""Neutral layers → the model a keras user would write, with the place of each parameter.

Knows nothing of losses, optimizers, backends and devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers as library

from fwprof.plugin import ResolvedLayer, UnsupportedError, Workload, sample_shape, walk
from fwprof.plugin import layers as kinds
from fwprof_keras.layout import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Step = Callable[[Any], Any]
    """A keras layer, or a function of the graph's tensors."""

_CHANNELS_LAST = "channels_last"


@dataclass
class Network:
    """A built model, and where the canonical arrays lie in it, in the order of the layers."""

    model: keras.Model
    parameters: dict[str, Slot]
    statistics: dict[str, Slot]
    """What is not trained: batch statistics and frozen parameters."""
    steps: dict[str, list[Step]]
    """Path of a layer of the workload's own list → what it became, one after another."""


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
    shared = frozenset(resolved.table for resolved in walk(layers) if resolved.table is not None)
    builder = _Builder(has_dropout, is_exact, shared)
    steps = [(resolved, step) for resolved in layers for step in builder.make(resolved)]
    graph = next((resolved for resolved, step in steps if not isinstance(step, library.Layer)), None)
    if kind == "sequential" and graph is not None:
        raise UnsupportedError(
            f"keras: {_kind(graph)} at {graph.path} does not fit into a Sequential model",
            cause="its layers do not form a chain",
            next="use model=functional, or leave model out",
        )
    inputs = keras.Input(sample_shape(spec), dtype=id_dtype if spec.input.dtype == "int64" else None)
    if kind == "functional" or graph is not None:
        model = keras.Model(inputs, _apply((step for _, step in steps), inputs))
    else:
        model = keras.Sequential([inputs, *(step for _, step in steps)])
    builder.freeze()
    by_path: dict[str, list[Step]] = {resolved.path: [] for resolved in layers}
    for resolved, step in steps:
        by_path[resolved.path].append(step)
    return Network(model=model, steps=by_path, **builder.slots())


def build_part(steps: Sequence[Step], shape: Sequence[int], dtype: str, *, is_model: bool) -> Any:
    """Return a layer, or a model of several steps, that shares its variables with the model.

    Args:
        shape: of its inputs, without the batch.
        dtype: of its inputs.
        is_model: whether a single layer becomes a model too.
    """
    if not is_model and len(steps) == 1 and isinstance(steps[0], library.Layer):
        return steps[0]
    inputs = keras.Input(tuple(shape), dtype=dtype)
    return keras.Model(inputs, _apply(steps, inputs))


@keras.saving.register_keras_serializable(package="fwprof")
class PositionEmbedding(library.Layer):  # type: ignore[misc]  # untyped in keras
    """Adds a learned vector a position to (batch, length, channels)."""

    def build(self, input_shape: Sequence[int]) -> None:  # noqa: D102 (keras's own)
        self.table = self.add_weight(name="table", shape=tuple(input_shape[1:]), initializer="random_normal")

    def call(self, inputs: Any) -> Any:  # noqa: D102 (keras's own)
        return inputs + self.table


@dataclass(frozen=True)
class _Kept:
    """Where a canonical array lies, of a layer that need not be built yet."""

    name: str
    shape: tuple[int, ...]
    layer: library.Layer
    attribute: str
    """Dotted, of the variable."""
    row: int | None


@dataclass
class _Builder:
    has_dropout: bool
    is_exact: bool
    shared: frozenset[str]
    """Names of the tables that a tied layer shares."""
    _trained: list[_Kept] = field(default_factory=list)
    _fixed: list[_Kept] = field(default_factory=list)
    _frozen: list[library.Layer] = field(default_factory=list)
    _tables: dict[str, library.Layer] = field(default_factory=dict)

    def freeze(self) -> None:
        """Leave the frozen layers out of training, once they are built."""
        for layer in self._frozen:
            layer.trainable = False

    def slots(self) -> dict[str, dict[str, Slot]]:
        """Return the places, once every layer is built."""
        groups = {"parameters": self._trained, "statistics": self._fixed}
        return {
            group: {kept.name: Slot(_variable(kept), kept.shape, kept.row) for kept in each}
            for group, each in groups.items()
        }

    def make(self, resolved: ResolvedLayer) -> list[Step]:
        """Return what a layer becomes, one after another; here are those without parameters of their own."""
        layer = resolved.layer
        match layer:
            case kinds.MaxPool2d():
                pool = library.MaxPooling2D(layer.size, layer.stride, data_format=_CHANNELS_LAST)
                return [partial(_pad, padding=layer.padding), pool] if layer.padding else [pool]
            case kinds.AveragePool2d():
                return [library.AveragePooling2D(layer.size, data_format=_CHANNELS_LAST)]
            case kinds.AverageOverImage():
                return [library.GlobalAveragePooling2D(data_format=_CHANNELS_LAST)]
            case kinds.AverageOverSequence():
                return [library.GlobalAveragePooling1D(data_format=_CHANNELS_LAST)]
            case kinds.MaxOverSequence():
                return [library.GlobalMaxPooling1D(data_format=_CHANNELS_LAST)]
            case kinds.FirstOfSequence():
                return [lambda inputs: inputs[:, 0]]
            case kinds.PairwiseProducts():
                return [partial(_multiply_pairs, rows=resolved.input_shape[0])]
            case kinds.Flatten():
                return [library.Flatten(data_format=_CHANNELS_LAST)]
            case kinds.Activation():
                return [library.Activation(self._activation(layer.function))]
            case kinds.Dropout():
                return [library.Dropout(layer.rate if self.has_dropout else 0.0)]
            case kinds.TiedDense():
                return [partial(self._tables[resolved.table or ""], reverse=True)]
            case kinds.Chain():
                return self._chain(resolved)
            case kinds.Branches():
                return [self._branches(resolved, layer)]
            case kinds.Residual():
                steps = self._chain(resolved)
                return [lambda inputs: library.Add()([inputs, _apply(steps, inputs)])]
            case _:
                return self._make_weighted(resolved)

    def _make_weighted(self, resolved: ResolvedLayer) -> list[Step]:
        layer = resolved.layer
        match layer:
            case kinds.Dense(lora_rank=int()):
                return self._low_rank(resolved, layer)
            case kinds.Dense():
                activation = self._activation(layer.activation)
                dense = library.Dense(layer.units, activation=activation, use_bias=layer.use_bias)
                return [self._keep(resolved, dense)]
            case kinds.Conv2d() | kinds.Conv1d():
                return self._conv(resolved, layer)
            case kinds.BatchNorm():
                norm = library.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)
                return [self._keep(resolved, norm)]
            case kinds.LayerNorm():
                return [self._keep(resolved, library.LayerNormalization(epsilon=layer.epsilon))]
            case kinds.Embedding():
                return [self._embedding(resolved, layer)]
            case kinds.PositionEmbedding():
                return [self._keep(resolved, PositionEmbedding())]
            case kinds.Attention():
                return [self._attention(resolved, layer)]
            case kinds.Lstm():
                lstm = library.LSTM(layer.units, return_sequences=layer.return_sequences)
                names = ("kernel", "recurrent_kernel", "bias")
                return [self._keep(resolved, lstm, **{name: f"cell.{name}" for name in names})]
            case kinds.Gru():
                gru = library.GRU(layer.units, return_sequences=layer.return_sequences)
                kernels = {name: f"cell.{name}" for name in ("kernel", "recurrent_kernel")}
                rows = {"bias": ("cell.bias", 0), "recurrent_bias": ("cell.bias", 1)}
                return [self._keep(resolved, gru, **kernels, **rows)]
            case _:
                raise UnsupportedError(f"keras has no layer for layer {resolved.path} ({_kind(resolved)})")

    def _keep(
        self, resolved: ResolvedLayer, layer: library.Layer, **attributes: str | tuple[str, int]
    ) -> Step:
        """Note where the layer has its canonical arrays: under their own names, unless `attributes`."""
        if resolved.is_frozen:
            self._frozen.append(layer)
        for full in (*resolved.parameters, *resolved.state):
            name = full.rpartition(".")[2]
            self._note(resolved, name, layer, attributes.get(name, name))
        step: Step = layer
        return step

    def _note(
        self, resolved: ResolvedLayer, name: str, layer: library.Layer, attribute: str | tuple[str, int]
    ) -> None:
        full = f"{resolved.path}.{name}"
        is_trained = full in resolved.parameters
        shape = (resolved.parameters if is_trained else resolved.state)[full]
        attribute, row = attribute if isinstance(attribute, tuple) else (attribute, None)
        kept = _Kept(full, shape, layer, attribute, row)
        (self._trained if is_trained else self._fixed).append(kept)

    def _activation(self, name: str | None) -> Any:
        # tensorflow divides by a root of two that is rounded to float32.
        return _exact_gelu if name == "gelu" and self.is_exact else name

    def _chain(self, resolved: ResolvedLayer) -> list[Step]:
        return [step for inner in resolved.inner for step in self.make(inner)]

    def _branches(self, resolved: ResolvedLayer, layer: kinds.Branches) -> Step:
        branches = [self.make(inner) for inner in resolved.inner]
        join = library.Add() if layer.join == "add" else library.Concatenate()
        return lambda inputs: join([_apply(steps, inputs) for steps in branches])

    def _conv(self, resolved: ResolvedLayer, layer: kinds.Conv2d | kinds.Conv1d) -> list[Step]:
        steps: list[Step] = []
        padding = layer.padding
        if not isinstance(padding, str):
            if padding:
                steps.append(library.ZeroPadding2D(padding, data_format=_CHANNELS_LAST))
            padding = "valid"
        conv = (library.Conv2D if isinstance(layer, kinds.Conv2d) else library.Conv1D)(
            layer.filters,
            layer.size,
            strides=layer.stride,
            padding=padding,
            data_format=_CHANNELS_LAST,
            activation=self._activation(layer.activation),
            use_bias=layer.use_bias,
        )
        return [*steps, self._keep(resolved, conv)]

    def _low_rank(self, resolved: ResolvedLayer, layer: kinds.Dense) -> list[Step]:
        """Return a frozen dense layer beside two small ones, of which the second widens again.

        `Dense.enable_lora` makes kernel + lora_a·lora_b anew in each step, keeps both in float32
        whatever the precision is, and saves their sum alone (keras 3.15).
        """
        dense = library.Dense(layer.units, use_bias=layer.use_bias)
        down = library.Dense(layer.lora_rank, use_bias=False)
        up = library.Dense(layer.units, use_bias=False)
        self._frozen += [dense, down, up] if resolved.is_frozen else [dense]
        for name in ("kernel", "bias") if layer.use_bias else ("kernel",):
            self._note(resolved, name, dense, name)
        self._note(resolved, "lora_a", down, "kernel")
        self._note(resolved, "lora_b", up, "kernel")
        steps: list[Step] = [lambda inputs: library.Add()([dense(inputs), up(down(inputs))])]
        if layer.activation is not None:
            steps.append(library.Activation(self._activation(layer.activation)))
        return steps

    def _embedding(self, resolved: ResolvedLayer, layer: kinds.Embedding) -> Step:
        table = f"{resolved.path}.table"
        name = "ReversibleEmbedding" if table in self.shared else "Embedding"
        if not hasattr(library, name):
            raise UnsupportedError(
                f"keras cannot share the table of layer {resolved.path}",
                cause=f"keras {keras.__version__} has no {name}",
                next="install a newer keras",
            )
        self._tables[table] = getattr(library, name)(layer.vocabulary, layer.units)
        return self._keep(resolved, self._tables[table], table="embeddings")

    def _attention(self, resolved: ResolvedLayer, layer: kinds.Attention) -> Step:
        attention = library.MultiHeadAttention(layer.heads, resolved.input_shape[-1] // layer.heads)
        attributes = {
            f"{part}_{kind}": f"{part}_dense.{kind}"
            for part in ("query", "key", "value", "output")
            for kind in ("kernel", "bias")
        }
        self._keep(resolved, attention, **attributes)
        if not self.is_exact:
            return lambda inputs: attention(inputs, inputs, use_causal_mask=layer.causal)
        # A Python number is rounded to float32 on its way into tensorflow.
        attention._inverse_sqrt_key_dim = 1 / np.sqrt(resolved.input_shape[-1] // layer.heads)
        # Keras writes attention out where its scores are asked for; jax's fused one has float32 inside.
        return lambda inputs: attention(
            inputs, inputs, use_causal_mask=layer.causal, return_attention_scores=True
        )[0]


def _apply(steps: Iterable[Step], tensor: Any) -> Any:
    for step in steps:
        tensor = step(tensor)
    return tensor


def _variable(kept: _Kept) -> Any:
    found: Any = kept.layer
    for part in kept.attribute.split("."):
        found = getattr(found, part)
    return found


def _pad(tensor: Any, padding: int) -> Any:
    """Return images with pixels around them that no maximum takes."""
    around = (padding, padding)
    return keras.ops.pad(tensor, ((0, 0), around, around, (0, 0)), constant_values=-np.inf)


def _multiply_pairs(tensor: Any, rows: int) -> Any:
    """Return the inner products of all pairs of rows, (batch, rows, channels) → (batch, pairs)."""
    one, other = np.triu_indices(rows, k=1)
    products = keras.ops.matmul(tensor, keras.ops.transpose(tensor, (0, 2, 1)))
    pairs = (one * rows + other).astype(np.int32)
    return keras.ops.take(keras.ops.reshape(products, (-1, rows * rows)), pairs, axis=1)


def _exact_gelu(x: Any) -> Any:
    return x * (0.5 * (1.0 + keras.ops.erf(x * keras.ops.cast(np.sqrt(0.5), x.dtype))))


def _kind(resolved: ResolvedLayer) -> str:
    return type(resolved.layer).__name__
