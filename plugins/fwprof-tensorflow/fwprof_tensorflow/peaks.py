"""The fastest matrix product and copy that tensorflow offers: what a step is held against."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from fwprof_tensorflow.places import Place


class TensorFlowPeakKernels:
    """tf.matmul and the DeepCopy operation on float32 tensors; the first call of a size makes them."""

    def __init__(self, place: Place) -> None:
        self.library = f"tensorflow {tf.__version__}"
        self._place = place
        # Only the size in use is kept: several of them together may not fit.
        self._matrices = lru_cache(maxsize=1)(self._make_matrices)
        self._buffer = lru_cache(maxsize=1)(self._make_buffer)

    def gemm(self, size: int) -> Any:
        """Multiply two size × size float32 matrices, wait for the product and return it."""
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
            return tf.random.uniform((size, size)), tf.random.uniform((size, size))

    def _make_buffer(self, size_bytes: int) -> Any:
        with tf.device(self._place.name):
            return tf.ones(size_bytes // 4)
