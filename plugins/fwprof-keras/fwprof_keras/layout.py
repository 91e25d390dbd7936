"""Canonical arrays ↔ keras variables.

Keras lays out images, kernels and gates as the canonical form does; only the variables of its
multi-head attention split an axis in two, and the two biases of its GRU are the rows of one. So a
place is a variable, perhaps a row of it, and the canonical shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]


class Slot:
    """Where one canonical array lies.

    Args:
        variable: of a built layer.
        shape: the canonical one; the variable's own where it is left out.
        row: of the variable, where it holds several canonical arrays; None: the whole variable.
    """

    def __init__(
        self, variable: keras.Variable, shape: Sequence[int] | None = None, row: int | None = None
    ) -> None:
        self.variable = variable
        self.shape = tuple(variable.shape if shape is None else shape)
        self._row = row

    def read(self) -> Array:
        """Return a copy of the canonical array."""
        return self.to_canonical(self.variable.value)

    def write(self, array: Array) -> None:
        """Set the canonical array in place.

        Raises:
            ValueError: the shape is wrong.
        """
        if array.shape != self.shape:
            raise ValueError(f"shape {array.shape} instead of {self.shape}")
        # A copy: a backend may take over the memory of an array it is given, and write there.
        if self._row is None:
            self.variable.assign(np.array(array).reshape(self.variable.shape))
            return
        whole = np.array(keras.ops.convert_to_numpy(self.variable.value))
        whole[self._row] = array
        self.variable.assign(whole)

    def to_canonical(self, tensor: Any) -> Array:
        """Return a copy of a tensor that is laid out as the variable, e.g. of its gradient."""
        array: Array = np.array(keras.ops.convert_to_numpy(tensor))
        return (array if self._row is None else array[self._row]).reshape(self.shape)


def write_slots(slots: Mapping[str, Slot], values: Mapping[str, Array]) -> None:
    """Set canonical arrays in place.

    Raises:
        ValueError: a name is unknown or a shape is wrong; the message names it.
    """
    unknown = sorted(set(values) - set(slots))
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]!r}")
    for name, array in values.items():
        try:
            slots[name].write(array)
        except ValueError as error:
            raise ValueError(f"parameter {name!r}: {error}") from error
