"""The layers of a neutral workload as one pure function, as a jax user writes a network.

jax has arrays and functions and no layers: parameters stay in one dictionary, under their
canonical names and in their canonical layouts, which are those of `jax.lax`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, nn

from fwprof.plugin import ResolvedLayer, UnsupportedError
from fwprof.plugin import layers as kinds

Params = Mapping[str, jax.Array]
State = Mapping[str, Any]
"""What training moves without gradients: `statistics`, name → array, and of a network that drops
elements `key`, the random state."""


def make_state(layers: Sequence[ResolvedLayer], weights: Mapping[str, Any], seed: int) -> State:
    """Return the state at the start."""
    names = [name for resolved in walk(layers) for name in resolved.state]
    state: dict[str, Any] = {"statistics": {name: weights[name] for name in names}}
    if any(isinstance(resolved.layer, kinds.Dropout) for resolved in walk(layers)):
        state["key"] = jax.random.key(seed)
    return state


def apply(
    layers: Sequence[ResolvedLayer],
    params: Params,
    state: State,
    inputs: jax.Array,
    *,
    is_training: bool,
    has_dropout: bool = True,
) -> tuple[jax.Array, State]:
    """Return the outputs of a batch, and the state after it.

    Args:
        inputs: `(batch, …)`, images as (height, width, channels).
        has_dropout: whether elements are dropped in training.

    Raises:
        UnsupportedError: a layer is of a kind that is not known here; names it.
    """
    key, following = jax.random.split(state["key"]) if "key" in state else (None, None)
    network = _Pass(params, dict(state["statistics"]), key, is_training, has_dropout)
    outputs = network.chain(layers, inputs)
    moved: dict[str, Any] = {"statistics": network.statistics}
    return outputs, moved if following is None else moved | {"key": following}


def walk(layers: Sequence[ResolvedLayer]) -> list[ResolvedLayer]:
    """Return the layers with those inside them, in order."""
    return [each for resolved in layers for each in (resolved, *walk(resolved.inner))]


@dataclass
class _Pass:
    """One pass through the network, alive while jax traces it."""

    params: Params
    statistics: dict[str, jax.Array]
    key: jax.Array | None
    is_training: bool
    has_dropout: bool

    def chain(self, layers: Sequence[ResolvedLayer], x: jax.Array) -> jax.Array:
        for resolved in layers:
            x = self._apply(resolved, x)
        return x

    def _apply(self, resolved: ResolvedLayer, x: jax.Array) -> jax.Array:
        layer, path = resolved.layer, resolved.path
        match layer:
            case kinds.Dense():
                return _activate(layer.activation, self._add_bias(layer, path, x @ self._of(path, "kernel")))
            case kinds.Conv2d():
                return _activate(layer.activation, self._add_bias(layer, path, self._conv(layer, path, x)))
            case kinds.MaxPool2d():
                return _pool(x, layer.size, -jnp.inf, lax.max)
            case kinds.AveragePool2d():
                return _pool(x, layer.size, 0.0, lax.add) / layer.size**2
            case kinds.Flatten():
                return x.reshape(len(x), -1)
            case kinds.Activation():
                return _activate(layer.function, x)
            case kinds.Dropout():
                return self._dropout(layer, x)
            case kinds.BatchNorm():
                return self._batch_norm(layer, path, x)
            case kinds.LayerNorm():
                normal = nn.standardize(x, epsilon=layer.epsilon)
                return normal * self._of(path, "gamma") + self._of(path, "beta")
            case kinds.Embedding():
                return self._of(path, "table")[x]
            case kinds.PositionEmbedding():
                return x + self._of(path, "table")
            case kinds.Attention():
                return self._attention(layer, path, x)
            case kinds.Lstm():
                return self._lstm(layer, path, x)
            case kinds.AverageOverSequence():
                return x.mean(axis=1)
            case kinds.Residual():
                return x + self.chain(resolved.inner, x)
            case _:
                raise UnsupportedError(f"jax has no code for layer {path} ({type(layer).__name__})")

    def _of(self, path: str, name: str) -> jax.Array:
        return self.params[f"{path}.{name}"]

    def _add_bias(self, layer: kinds.Dense | kinds.Conv2d, path: str, x: jax.Array) -> jax.Array:
        return x + self._of(path, "bias") if layer.use_bias else x

    def _conv(self, layer: kinds.Conv2d, path: str, x: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            self._of(path, "kernel"),
            window_strides=(layer.stride, layer.stride),
            padding=_padding(layer.padding),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def _dropout(self, layer: kinds.Dropout, x: jax.Array) -> jax.Array:
        if not (self.is_training and self.has_dropout) or self.key is None:
            return x
        self.key, key = jax.random.split(self.key)
        kept = jax.random.bernoulli(key, 1 - layer.rate, x.shape)
        return jnp.where(kept, x / (1 - layer.rate), 0)

    def _batch_norm(self, layer: kinds.BatchNorm, path: str, x: jax.Array) -> jax.Array:
        moving_mean, moving_variance = f"{path}.moving_mean", f"{path}.moving_variance"
        mean, variance = self.statistics[moving_mean], self.statistics[moving_variance]
        if self.is_training:
            axes = tuple(range(x.ndim - 1))
            kept, (old_mean, old_variance) = layer.momentum, (mean, variance)
            mean, variance = x.mean(axes), x.var(axes)
            self.statistics[moving_mean] = kept * old_mean + (1 - kept) * mean
            self.statistics[moving_variance] = kept * old_variance + (1 - kept) * variance
        normal = nn.standardize(x, mean=mean, variance=variance, epsilon=layer.epsilon)
        return normal * self._of(path, "gamma") + self._of(path, "beta")

    def _attention(self, layer: kinds.Attention, path: str, x: jax.Array) -> jax.Array:
        batch, length, channels = x.shape

        def project(part: str, values: jax.Array) -> jax.Array:
            return values @ self._of(path, f"{part}_kernel") + self._of(path, f"{part}_bias")

        size = channels // layer.heads
        heads = (batch, length, layer.heads, size)
        query, key, value = (project(part, x).reshape(heads) for part in ("query", "key", "value"))
        # Not nn.dot_product_attention: its softmax is in float32, whatever it is given.
        scores = jnp.einsum("bqhd,bkhd->bhqk", query / size**0.5, key)
        if layer.causal:
            scores = jnp.where(jnp.tri(length, dtype=bool), scores, -jnp.inf)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores), value)
        return project("output", mixed.reshape(x.shape))

    def _lstm(self, layer: kinds.Lstm, path: str, x: jax.Array) -> jax.Array:
        recurrent = self._of(path, "recurrent_kernel")
        # The inputs' share of all steps in one product; only the rest depends on the step before.
        inputs = x @ self._of(path, "kernel") + self._of(path, "bias")

        def step(carry: tuple[jax.Array, jax.Array], share: jax.Array) -> Any:
            output, cell = carry
            i, f, g, o = jnp.split(share + output @ recurrent, 4, axis=-1)
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            output = nn.sigmoid(o) * jnp.tanh(cell)
            return (output, cell), output if layer.return_sequences else None

        zeros = jnp.zeros((len(x), layer.units), inputs.dtype)
        (last, _), outputs = lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))
        return outputs.swapaxes(0, 1) if layer.return_sequences else last


def _padding(padding: str | int) -> Any:
    """Return what lax takes: a name, or the zeros before and after each axis."""
    return padding.upper() if isinstance(padding, str) else [(padding, padding)] * 2


def _pool(x: jax.Array, size: int, start: float, reduce: Any) -> jax.Array:
    window = (1, size, size, 1)
    pooled: jax.Array = lax.reduce_window(x, start, reduce, window, window, "VALID")
    return pooled


def _activate(name: kinds.ActivationName | None, x: jax.Array) -> jax.Array:
    match name:
        case None:
            return x
        case "relu":
            return nn.relu(x)
        case "gelu":
            return nn.gelu(x, approximate=False)
        case "tanh":
            return jnp.tanh(x)
        case "sigmoid":
            return nn.sigmoid(x)
        case "softmax":
            return nn.softmax(x, axis=-1)
    raise UnsupportedError(f"jax has no code for activation {name}")
