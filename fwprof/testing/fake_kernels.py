"""The fake framework's own matrix product and copy: NumPy's."""

from __future__ import annotations

import numpy as np


class FakeKernels:
    """NumPy's matrix product and copy."""

    library = "numpy"

    def gemm(self, size: int) -> None:
        """Multiply two matrices of ones."""
        matrix = np.ones((size, size), dtype=np.float32)
        matrix @ matrix

    def copy(self, size_bytes: int) -> None:
        """Copy a buffer."""
        np.ones(size_bytes, dtype=np.uint8).copy()
