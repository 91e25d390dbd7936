"""The fastest matrix product and copy that torch offers: what a step is held against."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fwprof_torch.places import Place

    Buffers = tuple[torch.Tensor, ...]


class TorchPeakKernels:
    """torch.mm and Tensor.copy_ on preallocated buffers; the first call of a size allocates.

    Args:
        place: the device.
        dtype: of the matrices.
    """

    def __init__(self, place: Place, dtype: torch.dtype = torch.float32) -> None:
        self.library = f"torch {torch.__version__}"
        self._place, self._dtype = place, dtype
        # Only the size in use is kept: several of them together may not fit.
        self._matrices = lru_cache(maxsize=1)(self._make_matrices)
        self._buffers = lru_cache(maxsize=1)(self._make_buffers)

    def gemm(self, size: int) -> None:
        """Multiply two size × size matrices and wait for the product."""
        left, right, product = self._matrices(size)
        torch.mm(left, right, out=product)
        self._place.wait()

    def copy(self, size_bytes: int) -> None:
        """Copy size_bytes (whole float32 numbers) to another buffer and wait."""
        source, target = self._buffers(size_bytes)
        target.copy_(source)
        self._place.wait()

    def _make_matrices(self, size: int) -> Buffers:
        return tuple(torch.rand(size, size, device=self._place.device, dtype=self._dtype) for _ in range(3))

    def _make_buffers(self, size_bytes: int) -> Buffers:
        return tuple(torch.ones(size_bytes // 4, device=self._place.device) for _ in range(2))
