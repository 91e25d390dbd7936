"""Batches without end through torch's own DataLoader, as its users read a data set in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Pair = tuple[torch.Tensor, torch.Tensor]

PADDING = 0
"""The id that stands in front of a short sequence."""


def load_data(pairs: Sequence[Pair], *, is_trimmed: bool, is_pinned: bool) -> Iterator[Pair]:
    """Yield batches of one size in their order, beginning again where they end.

    Args:
        pairs: (inputs, targets) of each batch.
        is_trimmed: whether each batch is as long as its longest sequence.
        is_pinned: whether batches come in memory that a card reads directly.
    """
    # Its own generator: a loader without one draws from the stream that dropout uses.
    size, generator = len(pairs[0][1]) if pairs else 1, torch.Generator()
    loader: DataLoader[Any]
    if is_trimmed:
        samples = [
            (_without_padding(ids), target) for pair in pairs for ids, target in zip(*pair, strict=True)
        ]
        loader = DataLoader(
            samples,  # type: ignore[arg-type]  # any sequence will do
            batch_size=size,
            pin_memory=is_pinned,
            generator=generator,
            collate_fn=_pad_in_front,
        )
    else:
        data = TensorDataset(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
        loader = DataLoader(data, batch_size=size, pin_memory=is_pinned, generator=generator)
    while True:
        yield from loader


def _without_padding(ids: torch.Tensor) -> torch.Tensor:
    return ids[int((ids != PADDING).int().argmax()) :]


def _pad_in_front(samples: Sequence[Pair]) -> Pair:
    inputs, targets = zip(*samples, strict=True)
    padded = pad_sequence(list(inputs), batch_first=True, padding_value=PADDING, padding_side="left")
    return padded, torch.stack(targets)
