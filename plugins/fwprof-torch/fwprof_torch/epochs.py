"""The data pipeline as a torch user writes it: a Dataset of samples and a DataLoader of batches.

Owns the transforms in torch's operations. Knows nothing of models.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from fwprof.plugin import UnsupportedError, transforms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fwprof.plugin import PipelineData, Staged

    Pair = tuple[torch.Tensor, torch.Tensor]


class Samples(Dataset["Pair"]):
    """Samples of memory-mapped files, images as (channels, height, width); each process maps its own.

    Args:
        data: the files and the transforms.
        dtype: of what is a float in them.
    """

    def __init__(self, data: PipelineData, dtype: torch.dtype) -> None:
        self._data = data
        self._dtype = dtype
        self._arrays: tuple[Any, Any] | None = None
        self._count = len(data.open()[1])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Pair:
        if self._arrays is None:
            self._arrays = self._data.open()
        inputs, targets = self._arrays
        # Copies: torch would warn of tensors that look at read-only memory.
        sample, target = torch.from_numpy(np.array(inputs[index])), torch.from_numpy(np.array(targets[index]))
        if sample.ndim == 3:
            sample = transform(sample.permute(2, 0, 1), self._data.pipeline.transforms).contiguous()
        return self._cast(sample), self._cast(target)

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


class LoaderPipeline:
    """Epochs of a DataLoader, each batch on its way to the device.

    Workers are processes, started as this platform's Python starts them; they stay from one epoch to
    the next.

    Args:
        data: the samples, and how they become batches.
        dtype: of what is a float in them.
        is_pinned: whether batches come in memory that the device reads directly.
        send: begins to copy a batch to the device, and waits for nothing.
    """

    def __init__(
        self,
        data: PipelineData,
        dtype: torch.dtype,
        *,
        is_pinned: bool,
        send: Callable[[torch.Tensor, torch.Tensor], Staged],
    ) -> None:
        asked, self._send = data.pipeline, send
        self._loader = DataLoader(
            Samples(data, dtype),
            batch_size=data.batch_size,
            shuffle=asked.shuffle,
            num_workers=asked.workers,
            prefetch_factor=ceil(asked.prefetch / asked.workers) if asked.workers else None,
            persistent_workers=asked.workers > 0,
            pin_memory=is_pinned,
            drop_last=True,
            # Its own generator: a loader without one draws from the stream that dropout uses.
            generator=torch.Generator().manual_seed(data.seed),
        )

    @property
    def basis(self) -> str:
        """The loader, with its workers and how they are started."""
        count = self._loader.num_workers
        if not count:
            return "DataLoader, no workers"
        method = torch.multiprocessing.get_start_method()
        return f"DataLoader, {count} worker{'s' if count > 1 else ''} ({method})"

    def __iter__(self) -> Iterator[Staged]:
        for inputs, targets in self._loader:
            yield self._send(inputs, targets)

    def close(self) -> None:
        """End the workers."""
        # They live as long as the loader's iterator; it has no method to end them.
        self._loader._iterator = None


def transform(image: torch.Tensor, steps: Sequence[transforms.Transform]) -> torch.Tensor:
    """Return one image (channels, height, width) after all transforms.

    Raises:
        UnsupportedError: torch does not have one of them here.
    """
    for step in steps:
        match step:
            case transforms.Resize(height=height, width=width):
                image = functional.interpolate(
                    image[None], (height, width), mode="bilinear", align_corners=False, antialias=False
                )[0]
            case transforms.RandomCrop(height=height, width=width):
                top = int(torch.randint(image.shape[1] - height + 1, ()))
                left = int(torch.randint(image.shape[2] - width + 1, ()))
                image = image[:, top : top + height, left : left + width]
            case transforms.RandomFlip():
                image = image.flip(2) if torch.rand(()) < 0.5 else image
            case _:
                raise UnsupportedError(f"torch has no transform {type(step).__name__} here")
    return image
