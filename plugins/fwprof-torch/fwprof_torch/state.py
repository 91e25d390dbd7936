"""Where training began, and the way back there in place, so that nothing is compiled anew."""

from __future__ import annotations

import os
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

    from fwprof_torch.places import Place

_STARTING_AT_ZERO = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
"""Optimizers whose state, made at the first step, is zero before it."""


def clear_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Bring the state that an optimizer made since its start back to that start.

    Zeroed in place where zero is what a fresh state holds; else dropped, to be made anew.
    """
    for parameter in list(optimizer.state):
        _clear(optimizer, parameter)


def _clear(optimizer: torch.optim.Optimizer, parameter: Any) -> None:
    is_zero_start = type(optimizer) in _STARTING_AT_ZERO and not any(
        group.get("dampening") for group in optimizer.param_groups
    )
    if not is_zero_start:
        del optimizer.state[parameter]
        return
    for value in optimizer.state[parameter].values():
        if isinstance(value, torch.Tensor):
            value.zero_()


class StartState:
    """Everything a training step of the user's own model may move, as it was after the build.

    Kept in a file that is mapped when it is read back: a copy in memory would count as the model's.

    Args:
        folder: where to write the file.
    """

    def __init__(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, place: Place, folder: Path
    ) -> None:
        self._module = module
        self._optimizer = optimizer
        self._place = place
        # A name of its own: several models of one process may share the folder.
        handle, name = mkstemp(prefix="start-", suffix=".pt", dir=folder)
        os.close(handle)
        self._path = name
        torch.save(
            {
                "tensors": self._tensors(),
                "optimizer": optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "device_random": None if place.is_host else place.module.get_rng_state(place.device),
            },
            name,
        )

    def restore(self) -> None:
        """Copy the start back into the same tensors, and the random state of torch with it."""
        # The file is this process's own, and optimizers may keep objects of any class in it.
        saved = torch.load(self._path, map_location="cpu", mmap=True, weights_only=False)
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(saved["tensors"][name])
            self._restore_optimizer(saved["optimizer"])
        self._optimizer.zero_grad()
        torch.set_rng_state(saved["random"].clone())
        if not self._place.is_host:
            self._place.module.set_rng_state(saved["device_random"].clone(), self._place.device)

    def _tensors(self) -> dict[str, torch.Tensor]:
        parameters = {name: parameter.detach() for name, parameter in self._module.named_parameters()}
        return parameters | dict(self._module.named_buffers())

    def _restore_optimizer(self, saved: dict[str, Any]) -> None:
        for group, saved_group in zip(self._optimizer.param_groups, saved["param_groups"], strict=True):
            for parameter, number in zip(group["params"], saved_group["params"], strict=True):
                if number in saved["state"]:
                    _copy_into(self._optimizer.state[parameter], saved["state"][number])
                elif parameter in self._optimizer.state:
                    _clear(self._optimizer, parameter)
            _copy_into(group, {key: value for key, value in saved_group.items() if key != "params"})


def _copy_into(target: dict[str, Any], saved: dict[str, Any]) -> None:
    for key, value in saved.items():
        if isinstance(value, torch.Tensor) and isinstance(target.get(key), torch.Tensor):
            target[key].copy_(value)
        else:
            target[key] = value.clone() if isinstance(value, torch.Tensor) else value
