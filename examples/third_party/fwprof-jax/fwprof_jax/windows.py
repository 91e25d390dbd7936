"""Convolutions and pools of `jax.lax`, images as (batch, height, width, channels)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from fwprof.plugin import layers as kinds


def convolve(layer: kinds.Conv2d | kinds.Conv1d, kernel: jax.Array, x: jax.Array) -> jax.Array:
    """Return the cross-correlation with a kernel (size, …, in, filters), over images or sequences."""
    letters = "HW" if x.ndim == 4 else "W"
    count, padding = len(letters), layer.padding
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(layer.stride,) * count,
        padding=padding.upper() if isinstance(padding, str) else [(padding, padding)] * count,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )


def max_pool(layer: kinds.MaxPool2d, x: jax.Array) -> jax.Array:
    """Return the maximum of each window; what it pads with never wins."""
    return _reduce(x, -jnp.inf, lax.max, layer.size, layer.stride or layer.size, layer.padding)


def average_pool(layer: kinds.AveragePool2d, x: jax.Array) -> jax.Array:
    """Return the mean of each window."""
    return _reduce(x, 0.0, lax.add, layer.size, layer.size, 0) / layer.size**2


def _reduce(x: jax.Array, start: float, reduce: Any, size: int, stride: int, padding: int) -> jax.Array:
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    pooled: jax.Array = lax.reduce_window(
        x, start, reduce, (1, size, size, 1), (1, stride, stride, 1), around
    )
    return pooled
