"""Canonical arrays ↔ torch tensors, one layout a kind of parameter.

Owns where each canonical array lies in a network, and how its axes are ordered there. Images are
(height, width, channels) in canonical form and (channels, height, width) in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Reorder = Callable[[Array], Array]


@dataclass(frozen=True)
class Layout:
    """Two inverse reorderings of one array's axes."""

    to_torch: Reorder
    to_canonical: Reorder


SAME = Layout(to_torch=lambda array: array, to_canonical=lambda array: array)
DENSE = Layout(to_torch=np.transpose, to_canonical=np.transpose)
"""(in, out) ↔ (out, in)."""
CONV = Layout(
    to_torch=lambda kernel: kernel.transpose(3, 2, 0, 1),
    to_canonical=lambda kernel: kernel.transpose(2, 3, 1, 0),
)
"""(height, width, in, out) ↔ (out, in, height, width)."""
CONV_1D = Layout(
    to_torch=lambda kernel: kernel.transpose(2, 1, 0),
    to_canonical=lambda kernel: kernel.transpose(2, 1, 0),
)
"""(size, in, out) ↔ (out, in, size)."""


def _swap_gates(array: Array) -> Array:
    """Swap the first two of three gates, which lie along the first axis."""
    one, other, third = np.split(array, 3)
    return np.concatenate((other, one, third))


GRU_KERNEL = Layout(
    to_torch=lambda kernel: _swap_gates(kernel.T), to_canonical=lambda weight: _swap_gates(weight).T
)
"""(in, 3·units) of update, reset, candidate ↔ (3·units, in) of reset, update, new."""
GRU_BIAS = Layout(to_torch=_swap_gates, to_canonical=_swap_gates)


def dense_after_flatten(image: tuple[int, int, int]) -> Layout:
    """Return the layout of a dense kernel whose input is a flattened image.

    The rows of a canonical kernel follow (height, width, channels); torch flattens
    (channels, height, width).

    Args:
        image: (height, width, channels) before the flattening.
    """
    height, width, channels = image

    def to_torch(kernel: Array) -> Array:
        units = kernel.shape[1]
        return kernel.reshape(height, width, channels, units).transpose(3, 2, 0, 1).reshape(units, -1)

    def to_canonical(weight: Array) -> Array:
        units = weight.shape[0]
        return weight.reshape(units, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, units)

    return Layout(to_torch=to_torch, to_canonical=to_canonical)


def image_to_torch(array: Array) -> Array:
    """Return `(batch, height, width, channels)` as `(batch, channels, height, width)`."""
    return array.transpose(0, 3, 1, 2)


class Slot:
    """Where one canonical array lies: an attribute of a module, or some rows of it.

    Args:
        owner: the module that holds the tensor; looked up on each use, since moving a module to a
            device replaces its buffers.
        attribute: the tensor's name there.
        layout: how its axes are ordered.
        rows: the part of a tensor that several canonical arrays share.
    """

    def __init__(
        self, owner: torch.nn.Module, attribute: str, layout: Layout = SAME, rows: slice | None = None
    ) -> None:
        self.owner = owner
        self.attribute = attribute
        self.layout = layout
        self.rows = slice(None) if rows is None else rows

    @property
    def tensor(self) -> torch.Tensor:
        """The whole tensor that holds the array."""
        tensor = getattr(self.owner, self.attribute)
        assert isinstance(tensor, torch.Tensor)
        return tensor

    def read(self) -> Array:
        """Return a copy of the canonical array."""
        return self._to_canonical(self.tensor)

    def read_gradient(self) -> Array:
        """Return a copy of the canonical gradient; zeros where the loss does not depend on it."""
        gradient = self.tensor.grad
        return self._to_canonical(torch.zeros_like(self.tensor) if gradient is None else gradient)

    def write(self, array: Array) -> None:
        """Set the canonical array in place.

        Raises:
            ValueError: the shape is wrong.
        """
        expected = self.shape
        if array.shape != expected:
            raise ValueError(f"shape {array.shape} instead of {expected}")
        values = torch.tensor(np.ascontiguousarray(self.layout.to_torch(array)))
        with torch.no_grad():
            self._part(self.tensor).copy_(values)

    def freeze(self) -> None:
        """Keep the tensor from being trained."""
        self.tensor.requires_grad_(False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape."""
        part = self._part(self.tensor)
        return self.layout.to_canonical(np.broadcast_to(np.float32(0), tuple(part.shape))).shape

    def _part(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor[self.rows] if tensor.dim() else tensor

    def _to_canonical(self, tensor: torch.Tensor) -> Array:
        part = self._part(tensor.detach()).to("cpu", copy=True)
        if part.dtype == torch.bfloat16:  # NumPy has no such type
            part = part.float()
        return np.ascontiguousarray(self.layout.to_canonical(part.numpy()))


class BiasSlot(Slot):
    """The one bias of an LSTM, canonical: torch adds two, which get the same gradient.

    Loaded, the first is the bias and the second zero; read, it is their sum.

    Args:
        owner: the LSTM.
    """

    def __init__(self, owner: torch.nn.LSTM) -> None:
        super().__init__(owner, "bias_ih_l0")
        self.second = Slot(owner, "bias_hh_l0")

    def read(self) -> Array:
        """Return the sum of the two."""
        total: Array = super().read() + self.second.read()
        return total

    def write(self, array: Array) -> None:
        """Set the first in place and clear the second."""
        super().write(array)
        with torch.no_grad():
            self.second.tensor.zero_()

    def freeze(self) -> None:
        """Keep both from being trained."""
        super().freeze()
        self.second.freeze()


class VarianceSlot(Slot):
    """The moving variance of a batch norm, canonical: averaged from *biased* batch variances.

    torch averages the unbiased ones, n/(n−1) times as large, n = elements a channel and batch.
    After t steps from a start v₀, torch holds  m^t·v₀ + n/(n−1)·a  where canonical form holds
    m^t·v₀ + a;  t is the module's own count since the last `write`.

    Args:
        owner: the batch norm.
        elements: elements a channel in the batches that were trained on.
    """

    def __init__(self, owner: torch.nn.modules.batchnorm._BatchNorm, elements: Callable[[], int]) -> None:
        super().__init__(owner, "running_var")
        self._norm = owner
        self._elements = elements
        self.start = super().read().astype(np.float64)

    def read(self) -> Array:
        """Return a copy of the canonical variance."""
        native = super().read()
        count = self._elements()
        steps = int(self._norm.num_batches_tracked) if self._norm.num_batches_tracked is not None else 0
        if steps == 0 or count < 2:
            return native
        share = (1.0 - float(self._norm.momentum or 0.0)) ** steps
        canonical = share * self.start + (native - share * self.start) * (count - 1) / count
        return np.asarray(canonical, dtype=native.dtype)

    def write(self, array: Array) -> None:
        """Set the variance in place and begin counting steps anew."""
        super().write(array)
        self.start = np.array(array, dtype=np.float64)
        if self._norm.num_batches_tracked is not None:
            self._norm.num_batches_tracked.zero_()
