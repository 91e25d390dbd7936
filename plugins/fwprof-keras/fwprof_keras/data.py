"""Batches as keras takes them: the data pipeline D, and what `fit` trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from collections.abc import Sequence


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # untyped in keras
    """A `keras.utils.PyDataset` of NumPy batches that begins again when they are used up.

    Args:
        batches: `(inputs, targets, sample weights or None)` each.
        count: how many batches an epoch has; as many as there are where it is left out.
    """

    def __init__(self, batches: Sequence[tuple[Any, ...]], count: int | None = None) -> None:
        super().__init__()
        self._batches = batches
        self._count = len(batches) if count is None else count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        parts = self._batches[index % len(self._batches)]
        # Some backends refuse a None in what a data set yields.
        return parts if parts[-1] is not None else parts[:-1]
