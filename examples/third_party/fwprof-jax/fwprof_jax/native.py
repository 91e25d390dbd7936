"""The user's own jax model: what its factory returned, checked and taken over as it is.

Owns the keys of that dict and what may be behind each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax

from fwprof.plugin import Part, RequestError, UnsupportedError, endless_batches, read_parts
from fwprof_jax.model import JaxModel

if TYPE_CHECKING:
    from fwprof.plugin import LoadedWorkload, Options, Staged
    from fwprof_jax.model import Array
    from fwprof_jax.modes import Mode

_HELP = "return {'params': …, 'loss': …, 'optimizer': …, 'batches': …}"


def _are_arrays(tree: Any) -> bool:
    leaves = jax.tree.leaves(tree)
    return bool(leaves) and all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)


_PARTS = {
    "params": Part("a pytree of arrays", _are_arrays),
    "loss": Part("a callable on params and batch", callable),
    "optimizer": Part(
        "an optax.GradientTransformation", lambda value: isinstance(value, optax.GradientTransformation)
    ),
}


@dataclass(frozen=True)
class Parts:
    """What the factory returned, checked."""

    params: Any
    loss: Callable[[Any, Any], jax.Array]
    optimizer: optax.GradientTransformation
    batches: Iterable[Any] | Callable[[], Any]


class NativeModel(JaxModel):
    """The user's parameters, loss, optimizer and batches; a batch is any pytree of arrays.

    Raises:
        RequestError: the factory's dict, or a batch, is not what jax needs; names the key.
    """

    def __init__(self, workload: LoadedWorkload, device: jax.Device, mode: Mode, options: Options) -> None:
        parts = Parts(**read_parts(workload.native, _PARTS, framework="jax", next=_HELP))
        if not workload.batches:
            raise RequestError("the model's 'batches' gave no batch", next=_HELP)

        def loss(params: Any, state: Any, batch: Any) -> tuple[jax.Array, Any]:
            return parts.loss(params, batch), state

        super().__init__(
            params=parts.params,
            state={},
            loss=loss,
            batch=workload.batches[0],
            optimizer=parts.optimizer,
            device=device,
            mode=mode,
            options=options,
        )
        shape = getattr(self.loss_shape, "shape", None)
        if shape != ():
            raise RequestError(
                "the model factory's 'loss' gives no scalar", cause=f"its shape is {shape}", next=_HELP
            )
        self._batch_size = next(
            (len(leaf) for leaf in jax.tree.leaves(workload.batches[0]) if np.ndim(leaf)), 0
        )
        self._pipeline = endless_batches(parts.batches, workload.batches)

    @property
    def batch_size(self) -> int:
        """Samples in the first batch."""
        return self._batch_size

    def convert(self, batch: Any) -> Any:
        """Return the batch as it is.

        Raises:
            RequestError: there is something else in it than arrays.
        """
        for leaf in jax.tree.leaves(batch):
            if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
                raise RequestError(
                    "the model factory's 'batches' gave something else than a batch",
                    cause=f"expected a pytree of arrays, found a {type(leaf).__name__} in it",
                )
        return batch

    def next_batch(self) -> Staged:
        """Fetch the next batch of the user's own `batches` and stage it."""
        return self.stage(next(self._pipeline))

    def predict(self, staged: Staged) -> Array:  # noqa: ARG002 (refused for all)
        """Refuse: the factory gives a loss, and no outputs to predict."""
        raise UnsupportedError(
            "jax predicts nothing for a model of your own", cause="its factory gives a loss and no outputs"
        )
