"""The layers of a neutral workload as one pure function, as a jax user writes a network.

jax has arrays and functions and no layers: parameters stay in one dictionary, under their
canonical names and in their canonical layouts, which are those of `jax.lax`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn

from fwprof.plugin import ResolvedLayer, UnsupportedError, walk
from fwprof.plugin import layers as kinds
from fwprof_jax.recurrent import run_gru, run_lstm
from fwprof_jax.windows import average_pool, convolve, max_pool

Params = Mapping[str, jax.Array]
State = Mapping[str, Any]
"""What the loss is not differentiated by: `statistics`, name → array, which a pass in training moves;
`frozen`, the same of parameters, which nothing moves; and of a network that drops elements `key`,
the random state."""


def make_state(layers: Sequence[ResolvedLayer], weights: Mapping[str, Any], seed: int) -> State:
    """Return the state at the start."""
    state: dict[str, Any] = {"statistics": {}, "frozen": {}}
    for resolved in walk(layers):
        is_moving = isinstance(resolved.layer, kinds.BatchNorm) and not resolved.is_frozen
        kept = state["statistics" if is_moving else "frozen"]
        kept |= {name: weights[name] for name in resolved.state}
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
    mixed: Any = None,
) -> tuple[jax.Array, State]:
    """Return the outputs of a batch, and the state after it.

    Args:
        inputs: `(batch, …)`, images as (height, width, channels).
        has_dropout: whether elements are dropped in training.
        mixed: the format that layers compute in, normalisation and softmax apart; None: that of the
            parameters. Outputs are of the parameters' format in either case.

    Raises:
        UnsupportedError: a layer is of a kind that is not known here; names it.
    """
    key, following = jax.random.split(state["key"]) if "key" in state else (None, None)
    values = {**params, **state["frozen"]}
    network = _Pass(values, dict(state["statistics"]), key, is_training, has_dropout, mixed)
    outputs = network.chain(layers, network.cast(inputs))
    if mixed is not None:
        outputs = outputs.astype(jnp.float32)
    moved = {**state, "statistics": network.statistics}
    return outputs, moved if following is None else moved | {"key": following}


def apply_one(
    resolved: ResolvedLayer, params: Params, state: State, inputs: jax.Array, *, mixed: Any = None
) -> tuple[jax.Array, Params]:
    """Return what one layer alone gives in training, in the format that flows there, and its statistics.

    Args:
        params: its parameters, and a table that it shares.
        state: of the whole network.
        inputs: in the format that flows there.
    """
    network = _Pass(
        {**params, **state["frozen"]}, dict(state["statistics"]), state.get("key"), True, True, mixed
    )
    # The workload's own input is turned into the format here, as it is in a step.
    return network.chain((resolved,), network.cast(inputs)), network.statistics


@dataclass
class _Pass:
    """One pass through the network, alive while jax traces it.

    Args:
        values: parameters, trained and frozen.
    """

    values: Params
    statistics: dict[str, jax.Array]
    key: jax.Array | None
    is_training: bool
    has_dropout: bool
    mixed: Any

    def cast(self, x: jax.Array) -> jax.Array:
        """Return numbers in the format that layers compute in; ids as they are."""
        return x if self.mixed is None or not jnp.issubdtype(x.dtype, jnp.floating) else x.astype(self.mixed)

    def chain(self, layers: Sequence[ResolvedLayer], x: jax.Array) -> jax.Array:
        for resolved in layers:
            x = self._apply(resolved, x)
        return x

    def _apply(self, resolved: ResolvedLayer, x: jax.Array) -> jax.Array:
        layer, path = resolved.layer, resolved.path
        match layer:
            case kinds.Dense():
                return _activate(layer.activation, self._dense(layer, path, x))
            case kinds.Conv2d() | kinds.Conv1d():
                y = convolve(layer, self._of(path, "kernel"), x)
                return _activate(layer.activation, self._add_bias(layer, path, y))
            case kinds.MaxPool2d():
                return max_pool(layer, x)
            case kinds.AveragePool2d():
                return average_pool(layer, x)
            case kinds.Flatten():
                return x.reshape(len(x), -1)
            case kinds.Activation():
                return _activate(layer.function, x)
            case kinds.Dropout():
                return self._dropout(layer, x)
            case kinds.BatchNorm():
                return self._batch_norm(layer, resolved, x)
            case kinds.LayerNorm():
                return self._scale_and_shift(path, nn.standardize(self._exact(x), epsilon=layer.epsilon))
            case kinds.Embedding():
                return self.cast(self.values[f"{path}.table"][x])
            case kinds.PositionEmbedding():
                return x + self._of(path, "table")
            case kinds.Attention():
                return self._attention(layer, path, x)
            case kinds.Lstm():
                return run_lstm(layer, partial(self._of, path), x)
            case kinds.Gru():
                return run_gru(layer, partial(self._of, path), x)
            case kinds.AverageOverSequence():
                return x.mean(axis=1)
            case kinds.MaxOverSequence():
                return x.max(axis=1)
            case kinds.FirstOfSequence():
                return x[:, 0]
            case kinds.AverageOverImage():
                return x.mean(axis=(1, 2))
            case kinds.PairwiseProducts():
                one, other = np.triu_indices(x.shape[1], k=1)
                return jnp.einsum("bic,bjc->bij", x, x)[:, one, other]
            case kinds.TiedDense():
                return x @ self.cast(self.values[str(resolved.table)]).T
            case kinds.Chain():
                return self.chain(resolved.inner, x)
            case kinds.Branches():
                outputs = [self._apply(branch, x) for branch in resolved.inner]
                return jnp.concatenate(outputs, axis=-1) if layer.join == "concatenate" else _add(outputs)
            case kinds.Residual():
                return x + self.chain(resolved.inner, x)
            case _:
                raise UnsupportedError(f"jax has no code for layer {path} ({type(layer).__name__})")

    def _of(self, path: str, name: str) -> jax.Array:
        return self.cast(self.values[f"{path}.{name}"])

    def _exact(self, x: jax.Array) -> jax.Array:
        """Return numbers in a format whose sums over many of them are sound."""
        return x if self.mixed is None else x.astype(jnp.float32)

    def _scale_and_shift(self, path: str, normal: jax.Array) -> jax.Array:
        gamma, beta = (self.values[f"{path}.{name}"] for name in ("gamma", "beta"))
        return self.cast(normal * gamma + beta)

    def _dense(self, layer: kinds.Dense, path: str, x: jax.Array) -> jax.Array:
        y = self._add_bias(layer, path, x @ self._of(path, "kernel"))
        if layer.lora_rank is None:
            return y
        return y + x @ self._of(path, "lora_a") @ self._of(path, "lora_b")

    def _add_bias(
        self, layer: kinds.Dense | kinds.Conv2d | kinds.Conv1d, path: str, x: jax.Array
    ) -> jax.Array:
        return x + self._of(path, "bias") if layer.use_bias else x

    def _dropout(self, layer: kinds.Dropout, x: jax.Array) -> jax.Array:
        if not (self.is_training and self.has_dropout) or self.key is None:
            return x
        self.key, key = jax.random.split(self.key)
        kept = jax.random.bernoulli(key, 1 - layer.rate, x.shape)
        return jnp.where(kept, x / (1 - layer.rate), 0)

    def _batch_norm(self, layer: kinds.BatchNorm, resolved: ResolvedLayer, x: jax.Array) -> jax.Array:
        path = resolved.path
        moving_mean, moving_variance = f"{path}.moving_mean", f"{path}.moving_variance"
        statistics = self.values if resolved.is_frozen else self.statistics
        mean, variance = statistics[moving_mean], statistics[moving_variance]
        x = self._exact(x)
        if self.is_training and not resolved.is_frozen:
            axes = tuple(range(x.ndim - 1))
            kept, (old_mean, old_variance) = layer.momentum, (mean, variance)
            mean, variance = x.mean(axes), x.var(axes)
            self.statistics[moving_mean] = kept * old_mean + (1 - kept) * mean
            self.statistics[moving_variance] = kept * old_variance + (1 - kept) * variance
        normal = nn.standardize(x, mean=mean, variance=variance, epsilon=layer.epsilon)
        return self._scale_and_shift(path, normal)

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
        shares = self.cast(nn.softmax(self._exact(scores)))
        seen = jnp.einsum("bhqk,bkhd->bqhd", shares, value)
        return project("output", seen.reshape(x.shape))


def _add(outputs: Sequence[jax.Array]) -> jax.Array:
    first, *others = outputs
    return sum(others, start=first)


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
