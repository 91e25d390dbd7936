"""The fastest matrix product and copy that tensorflow offers: what a step is held against."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from fwprof_tensorflow.places import Place


class TensorFlowPeakKernels:
    """tf.matmul and the DeepCopy operation; the first call of a size makes the tensors.

    Args:
        place: the device.
        dtype: name of the matrices' type.
    """

    def __init__(self, place: Place, dtype: str = "float32") -> None:
        self.library = f"tensorflow {tf.__version__}"
        self._place, self._dtype = place, dtype
        # Only the size in use is kept: several of them together may not fit.
        self._matrices = lru_cache(maxsize=1)(self._make_matrices)
        self._buffer = lru_cache(maxsize=1)(self._make_buffer)

    def gemm(self, size: int) -> Any:
        """Multiply two size × size matrices, wait for the product and return it."""
        product = tf.matmul(*self._matrices(size))
        self._place.wait()
        return product

    def copy(self, size_bytes: int) -> Any:
        """Copy size_bytes (whole float32 numbers) to another buffer, wait for it and return it."""
        # tf.identity would hand out the same buffer again.
        copied = tf.raw_ops.DeepCopy(x=self._buffer(size_bytes))
        self._place.wait()
        return copied

    def _make_matrices(self, size: int) -> tuple[Any, Any]:
        with tf.device(self._place.name):
            left, right = (tf.random.uniform((size, size)) for _ in range(2))
            return tf.cast(left, self._dtype), tf.cast(right, self._dtype)

    def _make_buffer(self, size_bytes: int) -> Any:
        with tf.device(self._place.name):
            return tf.ones(size_bytes // 4)
