"""Makes the canonical weights: the numbers every framework starts from.

Owns the initial values, in canonical layout. Knows no framework; plugins convert.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import prod, sqrt
from typing import TYPE_CHECKING

from fwprof.records import ResolvedLayer
from fwprof.workloads.language import Shape, parameter_shapes, state_shapes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TABLE_DEVIATION = 0.02
"""Standard deviation of embedding tables. Source: Devlin et al., BERT, 2019 (its reference code's
initializer_range)."""


def canonical_weights(layers: Sequence[ResolvedLayer], seed: int) -> dict[str, NDArray[np.float32]]:
    """Return parameters, then statistics, by canonical name, in layer order.

    A value depends on the seed, the name and the shape only: changing one layer leaves the others'
    numbers alone. Kernels are Glorot uniform, tables normal, biases, beta and moving means 0, gamma
    and moving variances 1.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, equation 16.
    """
    shapes = parameter_shapes(layers) | state_shapes(layers)
    return {name: _initial(name, shape, seed) for name, shape in shapes.items()}


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a random generator of its own for this seed and name."""
    import numpy as np

    words = np.frombuffer(sha256(name.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64([seed, *map(int, words)]))


def _initial(name: str, shape: Shape, seed: int) -> NDArray[np.float32]:
    import numpy as np

    key = name.rpartition(".")[2]
    if key in ("gamma", "moving_variance"):
        return np.ones(shape, np.float32)
    if key == "table":
        return generator(seed, name).normal(0.0, TABLE_DEVIATION, shape).astype(np.float32)
    if not key.endswith("kernel"):
        return np.zeros(shape, np.float32)
    # A convolution's fans count every position of its window.
    window = prod(shape[:-2])
    limit = sqrt(6 / (window * (shape[-2] + shape[-1])))
    return generator(seed, name).uniform(-limit, limit, shape).astype(np.float32)
