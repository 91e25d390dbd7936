"""Recurrent layers as jax users write them: a `lax.scan` over the positions of a sequence.

The inputs' share of all steps is one product; only the rest depends on the step before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax, nn

if TYPE_CHECKING:
    from fwprof.plugin import layers as kinds

    Of = Callable[[str], jax.Array]
    """Name → the layer's array of that name."""


def run_lstm(layer: kinds.Lstm, of: Of, x: jax.Array) -> jax.Array:
    """Return the last output (batch, units) of (batch, length, channels), or that of each position."""
    recurrent = of("recurrent_kernel")
    inputs = x @ of("kernel") + of("bias")

    def step(carry: tuple[jax.Array, jax.Array], share: jax.Array) -> Any:
        output, cell = carry
        i, f, g, o = jnp.split(share + output @ recurrent, 4, axis=-1)
        cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
        output = nn.sigmoid(o) * jnp.tanh(cell)
        return (output, cell), output if layer.return_sequences else None

    zeros = jnp.zeros((len(x), layer.units), inputs.dtype)
    (last, _), outputs = lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))
    return outputs.swapaxes(0, 1) if layer.return_sequences else last


def run_gru(layer: kinds.Gru, of: Of, x: jax.Array) -> jax.Array:
    """Return what `run_lstm` does."""
    recurrent, recurrent_bias = of("recurrent_kernel"), of("recurrent_bias")
    inputs = x @ of("kernel") + of("bias")

    def step(output: jax.Array, share: jax.Array) -> Any:
        z, r, h = jnp.split(share, 3, axis=-1)
        from_z, from_r, from_h = jnp.split(output @ recurrent + recurrent_bias, 3, axis=-1)
        z = nn.sigmoid(z + from_z)
        candidate = jnp.tanh(h + nn.sigmoid(r + from_r) * from_h)
        output = z * output + (1 - z) * candidate
        return output, output if layer.return_sequences else None

    zeros = jnp.zeros((len(x), layer.units), inputs.dtype)
    last, outputs = lax.scan(step, zeros, inputs.swapaxes(0, 1))
    return outputs.swapaxes(0, 1) if layer.return_sequences else last
