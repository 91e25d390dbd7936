"""Models that do one thing wrong, each with the checks that it fails."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.testing.conformance.framework_model import MODEL_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel

MUTANTS = []
"""A broken plugin, and the checks that it fails with their messages: most fail one."""


def fails(**messages: str):
    def note(cls: type) -> type:
        MUTANTS.append(pytest.param(FakeFramework(model_class=cls), messages, id=cls.__name__))
        return cls

    return note


# Parameters


@fails(
    parameters_are_canonical="parameters(): 0.kernel has shape (16, 12), not (12, 16)",
    statistics_are_canonical="parameters(): 0.kernel has shape (16, 12), not (12, 16)",
    loading_sets_parameters="parameters() after load_parameters: 0.kernel has shape (16, 12), not (12, 16)",
    step_updates_as_the_optimizer_says="parameters() after step 1: 0.kernel has shape (16, 12), not (12, 16)",
)
class TransposesKernels(FakeModel):
    def parameters(self):
        return {name: value.T for name, value in super().parameters().items()}


@fails(
    statistics_are_canonical="parameters() lacks 1.moving_mean, 1.moving_variance",
    loading_sets_parameters="parameters() after load_parameters lacks 1.moving_mean, 1.moving_variance",
)
class HidesItsStatistics(FakeModel):
    def parameters(self):
        return {name: value for name, value in super().parameters().items() if "moving" not in name}


@fails(
    parameters_are_copies="parameters() after its copies changed: 0.kernel is off by",
    guards_notice_wrong_answers="guard forward_changes_nothing did not notice",
)
class GivesItsParametersAway(FakeModel):
    def parameters(self):
        return self.network.values


@fails(loading_sets_parameters="parameters() after load_parameters: 0.kernel is off by")
class LoadsNothing(FakeModel):
    def load_parameters(self, values):
        kept = self.parameters()
        super().load_parameters(values)
        super().load_parameters(kept)

    def reset(self):
        super().reset()
        super().load_parameters(self.initial)


@fails(loading_refuses_an_unknown_name="load_parameters accepted no.such.parameter of shape (3,)")
class IgnoresUnknownNames(FakeModel):
    def load_parameters(self, values):
        super().load_parameters({name: values[name] for name in values if name in self.network.values})


@fails(loading_refuses_a_wrong_shape="load_parameters accepted 0.kernel of shape (16, 12)")
class ReshapesWhatItLoads(FakeModel):
    def load_parameters(self, values):
        known = self.network.values
        super().load_parameters(
            {name: np.reshape(values[name], known[name].shape) if name in known else 0 for name in values}
        )


@fails(
    loading_refuses_an_unknown_name="the ValueError does not name no.such.parameter: wrong",
    loading_refuses_a_wrong_shape="the ValueError does not name 0.kernel: wrong",
)
class RefusesWithoutAName(FakeModel):
    def load_parameters(self, values):
        try:
            super().load_parameters(values)
        except ValueError:
            raise ValueError("wrong") from None


# Reset


@fails(reset_restores_parameters="parameters() after reset: 0.bias is off by")
class KeepsItsBiases(FakeModel):
    def reset(self):
        kept = {name: value for name, value in self.parameters().items() if "bias" in name}
        super().reset()
        self.load_parameters(kept)


@fails(reset_restores_statistics="1.moving_mean after reset is off by")
class KeepsItsStatistics(FakeModel):
    def reset(self):
        kept = {name: value for name, value in self.parameters().items() if "moving" in name}
        super().reset()
        self.load_parameters(kept)


@fails(reset_restores_the_optimizer="parameters() of the same steps after reset: 0.kernel is off by")
class KeepsItsMomentum(FakeModel):
    def reset(self):
        kept = self.update.first
        super().reset()
        self.update.first = kept


@fails(reset_restores_the_random_state="losses under dropout after reset is off by")
class KeepsItsRandomState(FakeModel):
    def reset(self):
        kept = self.network.random
        super().reset()
        self.network.random = kept


@fails(reset_does_not_compile="compilations() went from 0 to 1 by reset")
class CompilesAtReset(FakeModel):
    def reset(self):
        super().reset()
        self.compiled.add(("reset", (len(self.compiled),)))


# Predict, save, restore


@fails(
    predict_agrees_with_the_reference="predict is off by",
    predict_infers="predict with dropout is off by",
    sequences_agree_with_the_reference="predict of a sequence is off by",
)
class PredictsShares(FakeModel):
    def predict(self, staged):
        logits = super().predict(staged)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@fails(predict_infers="predict with dropout is off by")
class PredictsInTrainingMode(FakeModel):
    def predict(self, staged):
        before, random = self.parameters(), self.network.random
        self.network.random = np.random.default_rng(0)
        outputs = self.network.outputs(staged.inputs, is_training=True)[0]
        self.load_parameters(before)
        self.network.random = random
        return outputs


@fails(predict_changes_nothing="parameters() with dropout and predict: 0.kernel is off by")
class DrawsWhilePredicting(FakeModel):
    def predict(self, staged):
        self.network.random.random()
        return super().predict(staged)


@fails(predict_changes_nothing="parameters() with plain and predict: 0.kernel is off by")
class ForgetsMomentumWhilePredicting(FakeModel):
    def predict(self, staged):
        self.update.clear()
        return super().predict(staged)


@fails(save_and_restore="parameters() a step after restore: 0.kernel is off by")
class SavesNoMomentum(FakeModel):
    def save(self, path):
        kept, self.update.first = self.update.first, {}
        super().save(path)
        self.update.first = kept


@fails(save_and_restore="parameters() a step after restore: 0.kernel is off by")
class RestoresNoParameters(FakeModel):
    def restore(self, path):
        kept = self.parameters()
        super().restore(path)
        self.load_parameters(kept)


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, failed_checks):
    failed = failed_checks(mutant)
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}
