"""A framework that computes almost the same: one trap of porting a model for each variant.

Owns the traps. `--plugin wrong:gate_order` falls into one of them, everything else is the fake
framework; each must be found by verification (docs/reference/equivalence.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from fwprof.errors import UnsupportedError
from fwprof.plugin import Device, LoadedWorkload, Model, Options, hookimpl
from fwprof.records.workload import Adam, BatchNorm, ResolvedLayer
from fwprof.testing.clock import Phases
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms, Outcome
from fwprof.testing.numpy_network import Update

if TYPE_CHECKING:
    from fwprof.plugin import Batch
    from fwprof.testing.numpy_network import Array

NAME = "wrong"
TRAPS = {
    "gate_order": "an LSTM's gates taken as i, f, o, g",
    "double_bias": "an LSTM's bias trained twice over, as two biases are",
    "epsilon_form": "Adam's epsilon added to the corrected root, not to the plain one",
    "layout": "a dense kernel taken as (out, in)",
    "flatten_order": "images flattened channels first",
    "dropped_gradient": "one gradient left at zero",
    "loss_reduction": "the loss summed over the batch, not averaged",
    "batch_norm_momentum": "the share of the moving statistics that is kept, taken as the new one",
    "unbiased_variance": "moving variances of n - 1",
}
"""Variant → what is wrong."""


class WrongModel(FakeModel):
    """A model with one trap in it."""

    def __init__(self, workload: LoadedWorkload, device: Device, options: Options, phases: Phases) -> None:
        self.trap = options.cell.choice.variant or ""
        if self.trap not in TRAPS:
            raise UnsupportedError(f"there is no trap {self.trap!r}", cause=f"traps are {', '.join(TRAPS)}")
        if self.trap == "batch_norm_momentum":
            workload = _with_turned_momentum(workload)
        super().__init__(workload, device, options, phases)
        self.initial = {name: self._convert(name, value) for name, value in self.initial.items()}
        for name, value in self.initial.items():
            self.network.values[name][...] = value
        if self.trap == "epsilon_form":
            self.update = _OtherEpsilon(self.spec.optimizer)

    @property
    def variant(self) -> str:
        """The mode that is shown."""
        return self.trap

    def stage(self, batch: Any) -> Batch:
        """Copy one batch."""
        staged = super().stage(batch)
        if self.trap == "flatten_order" and staged.inputs.ndim == 4:
            shape = staged.inputs.shape
            staged.inputs[...] = np.ascontiguousarray(np.moveaxis(staged.inputs, -1, 1)).reshape(shape)
        return staged

    def parameters(self) -> Mapping[str, Array]:
        """Return copies, converted back the same wrong way."""
        return {name: self._convert(name, value) for name, value in super().parameters().items()}

    def wrong_gradients(self, gradients: Mapping[str, Array], batch_size: int) -> dict[str, Array]:
        """Return the gradients as the trap leaves them, in the network's own layout."""
        found = dict(gradients)
        if self.trap == "dropped_gradient":
            last = next(reversed(found))
            first = next(name for name in found if name != last)
            found[first] = np.zeros_like(found[first])
        if self.trap == "loss_reduction":
            found = {name: value * batch_size for name, value in found.items()}
        if self.trap == "double_bias":
            lstm = {name.rpartition(".")[0] for name in found if name.endswith(".recurrent_kernel")}
            for path in lstm:
                found[f"{path}.bias"] = 2 * found[f"{path}.bias"]
        return found

    def move_variances(self, before: Mapping[str, Array], batch_size: int) -> None:
        """Make the last move of the moving variances that of unbiased ones."""
        if self.trap == "unbiased_variance":
            for name, value in self.network.values.items():
                if name.endswith(".moving_variance"):
                    value += (value - 0.9 * before[name]) / (batch_size - 1)

    def _convert(self, name: str, value: Array) -> Array:
        """Return a parameter in the wrong layout; twice gives the right one again."""
        if self.trap == "gate_order" and f"{name.rpartition('.')[0]}.recurrent_kernel" in self.initial:
            parts = np.split(value, 4, axis=-1)
            return np.concatenate([parts[0], parts[1], parts[3], parts[2]], axis=-1)
        if self.trap == "layout" and value.ndim == 2 and value.shape[0] == value.shape[1]:
            return value.T.copy()
        return value


class WrongPrograms(FakePrograms):
    """Programs that differentiate as the trap has it."""

    model: WrongModel

    def read(self, result: Outcome) -> tuple[float, Mapping[str, Array] | None]:
        """Return the loss and the gradients, converted as the parameters are."""
        loss, gradients = super().read(result)
        if gradients is None:
            return loss, None
        return loss, {name: self.model._convert(name, value) for name, value in gradients.items()}

    def _differentiate(self, staged: Batch) -> Outcome:
        before = {name: value.copy() for name, value in self.model.network.values.items()}
        outcome = super()._differentiate(staged)
        size = len(staged.inputs)
        self.model.move_variances(before, size)
        gradients = self.model.wrong_gradients(outcome.gradients or {}, size)
        factor = size if self.model.trap == "loss_reduction" else 1
        return Outcome(outcome.loss * factor, gradients)


class _OtherEpsilon(Update):
    """Adam as frameworks have it that add epsilon to the corrected root: √v̂ + ε."""

    def _adapt(self, adam: Adam, name: str, value: Array, gradient: Array) -> None:
        scaled = replace(adam, epsilon=adam.epsilon * sqrt(1 - adam.beta_2**self.step_count))
        super()._adapt(scaled, name, value, gradient)


def _with_turned_momentum(workload: LoadedWorkload) -> LoadedWorkload:
    return dataclasses.replace(workload, layers=tuple(map(_turn_momentum, workload.layers)))


def _turn_momentum(resolved: ResolvedLayer) -> ResolvedLayer:
    if not isinstance(resolved.layer, BatchNorm):
        return resolved
    return replace(resolved, layer=replace(resolved.layer, momentum=1 - resolved.layer.momentum))


class WrongFramework(FakeFramework):
    """The plugin: `fwprof.testing.wrong_framework:plugin`."""

    @hookimpl
    def build_model(self, workload: LoadedWorkload, device: Device, options: Options) -> Model:
        """Build the network of `workload`, wrong in one thing."""
        return WrongModel(workload, device, options, Phases({}))


plugin = WrongFramework(model_class=WrongModel, programs_class=WrongPrograms)
