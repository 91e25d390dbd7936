"""The matrix product and copy that keras.ops offers: what a step is held against."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from fwprof_keras.backends import Backend


class KerasPeakKernels:
    """keras.ops.matmul, and keras.ops.negative as the copy: tensorflow's `copy` moves nothing."""

    def __init__(self, backend: Backend) -> None:
        self.library = f"keras {keras.__version__} on {backend.name}"
        self._backend = backend
        # Only the size in use is kept: several of them together may not fit.
        self._matrices = lru_cache(maxsize=1)(self._make_matrices)
        self._buffer = lru_cache(maxsize=1)(self._make_buffer)

    def gemm(self, size: int) -> None:
        """Multiply two size × size float32 matrices and wait for the product."""
        self._backend.wait(keras.ops.matmul(*self._matrices(size)))

    def copy(self, size_bytes: int) -> None:
        """Write size_bytes (whole float32 numbers), negated, to another buffer and wait."""
        self._backend.wait(keras.ops.negative(self._buffer(size_bytes)))

    def _make_matrices(self, size: int) -> tuple[Any, Any]:
        shape = (size, size)
        return keras.random.uniform(shape, dtype="float32"), keras.random.uniform(shape, dtype="float32")

    def _make_buffer(self, size_bytes: int) -> Any:
        return keras.ops.ones(size_bytes // 4, dtype="float32")
