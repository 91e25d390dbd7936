"""Plugins that fall into one trap of equal work each, with the checks that they fail.

Most are right when they are timed: only a cell that is verified shows what they do.
"""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from fwprof.plugin import layers
from fwprof.testing.conformance import FRAMEWORK_CHECKS
from fwprof.testing.conformance.framework_verification import VERIFICATION_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms, Outcome
from fwprof.testing.numpy_network import Network, Update

MUTANTS = []
"""A broken plugin, and the checks that it fails with their messages."""
ANSWERS = "verified_answers_agree_with_the_reference"
STEPS = "verified_steps_take_the_canonical_form"
LAYER_OUTPUTS, LAYER_GRADIENTS = "layers_give_their_outputs", "layers_compute_every_gradient"
RESIZES, CROPS = "pipeline_resizes_as_defined", "pipeline_crops_and_flips"
TIMED = "sequences_agree_with_the_reference"


def fails(**messages: str):
    def note(cls: type) -> type:
        changes = {"programs_class" if issubclass(cls, FakePrograms) else "model_class": cls}
        MUTANTS.append(pytest.param(FakeFramework(**changes), messages, id=cls.__name__))
        return cls

    return note


def with_network(cls: type[Network]) -> type[FakeModel]:
    return type(cls.__name__, (FakeModel,), {"network_class": cls})


# Layouts


class GatesInAnotherOrder(Network):
    def _lstm(self, path, layer, inputs):
        """Take the gates as i, f, o, g."""
        kept = self.values
        swapped = {
            name: np.concatenate([np.split(kept[name], 4, axis=-1)[gate] for gate in (0, 1, 3, 2)], axis=-1)
            for name in kept
            if name.startswith(f"{path}.")
        }
        self.values = {**kept, **swapped}
        try:
            return super()._lstm(path, layer, inputs)
        finally:
            self.values = kept


fails(
    **{
        TIMED: "predict of a sequence is off by",
        ANSWERS: "verified outputs of sequence is off by",
        STEPS: "verified parameters of sequence: 0.table is off by",
        LAYER_OUTPUTS: "what F of layer 1 of sequence gives is off by",
        LAYER_GRADIENTS: "what G of layer 1 of sequence gives is off by",
    }
)(with_network(GatesInAnotherOrder))


class FlattensChannelsFirst(Network):
    def apply(self, resolved, inputs, *, is_training):
        if isinstance(resolved.layer, layers.Flatten):
            inputs = np.moveaxis(inputs, -1, 1)
        return super().apply(resolved, inputs, is_training=is_training)


fails(
    **{
        ANSWERS: "verified outputs of image is off by",
        STEPS: "verified parameters of image: 1.kernel is off by",
        RESIZES: "what a model answers to resized images is off by",
        CROPS: "the pipeline gives what is in no sample",
        LAYER_OUTPUTS: "what F of layer 0 of image gives is off by",
    }
)(with_network(FlattensChannelsFirst))


# Losses and gradients


class SumsABinaryLoss(Network):
    def loss_and_pull(self, inputs, targets):
        loss, pull = super().loss_and_pull(inputs, targets)
        factor = targets.size if self.loss_kind == "binary_cross_entropy" else 1
        return loss * factor, lambda: {name: value * factor for name, value in pull().items()}


fails(
    **{
        TIMED: "a sequence's gradient of 0.table is off by",
        ANSWERS: "the verified loss of image is off by",
        STEPS: "verified parameters of image: 1.kernel is off by",
    }
)(with_network(SumsABinaryLoss))


@fails(**{ANSWERS: "verified gradients of sequence lacks 0.table"})
class DropsAGradient(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        kept = {name: value for name, value in outcome.gradients.items() if name != "0.table"}
        return Outcome(outcome.loss, kept)


@fails(
    **{TIMED: "a sequence's gradient of 0.table is off by", ANSWERS: "gradients of sequence: 0.table is off"}
)
class TrainsNoTable(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        if "0.table" in outcome.gradients:
            outcome.gradients["0.table"] = np.zeros_like(outcome.gradients["0.table"])
        return outcome


# The program that is verified


@fails(
    **{
        ANSWERS: "verified outputs of batch_norm is off by",
        "verification_is_described": "verified_with of batch_norm in float64 is empty",
    }
)
class ComputesInFloat32(FakeModel):
    def __init__(self, workload, device, options, phases):
        super().__init__(workload, device, options, phases)
        self.dtype = np.dtype(np.float32)
        self.initial = {name: value.astype(self.dtype) for name, value in self.initial.items()}
        values = {name: value.copy() for name, value in self.initial.items()}
        self.network = Network(self.network.layers, values, 0, self.spec.loss)

    def describe(self):
        return replace(super().describe(), verified_with=())


@fails(
    **{
        ANSWERS: "the verified loss of image is off by",
        STEPS: "verified parameters of image: 1.kernel is off by",
    }
)
class DropsWhenVerified(FakeModel):
    def __init__(self, workload, device, options, phases):
        super().__init__(workload, device, options, phases)
        self.network.layers = self.workload.layers


class OwnForm(Update):
    """Adam with √v̂ + ε, as it is written in algorithm 1 of its paper."""

    def _adapt(self, adam, name, value, gradient):
        scale = np.sqrt(1 - adam.beta_2 ** (self.step_count))
        super()._adapt(replace(adam, epsilon=adam.epsilon * scale), name, value, gradient)


@fails(**{STEPS: "verified parameters of image: 1.kernel is off by"})
class HasAdamsOtherEpsilon(FakeModel):
    def __init__(self, workload, device, options, phases):
        super().__init__(workload, device, options, phases)
        self.update = OwnForm(self.spec.optimizer)


@fails(**{STEPS: "verified parameters of sequence: 1.kernel is off by"})
class TrainsTwoBiases(FakePrograms):
    def run(self, staged):
        values = self.model.network.values
        biases = {name: values[name].copy() for name in values if name in ("1.bias", "2.bias")}
        outcome = super().run(staged)
        if "0.table" in values:
            for name, before in biases.items():
                values[name] += values[name] - before
        return outcome


@fails(**{STEPS: "verified parameters of batch_norm: 1.moving_variance is off by"})
class AveragesUnbiasedVariances(FakeModel):
    def parameters(self):
        values = dict(super().parameters())
        if self.cell.is_verification and "1.moving_variance" in values:
            start, share = self.initial["1.moving_variance"], 0.9**self.update.step_count
            values["1.moving_variance"] = (
                share * start + (values["1.moving_variance"] - share * start) * 16 / 15
            )
        return values


@fails(verification_is_described="verified_with of batch_norm in float64 is empty")
class SaysNotHowItIsVerified(FakeModel):
    def describe(self):
        return replace(super().describe(), verified_with=())


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, failed_checks):
    failed = failed_checks(mutant, FRAMEWORK_CHECKS)
    assert failed.keys() == messages.keys()
    assert {check: failed[check] for check, text in messages.items() if text not in failed[check]} == {}


@pytest.mark.parametrize("check", VERIFICATION_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}
