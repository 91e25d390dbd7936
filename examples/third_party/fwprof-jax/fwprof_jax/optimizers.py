"""The optimizers of neutral workloads: optax's own, and Adam's canonical form for verification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optax

from fwprof.plugin import UnsupportedError
from fwprof.plugin import layers as kinds

if TYPE_CHECKING:
    import jax


def make_optimizer(spec: kinds.Optimizer, *, canonical: bool = False) -> optax.GradientTransformation:
    """Return optax's optimizer.

    Args:
        canonical: Adam with the bias corrections folded into the step. optax adds ε to √v̂, the
            canonical form to √v: they are the same where optax is given ε/√(1 − β₂ᵗ) at step t.
            Source: Kingma & Ba 2015, end of section 2.

    Raises:
        UnsupportedError: the optimizer is not known here.
    """
    match spec:
        case kinds.Sgd():
            return optax.sgd(spec.learning_rate, momentum=spec.momentum or None)
        case kinds.Adam():
            make: Any = optax.adamw if spec.weight_decay > 0 else optax.adam
            arguments: dict[str, Any] = {
                "learning_rate": spec.learning_rate,
                "b1": spec.beta_1,
                "b2": spec.beta_2,
                "eps": spec.epsilon,
            }
            if spec.weight_decay > 0:
                arguments["weight_decay"] = spec.weight_decay
            if canonical:
                make = optax.inject_hyperparams(make)
                arguments["eps"] = _folded_epsilon(spec)
            optimizer: optax.GradientTransformation = make(**arguments)
            return optimizer
    raise UnsupportedError(f"jax has no optimizer {type(spec).__name__} here")


def _folded_epsilon(spec: kinds.Adam) -> Any:
    def epsilon_at(step: jax.Array) -> jax.Array:
        epsilon: jax.Array = spec.epsilon / (1 - spec.beta_2 ** (step + 1)) ** 0.5
        return epsilon

    return epsilon_at
