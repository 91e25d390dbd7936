"""The matrix product and copy that keras.ops offers: what a step is held against."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from fwprof_keras.backends import Backend


class KerasPeakKernels:
    """keras.ops.matmul, and keras.ops.negative as the copy: tensorflow's `copy` moves nothing.

    Args:
        backend: on its device.
        dtype: name of the matrices' type.
    """

    def __init__(self, backend: Backend, dtype: str = "float32") -> None:
        self.library = f"keras {keras.__version__} on {backend.name}"
        self._backend, self._dtype = backend, dtype
        # Only the size in use is kept: several of them together may not fit.
        self._matrices = lru_cache(maxsize=1)(self._make_matrices)
        self._buffer = lru_cache(maxsize=1)(self._make_buffer)

    def gemm(self, size: int) -> None:
        """Multiply two size × size matrices and wait for the product."""
        self._backend.wait(keras.ops.matmul(*self._matrices(size)))

    def copy(self, size_bytes: int) -> None:
        """Write size_bytes (whole float32 numbers), negated, to another buffer and wait."""
        self._backend.wait(keras.ops.negative(self._buffer(size_bytes)))

    def _make_matrices(self, size: int) -> tuple[Any, Any]:
        left, right = (keras.random.uniform((size, size), dtype="float32") for _ in range(2))
        return keras.ops.cast(left, self._dtype), keras.ops.cast(right, self._dtype)

    def _make_buffer(self, size_bytes: int) -> Any:
        return keras.ops.ones(size_bytes // 4, dtype="float32")
