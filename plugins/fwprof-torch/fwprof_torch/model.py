"""What the core asks of any model of this plugin: settings, parameters, files, compilations.

Neutral workloads (`neutral`) and the user's own models (`native`) differ in how a batch is staged,
how the start is restored and what is predicted from; all else is here.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from fwprof.plugin import Description, Format
from fwprof_torch.layout import VarianceSlot
from fwprof_torch.precision import MIXED, precision_of
from fwprof_torch.settings import notable_settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from fwprof.plugin import CellPlan, Scalar, Staged
    from fwprof_torch.layout import Slot
    from fwprof_torch.modes import Mode
    from fwprof_torch.places import Place

    Array = NDArray[Any]
    Loss = Callable[..., torch.Tensor]


class TorchModel(ABC):
    """Module, loss and optimizer on one device.

    Args:
        module: on the device, in training mode.
        optimizer: of the module's parameters.
        loss: called with a staged batch's parts; returns the mean loss.
        parameters: canonical name → place, of what is trained.
        state: the same of statistics, which training moves without gradients, and of what is frozen.
    """

    verified_with: tuple[str, ...] = ()
    """How a program that is verified differs from the timed one."""
    part_count: int = 1
    """Parts that a staged batch is cut into, whose gradients are accumulated; 1: it is not cut."""

    def __init__(
        self,
        *,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        parameters: Mapping[str, Slot],
        state: Mapping[str, Slot],
        place: Place,
        mode: Mode,
        cell: CellPlan,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.precision = precision_of(cell, place)
        loss = self.precision.of_loss(loss)
        # Module and loss are compiled together, so that the backward pass is compiled with them.
        self.loss: Loss = torch.compile(loss) if mode.is_compiled else loss
        self.update: Callable[[], Any] = (
            _compiled_step(optimizer) if mode.compile_optimizer else self.precision.step_of(optimizer)
        )
        self.place = place
        self.cell = cell
        self._slots = {**parameters, **state}
        self._trained = parameters
        # Asked now: the first compilation fills the folder.
        self._has_warm_cache = mode.has_warm_cache()
        # torch counts for the process; what was compiled before is another model's.
        self._breaks_before = _count_all("graph_break")

    @property
    def parameter_count(self) -> int:
        """Numbers in all parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Samples in the batches that are trained on."""

    @abstractmethod
    def stage(self, batch: Any) -> Staged:
        """Put one batch on the device and wait until it is there."""

    @abstractmethod
    def next_batch(self) -> Staged:
        """Fetch one batch from the data pipeline and stage it."""

    @abstractmethod
    def reset(self) -> None:
        """Restore the start in place."""

    @abstractmethod
    def infer(self, staged: Staged) -> torch.Tensor:
        """Return the outputs for a staged batch, in whatever mode the module is in."""

    def parameters(self) -> Mapping[str, Array]:
        """Return copies of parameters and batch statistics by canonical name."""
        return {name: slot.read() for name, slot in self._slots.items()}

    def gradients(self) -> Mapping[str, Array]:
        """Return copies of the gradients of the last backward pass by canonical name."""
        scale = self.precision.scale
        found = {name: slot.read_gradient() for name, slot in self._trained.items()}
        return found if scale == 1 else {name: gradient / scale for name, gradient in found.items()}

    def load_parameters(self, values: Mapping[str, Array]) -> None:
        """Set parameters and batch statistics from canonical arrays, in place.

        Raises:
            ValueError: a name is unknown or a shape is wrong.
        """
        unknown = sorted(set(values) - set(self._slots))
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}")
        for name, array in values.items():
            try:
                self._slots[name].write(array)
            except ValueError as error:
                raise ValueError(f"parameter {name!r}: {error}") from error

    def predict(self, staged: Staged) -> Array:
        """Return the outputs `(batch, classes)` in inference mode, changing nothing."""
        self.module.eval()
        try:
            with torch.no_grad(), self.precision.context():
                outputs = self.infer(staged)
        finally:
            self.module.train()
        if outputs.dtype in MIXED.values():
            outputs = outputs.float()
        array: Array = outputs.cpu().numpy()
        return array

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from torch."""
        found = read_settings(
            self.module,
            self.optimizer,
            is_compiled=self._is_compiled(),
            is_optimizer_compiled=_is_wrapped(self.update),
        )
        if self._is_compiled():
            # Known after the first step: torch compiles at the first call.
            found["graph_breaks"] = _count_all("graph_break") - self._breaks_before
        return found | self.precision.settings()

    def describe(self) -> Description:
        """Return mode and device as resolved."""
        parameters = list(self.module.parameters())
        return Description(
            mode="compile" if self._is_compiled() else "eager",
            native_device="+".join(sorted({str(parameter.device) for parameter in parameters})),
            settings=dict(self.settings()),
            versions={"torch": str(torch.__version__), **self.place.versions()},
            parameter_count=self.parameter_count,
            batch_size=self.batch_size,
            labels=("warm_cache",) if self._has_warm_cache else (),
            notable=notable_settings(self.place),
            verified_with=self.verified_with,
        )

    def compilations(self) -> int:
        """Return how many graphs torch compiled so far in this process, recompilations included."""
        return _count("stats", "unique_graphs")

    def save(self, path: Path) -> None:
        """Write parameters and optimizer state with torch.save."""
        torch.save(
            {
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.precision.state(),
                "variance_starts": {
                    name: torch.tensor(slot.start)
                    for name, slot in self._slots.items()
                    if isinstance(slot, VarianceSlot)
                },
            },
            path,
        )

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        saved = torch.load(path, map_location=self.place.device, weights_only=True)
        self.module.load_state_dict(saved["module"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.precision.load(saved["precision"])
        for name, start in saved["variance_starts"].items():
            slot = self._slots[name]
            assert isinstance(slot, VarianceSlot)
            slot.start = start.cpu().numpy()
        self.place.wait()

    def formats(self) -> Mapping[str, Format]:
        """Return `state_dict`, torch's one way; where dropout's generator stands is not part of it."""
        return {
            "state_dict": Format(
                holds=("parameters", "statistics", "optimizer"), save=self.save, restore=self.restore
            )
        }

    def _is_compiled(self) -> bool:
        # A user's own model may come compiled, as a module or in place.
        return _is_wrapped(self.loss) or any(
            hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
            for module in self.module.modules()
        )


def _compiled_step(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    @torch.compile
    def update() -> None:
        optimizer.step()

    return update


def _is_wrapped(function: object) -> bool:
    return hasattr(function, "_torchdynamo_orig_callable")


def _count(kind: str, name: str) -> int:
    return int(_counters(kind).get(name, 0))


def _count_all(kind: str) -> int:
    return sum(_counters(kind).values())


def _counters(kind: str) -> Mapping[str, int]:
    # torch imports this module itself, on its first need; asking must not be that need.
    utils = sys.modules.get("torch._dynamo.utils")
    found: Mapping[str, int] = {} if utils is None else utils.counters[kind]
    return found
