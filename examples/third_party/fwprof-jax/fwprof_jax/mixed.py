"""Mixed precision as jax users write it: parameters stay float32, and each pass takes them in 16 bits.

float16 has a loss scale too, since small gradients would become zero in it. Neither jax nor optax
brings one: this is the usual dynamic scale, as a transformation around an optimizer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

FORMATS: dict[str, Any] = {"bfloat16": jnp.bfloat16, "float16": jnp.float16}
"""Precision of a cell → what passes compute in."""

FIRST_SCALE, GROWS_AFTER = 2.0**15, 2000
"""The scale at the start, and after how many steps with finite gradients it is doubled.

Source: the values of the other frameworks' scalers (keras 3 `LossScaleOptimizer`; torch's begins at
2^16), Micikevicius et al. 2018, section 3.2.
"""


class ScaledState(NamedTuple):
    """State of an optimizer whose gradients come scaled."""

    inner: Any
    scale: jax.Array
    finite_steps: jax.Array


def scale_of(optimizer_state: Any) -> tuple[jax.Array, ...]:
    """Return by what the loss is multiplied before it is differentiated; nothing where it is not."""
    return (optimizer_state.scale,) if isinstance(optimizer_state, ScaledState) else ()


def with_scaled_gradients(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return an optimizer of scaled gradients: where one is not finite, it changes nothing but the scale."""

    def init(params: Any) -> ScaledState:
        return ScaledState(optimizer.init(params), jnp.float32(FIRST_SCALE), jnp.int32(0))

    def update(gradients: Any, state: ScaledState, params: Any = None) -> tuple[Any, ScaledState]:
        gradients = jax.tree.map(lambda gradient: gradient / state.scale, gradients)
        is_finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)]))
        updates, inner = optimizer.update(gradients, state.inner, params)

        def where_finite(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), new, old)

        steps = jnp.where(is_finite, state.finite_steps + 1, 0)
        is_grown = steps >= GROWS_AFTER
        scale = jnp.where(is_finite, jnp.where(is_grown, state.scale * 2, state.scale), state.scale / 2)
        return (
            where_finite(updates, jax.tree.map(jnp.zeros_like, updates)),
            ScaledState(where_finite(inner, state.inner), scale, jnp.where(is_grown, 0, steps)),
        )

    return optax.GradientTransformation(init, update)
