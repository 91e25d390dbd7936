"""In which format a model computes: its own, or mixed as torch's users mix it.

Mixed is autocast, whose parameters stay float32; float16 has a gradient scaler too, since small
gradients would become zero in it.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from fwprof.plugin import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fwprof.plugin import CellPlan, Scalar
    from fwprof_torch.places import Place

    Loss = Callable[..., torch.Tensor]

MIXED = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precision of a cell → what torch casts to."""


class Precision:
    """The format of the parameters, for everything."""

    scale: float = 1.0
    """By which gradients are larger than they are, until a step is taken."""

    def context(self) -> AbstractContextManager[Any]:
        """Return what a forward pass runs in."""
        return nullcontext()

    def of_loss(self, loss: Loss) -> Loss:
        """Return the loss, computed in the format."""
        return loss

    def backward(self, loss: torch.Tensor) -> None:
        """Compute every gradient."""
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch

    def step_of(self, optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
        """Return what takes a step of the optimizer by gradients that `backward` made."""
        return optimizer.step

    def clear(self) -> None:
        """Begin as at the start."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of it."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""

    def settings(self) -> dict[str, Scalar]:
        """Return what is in force, as torch states it."""
        return {}


class Mixed(Precision):
    """Autocast to a format of 16 bits."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self._dtype, self._device = dtype, device

    def context(self) -> AbstractContextManager[Any]:
        """Return autocast."""
        return torch.autocast(self._device, self._dtype)

    def of_loss(self, loss: Loss) -> Loss:
        """Return the loss under autocast."""

        def mixed(*batch: Any) -> torch.Tensor:
            with torch.autocast(self._device, self._dtype):
                return loss(*batch)

        return mixed

    def settings(self) -> dict[str, Scalar]:
        """Return the format that torch casts to."""
        with self.context():
            dtype = torch.get_autocast_dtype(self._device)
            enabled = torch.is_autocast_enabled(self._device)
        return {"compute_dtype": str(dtype).removeprefix("torch.")} if enabled else {}


class Scaled(Mixed):
    """Autocast, with gradients that are scaled up as far as the format allows."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        super().__init__(dtype, device)
        self._scaler = torch.amp.GradScaler(device)
        self._start = self._scaler.state_dict()

    @property
    def scale(self) -> float:  # type: ignore[override]  # read from torch
        """Return by which gradients are larger than they are."""
        return float(self._scaler.get_scale())

    def backward(self, loss: torch.Tensor) -> None:
        """Compute every gradient, scaled."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # untyped in torch

    def step_of(self, optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
        """Return what takes a step where all gradients are finite, and adapts the scale."""
        scaler = self._scaler

        def step() -> None:
            scaler.step(optimizer)
            scaler.update()

        return step

    def clear(self) -> None:
        """Begin with the scale of the start."""
        self._scaler.load_state_dict(self._start)

    def state(self) -> dict[str, Any]:
        """Return the scale and how long it has held."""
        return self._scaler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self._scaler.load_state_dict(state)

    def settings(self) -> dict[str, Scalar]:
        """Return format and scale."""
        return {**super().settings(), "gradient_scale": self.scale}


def precision_of(cell: CellPlan, place: Place) -> Precision:
    """Return how a cell computes."""
    dtype = MIXED.get(cell.precision)
    if dtype is None:
        return Precision()
    kind = Scaled if dtype == torch.float16 else Mixed
    return kind(dtype, place.device.type)


def require_lstm(precision: Precision, name: str, device: torch.device) -> None:
    """Try an LSTM of one unit: in float16 oneDNN has one on few processors.

    Raises:
        UnsupportedError: torch has none in the format there.
    """

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=device)

    weights = [zeros(4, 1), zeros(4, 1), zeros(4), zeros(4)]
    try:
        with torch.no_grad(), precision.context():
            torch.lstm(
                zeros(1, 1, 1), [zeros(1, 1, 1)] * 2, weights, True, 1, 0.0, False, False, batch_first=True
            )
    except RuntimeError as error:
        raise UnsupportedError(
            f"torch has no LSTM in {name} on this {device.type}",
            cause=str(error).partition(".")[0],
            next="another --precision, or another --device",
        ) from error


def product_dtype(cell: CellPlan) -> torch.dtype:
    """Return the format of the numbers that a cell's matrix products multiply."""
    return MIXED.get(cell.precision, torch.float64 if cell.precision == "float64" else torch.float32)
