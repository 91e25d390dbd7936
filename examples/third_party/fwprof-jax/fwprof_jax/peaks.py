"""The fastest matrix product and copy that jax offers: what a step is held against."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


# The memory of `target` is given to the result, so that no call asks for new memory.
@partial(jax.jit, donate_argnums=2, keep_unused=True)
def _multiply(left: jax.Array, right: jax.Array, target: jax.Array) -> jax.Array:  # noqa: ARG001 (its memory)
    return left @ right


@partial(jax.jit, donate_argnums=1, keep_unused=True)
def _copy(source: jax.Array, target: jax.Array) -> jax.Array:  # noqa: ARG001 (its memory)
    return jnp.copy(source)


class JaxPeakKernels:
    """A compiled product and copy; the first call of a size allocates and compiles.

    Args:
        device: where.
        dtype: of the matrices.
    """

    def __init__(self, device: jax.Device, dtype: Any = np.float32) -> None:
        self.library = f"jax {jax.__version__}"
        self._device, self._dtype = device, dtype
        # Only the size in use is kept: several of them together may not fit.
        self._matrices: list[jax.Array] = []
        self._buffers: list[jax.Array] = []

    def gemm(self, size: int) -> None:
        """Multiply two size × size matrices and wait for the product."""
        if not self._matrices or len(self._matrices[0]) != size:
            self._matrices = [self._ones((size, size), self._dtype) for _ in range(3)]
        left, right, target = self._matrices
        self._matrices[2] = _multiply(left, right, target).block_until_ready()

    def copy(self, size_bytes: int) -> None:
        """Copy size_bytes (whole float32 numbers) to another buffer and wait."""
        if not self._buffers or self._buffers[0].nbytes != size_bytes:
            self._buffers = [self._ones((size_bytes // 4,)) for _ in range(2)]
        source, target = self._buffers
        self._buffers[1] = _copy(source, target).block_until_ready()

    def _ones(self, shape: tuple[int, ...], dtype: Any = np.float32) -> jax.Array:
        ones: jax.Array = jax.device_put(np.ones(shape, dtype), self._device, may_alias=False)
        return ones
