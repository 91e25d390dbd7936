"""The programs that the core times, as a jax user writes a training step: pure functions, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from fwprof_jax.memory import read_memory
from fwprof_jax.mixed import scale_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwprof.plugin import Gradients, Reading, Staged
    from fwprof_jax.model import JaxModel

    Loss = Callable[[Any, Any, Any], tuple[jax.Array, Any]]
    """(parameters, state, batch) → (loss, state after the pass)."""


class Result(NamedTuple):
    """What a program returned; a pytree, so that jax can wait for all of it.

    Args:
        loss: a scalar.
        updated: whatever else the call changed.
        gradients: of G.
    """

    loss: jax.Array
    updated: Any
    gradients: Any = None


@dataclass(frozen=True)
class Compiled:
    """F, G and S of one model, compiled by jax at their first call for each shape of a batch."""

    forward: Any
    forward_backward: Any
    run: Any


def mean_over_parts(loss: Loss) -> Loss:
    """Return the mean of a loss over the parts of a batch, whose arrays are (parts, samples, …).

    The state after one part is that before the next.
    """

    def forward(params: Any, state: Any, parts: Any) -> tuple[jax.Array, Any]:
        def step(state: Any, part: Any) -> tuple[Any, jax.Array]:
            value, state = loss(params, state, part)
            return state, value

        state, values = lax.scan(step, state, parts)
        return values.mean(), state

    return forward


def _differentiate(loss: Loss) -> Any:
    """Return what computes a loss and its gradients; with a scale, gradients so much larger."""

    def scaled(params: Any, state: Any, batch: Any, scale: Any) -> tuple[jax.Array, Any]:
        value, state = loss(params, state, batch)
        return value * scale, (value, state)

    def differentiate(params: Any, state: Any, batch: Any, *scale: Any) -> Any:
        if not scale:
            return jax.value_and_grad(loss, has_aux=True)(params, state, batch)
        (_, kept), gradients = jax.value_and_grad(scaled, has_aux=True)(params, state, batch, *scale)
        return kept, gradients

    return differentiate


def _differentiate_parts(loss: Loss) -> Any:
    """Return what computes `mean_over_parts` and its gradients, one part after the other.

    Differentiated as one function, it would keep what all parts need for their backward passes.
    """
    differentiate = _differentiate(loss)

    def accumulate(params: Any, state: Any, parts: Any, *scale: Any) -> Any:
        def step(carry: tuple[Any, Any], part: Any) -> tuple[Any, jax.Array]:
            state, total = carry
            (value, state), gradients = differentiate(params, state, part, *scale)
            return (state, jax.tree.map(jnp.add, total, gradients)), value

        zeros = jax.tree.map(jnp.zeros_like, params)
        (state, total), values = lax.scan(step, (state, zeros), parts)
        return (values.mean(), state), jax.tree.map(lambda gradient: gradient / len(values), total)

    return accumulate


def compile_programs(
    loss: Loss, optimizer: optax.GradientTransformation, *, has_parts: bool = False
) -> Compiled:
    """Return the three programs of a loss and an optimizer.

    Args:
        loss: of a batch; where it has parts, of one of them.
        has_parts: whether batches come in parts, whose gradients are accumulated.
    """
    forward = mean_over_parts(loss) if has_parts else loss
    differentiate = (_differentiate_parts if has_parts else _differentiate)(loss)

    # The old parameters, optimizer state and state are given away: the new ones take their memory.
    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def run(params: Any, optimizer_state: Any, state: Any, batch: Any) -> Any:
        (value, state), gradients = differentiate(params, state, batch, *scale_of(optimizer_state))
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return value, optax.apply_updates(params, updates), optimizer_state, state

    return Compiled(forward=jax.jit(forward), forward_backward=jax.jit(differentiate), run=run)


class JaxPrograms:
    """F, G, S and D of one model."""

    def __init__(self, model: JaxModel) -> None:
        self._model = model
        self._compiled = model.compiled

    def forward(self, staged: Staged) -> Result:
        """F: return the loss."""
        model = self._model
        loss, model.state = self._compiled.forward(model.params, model.state, staged)
        return Result(loss, model.state)

    def forward_backward(self, staged: Staged) -> Result:
        """G: return the loss and every gradient: what is not returned, the compiler drops."""
        model = self._model
        (loss, model.state), gradients = self._compiled.forward_backward(
            model.params, model.state, staged, *scale_of(model.optimizer_state)
        )
        return Result(loss, model.state, gradients)

    def run(self, staged: Staged) -> Result:
        """S: the whole training step; return the loss."""
        model = self._model
        loss, model.params, model.optimizer_state, model.state = self._compiled.run(
            model.params, model.optimizer_state, model.state, staged
        )
        return Result(loss, (model.params, model.optimizer_state, model.state))

    def wait(self, result: Result) -> None:
        """Return when the loss, and all that the call updated, are there."""
        jax.block_until_ready(result)  # type: ignore[no-untyped-call]  # untyped in jax

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients."""
        if result.gradients is None:
            return float(result.loss), None
        gradients = self._model.name_leaves(result.gradients)
        for scale in scale_of(self._model.optimizer_state):
            gradients = {name: gradient / float(scale) for name, gradient in gradients.items()}
        return float(result.loss), gradients

    def memory(self, staged: Staged) -> Mapping[str, Reading]:
        """Return the memory of a step by category, and its peak as XLA plans it."""
        return read_memory(self._model, self.forward_backward(staged), staged)

    def next_batch(self) -> Staged:
        """D: fetch one batch and stage it."""
        return self._model.next_batch()
