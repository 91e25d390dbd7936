"""Canonical arrays ↔ tensorflow variables.

tensorflow's layouts are the canonical ones: kernels (…, in, out), images (height, width,
channels), LSTM gates i, f, g, o with one bias, GRU gates z, r, h. Attention differs by a reshape: its
heads have an axis of their own there. A GRU's two biases are the rows of one variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Slot(Protocol):
    """Where one canonical array lies."""

    @property
    def variable(self) -> Any:
        """What holds the array, alone or with others."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape."""
        ...

    def read(self) -> Array:
        """Return a copy of the canonical array."""
        ...

    def write(self, array: Array) -> None:
        """Set the canonical array, of the right shape, in place."""
        ...

    def to_canonical(self, array: Array) -> Array:
        """Return the canonical array of one that is laid out as the variable, e.g. of its gradient."""
        ...


@dataclass(frozen=True)
class VariableSlot:
    """A variable that is read and written at once.

    Args:
        variable: a keras Variable or a tf.Variable.
        shape: the canonical shape.
        row: of the variable, where it holds several canonical arrays; None: the whole variable.
    """

    variable: Any
    shape: tuple[int, ...]
    row: int | None = None

    def read(self) -> Array:
        """Return a copy of the canonical array."""
        return self.to_canonical(np.array(self.variable.numpy()))

    def write(self, array: Array) -> None:
        """Set the canonical array in place."""
        if self.row is None:
            self.variable.assign(np.reshape(array, tuple(self.variable.shape)))
            return
        whole = np.array(self.variable.numpy())
        whole[self.row] = array
        self.variable.assign(whole)

    def to_canonical(self, array: Array) -> Array:
        """Return the canonical array of one that is laid out as the variable, e.g. of its gradient."""
        return (array if self.row is None else array[self.row]).reshape(self.shape)


def slot_of(variable: Any) -> VariableSlot:
    """Return the slot of a variable whose own shape is the canonical one."""
    return VariableSlot(variable, tuple(variable.shape))


def write_all(slots: Mapping[str, Slot], values: Mapping[str, Array]) -> None:
    """Set canonical arrays by name, all of them or, on an error, none.

    Raises:
        ValueError: a name is unknown or a shape is wrong.
    """
    for name, array in values.items():
        if name not in slots:
            raise ValueError(f"unknown parameter {name!r}")
        if array.shape != slots[name].shape:
            raise ValueError(f"parameter {name!r}: shape {array.shape} instead of {slots[name].shape}")
    for name, array in values.items():
        slots[name].write(array)


def read_gradient(gradient: Any, slot: Slot) -> Array:
    """Return a copy of a gradient as a canonical array.

    Args:
        gradient: a tensor or array; rows of a table as tf.IndexedSlices; None where the loss does
            not depend on the variable.
        slot: of the variable.
    """
    if gradient is None:
        return np.zeros(slot.shape, np.float32)
    if isinstance(gradient, tf.IndexedSlices):
        rows = gradient.values.numpy()
        dense = np.zeros(slot.shape, rows.dtype)
        # A row that was looked up twice is there twice.
        np.add.at(dense, gradient.indices.numpy(), rows)
        return dense
    return slot.to_canonical(np.array(gradient))
