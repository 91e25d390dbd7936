"""Layers run alone that do one thing wrong, each with the checks that it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fwprof.errors import UnsupportedError
from fwprof.plugin import layers as kinds
from fwprof.testing.conformance.framework_layers import LAYER_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel
from fwprof.testing.fake_layers import FakeLayer

MUTANTS = []
"""A broken layer, and the checks that it fails with their messages."""
OUTPUTS, GRADIENTS = "layers_give_their_outputs", "layers_compute_every_gradient"


def fails(messages: Mapping[str, str]):
    def note(cls: type) -> type:
        class Model(FakeModel):
            def open_layer(self, case):
                return cls(self, case)

        MUTANTS.append(pytest.param(FakeFramework(model_class=Model), messages, id=cls.__name__))
        return cls

    return note


@fails({OUTPUTS: "has shape (8, ", GRADIENTS: "has shape (8, "})
class TakesHalfTheBatch(FakeLayer):
    def __init__(self, model, case):
        half = len(case.inputs) // 2
        super().__init__(model, replace(case, inputs=case.inputs[:half], upstream=case.upstream[:half]))


@fails({OUTPUTS: "what F of layer 0 of plain gives is off by"})
class ForgetsTheBias(FakeLayer):
    def forward(self):
        outcome = super().forward()
        return replace(outcome, outputs=outcome.outputs - outcome.outputs.mean())


@fails({OUTPUTS: "F of layer 0 of plain gives gradients"})
class DifferentiatesInF(FakeLayer):
    def forward(self):
        return self.forward_backward()


@fails({GRADIENTS: "what G of layer 0 of plain gives is off by"})
class DropsTheForwardPass(FakeLayer):
    def forward_backward(self):
        outcome = super().forward_backward()
        return replace(outcome, outputs=0 * outcome.outputs)


@fails({GRADIENTS: "lacks inputs"})
class LeavesOutTheInputs(FakeLayer):
    def forward_backward(self):
        outcome = super().forward_backward()
        outcome.gradients.pop("inputs", None)
        return outcome


@fails({GRADIENTS: "layer 0 of plain: the gradient of 0.bias is off by"})
class IgnoresUpstream(FakeLayer):
    def __init__(self, model, case):
        super().__init__(model, case)
        self.upstream = 0 * self.upstream + 1


@fails({"layers_leave_the_model_alone": "a layer run alone changed 0.bias"})
class Trains(FakeLayer):
    def forward_backward(self):
        outcome = super().forward_backward()
        for name, gradient in outcome.gradients.items():
            if name != "inputs":
                self.model.network.values[name] -= 1e-9 + 1e-3 * gradient
        return outcome


@pytest.mark.parametrize(("plugin", "messages"), MUTANTS)
def test_a_broken_layer_fails_its_checks(plugin: object, messages: dict[str, str], failed_checks):
    failed = failed_checks(plugin, LAYER_CHECKS)
    assert failed.keys() == messages.keys()
    for name, told in messages.items():
        assert told in failed[name]


def test_each_check_is_failed_by_some_mutant():
    known = {name for mutant in MUTANTS for name in mutant.values[1]}
    assert known == {check.__name__.removeprefix("check_") for check in LAYER_CHECKS}


def test_the_fake_layers_pass(failed_checks):
    assert failed_checks(FakeFramework(), LAYER_CHECKS) == {}


class OpensNone(FakeModel):
    open_layer = None


class OpensNoDenseLayer(FakeModel):
    def open_layer(self, case):
        if isinstance(case.layer.layer, kinds.Dense):
            raise UnsupportedError("no dense layer alone")
        return super().open_layer(case)


@pytest.mark.parametrize("model_class", [OpensNone, OpensNoDenseLayer])
def test_a_model_that_opens_no_layer_or_not_all_is_fine(model_class, failed_checks):
    assert failed_checks(FakeFramework(model_class=model_class), LAYER_CHECKS) == {}
