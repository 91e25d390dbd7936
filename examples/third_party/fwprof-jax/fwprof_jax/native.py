"""The user's own jax model: what its factory returned, checked and taken over as it is.

Owns the keys of that dict and what may be behind each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax

from fwprof.plugin import RequestError, UnsupportedError
from fwprof_jax.model import JaxModel
from fwprof_jax.modes import suggest_name

if TYPE_CHECKING:
    from fwprof.plugin import LoadedWorkload, Options, Staged
    from fwprof_jax.model import Array
    from fwprof_jax.modes import Mode

_KEYS = ("params", "loss", "optimizer", "batches")
_HELP = "return {'params': …, 'loss': …, 'optimizer': …, 'batches': …}"


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
        parts = read_parts(workload.native)
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
        self._pipeline = _endless(parts.batches, workload.batches)

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


def read_parts(native: object) -> Parts:
    """Return the parts of what a factory returned.

    Raises:
        RequestError: a key is missing, unknown, or holds the wrong thing.
    """
    if not isinstance(native, Mapping):
        raise RequestError(
            "the model factory must return a dict", cause=f"it returned a {type(native).__name__}", next=_HELP
        )
    for key in native:
        if key not in _KEYS:
            raise RequestError(
                f"the model factory returned an unknown key {key!r}",
                cause=f"jax knows {', '.join(_KEYS)}",
                next=suggest_name(str(key), _KEYS) or _HELP,
            )
    for key in _KEYS:
        if key not in native:
            raise RequestError(
                f"the model factory's dict has no {key!r}",
                cause=f"found only {', '.join(map(str, native)) or 'nothing'}",
                next=_HELP,
            )
    params, loss, optimizer, batches = (native[key] for key in _KEYS)
    leaves = jax.tree.leaves(params)
    if not leaves or not all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
        raise _wrong("params", "a pytree of arrays", params)
    if not callable(loss):
        raise _wrong("loss", "a callable on params and batch", loss)
    if not isinstance(optimizer, optax.GradientTransformation):
        raise _wrong("optimizer", "an optax.GradientTransformation", optimizer)
    if not isinstance(batches, Iterable | Callable):
        raise _wrong("batches", "an iterable or a callable", batches)
    return Parts(params=params, loss=loss, optimizer=optimizer, batches=batches)


def _wrong(key: str, expected: str, found: object) -> RequestError:
    return RequestError(
        f"the model factory's {key!r} is not {expected}",
        cause=f"expected {expected}, found a {type(found).__name__}",
        next=_HELP,
    )


def _endless(batches: Any, drawn: Sequence[Any]) -> Iterator[Any]:
    """Yield batches without end; those drawn first again where the user's own are used up."""
    while True:
        source = batches if isinstance(batches, Iterable) else batches()
        is_empty = True
        for batch in source:
            is_empty = False
            yield batch
        if is_empty:
            yield from drawn
