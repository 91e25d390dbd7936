"""Programs that do one thing wrong, each with the checks that it fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from fwprof.testing.conformance.framework_programs import PROGRAM_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms, Outcome

MUTANTS = []
"""A broken plugin, and the checks that it fails with their messages: most fail one."""


def fails(**messages: str):
    def note(cls: type) -> type:
        MUTANTS.append(pytest.param(FakeFramework(programs_class=cls), messages, id=cls.__name__))
        return cls

    return note


# Programs: F


@fails(
    forward_gives_the_loss="the loss of F is off by",
    next_batch_is_ready_to_run="the loss of F on what D returned is off by",
    sequences_agree_with_the_reference="the loss of a sequence is off by",
)
class SumsItsLoss(FakePrograms):
    def forward(self, staged):
        return Outcome(super().forward(staged).loss * len(staged.targets))


@fails(
    forward_trains_nothing="parameters() of steps with F between: 0.kernel is off by",
    forward_gives_the_loss="the loss of F is off by",
    sequences_agree_with_the_reference="a sequence's gradient of 0.table is off by",
)
class TrainsInForward(FakePrograms):
    def forward(self, staged):
        outcome = super().forward(staged)
        super().run(staged)
        return outcome


@fails(forward_trains_nothing="parameters() of steps with F between: 0.kernel is off by")
class MovesMomentumInForward(FakePrograms):
    def forward(self, staged):
        for velocity in self.model.update.first.values():
            velocity *= 0.5
        return super().forward(staged)


# Programs: G


@fails(
    gradients_agree_with_the_reference="the gradient of 0.bias is off by",
    sequences_agree_with_the_reference="a sequence's gradient of 0.table is off by",
)
class SumsItsGradients(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        return Outcome(outcome.loss, {name: 16 * value for name, value in outcome.gradients.items()})


@fails(gradients_agree_with_the_reference="the loss of G is off by")
class GivesTheLossOfAnother(FakePrograms):
    def forward_backward(self, staged):
        return Outcome(1.0, super().forward_backward(staged).gradients)


@fails(
    gradients_are_complete="G returns no gradient for 3.kernel",
    parameters_and_gradients_take_their_shapes="gradient_memory is",
)
class DropsAGradient(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        return Outcome(outcome.loss, dict(list(outcome.gradients.items())[1:]))


@fails(
    gradients_are_complete="G returns a gradient for input",
    guards_notice_wrong_answers="guard gradients_complete did not notice",
    parameters_and_gradients_take_their_shapes="gradient_memory is",
)
class AddsAGradient(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        return Outcome(outcome.loss, {**outcome.gradients, "input": staged.inputs})


@fails(gradients_are_cleared="the gradients of a second G: 1.kernel is off by")
class AccumulatesGradients(FakePrograms):
    total: Mapping[str, Any] = {}

    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        self.total = {name: value + self.total.get(name, 0) for name, value in outcome.gradients.items()}
        return Outcome(outcome.loss, self.total)


@fails(
    gradients_train_nothing="parameters() of steps with G between: 0.kernel is off by",
    gradients_are_cleared="the gradients of a second G: 1.kernel is off by",
    guards_notice_wrong_answers="guard step_trains did not notice",
)
class TrainsInBackward(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        super().run(staged)
        return outcome


@fails(only_gradients_are_read="read returns gradients after S")
class GivesGradientsAfterEachStep(FakePrograms):
    def run(self, staged):
        return Outcome(super().run(staged).loss, {})


@fails(reading_changes_nothing="the gradients read again lacks 0.bias, 0.kernel, 1.bias, 1.kernel")
class CanBeReadOnce(FakePrograms):
    def read(self, result):
        loss, gradients = super().read(result)
        result.gradients = None
        return loss, gradients


# Programs: S


@fails(step_gives_the_loss="the loss of S is off by")
class GivesTheLossAfterTheStep(FakePrograms):
    def run(self, staged):
        super().run(staged)
        return super().forward(staged)


@fails(step_updates_as_the_optimizer_says="parameters() after step 2: 0.kernel is off by")
class HasNoMomentum(FakePrograms):
    def run(self, staged):
        self.model.update.clear()
        return super().run(staged)


@fails(step_moves_statistics="a training step leaves 1.moving_mean as it was")
class FreezesItsStatistics(FakePrograms):
    def run(self, staged):
        before = self.model.parameters()
        outcome = super().run(staged)
        self.model.load_parameters({name: before[name] for name in before if "moving" in name})
        return outcome


class AnswersLate(FakeModel):
    """Work goes on for a while after each step; whoever looks has to wait for it."""

    ready = 0.0

    def finish(self):
        time.sleep(max(0.0, self.ready - time.perf_counter()))

    def parameters(self):
        self.finish()
        return super().parameters()


class DoesNotWait(FakePrograms):
    def run(self, staged):
        outcome = super().run(staged)
        self.model.ready = time.perf_counter() + 0.02
        return outcome


MUTANTS.append(
    pytest.param(
        FakeFramework(model_class=AnswersLate, programs_class=DoesNotWait),
        {"wait_waits": "before the work was done"},
        id="LeavesWorkBehind",
    )
)


# Programs: D


@fails(next_batch_is_ready_to_run="the loss of F on what D returned is off by")
class ShufflesTargetsAway(FakePrograms):
    def next_batch(self):
        batch = super().next_batch()
        return type(batch)(batch.inputs, np.roll(batch.targets, 1))


@fails(next_batch_goes_on="D returns the same batch every time")
class RepeatsTheFirstBatch(FakePrograms):
    def __init__(self, model):
        super().__init__(model)
        self._pipeline = repeat(model.workload.batches[0])


@fails(next_batch_goes_on="D ends after 8 batches")
class EndsAfterOneEpoch(FakePrograms):
    def __init__(self, model):
        super().__init__(model)
        self._pipeline = iter(model.workload.batches)


# Loops of the framework's own


@fails(own_loops_train="two steps by api()['fit'] changed no parameter")
class HasALoopThatDoesNothing(FakePrograms):
    def api(self):
        return {"fit": lambda steps: None}


class ForgetsItsLoop(FakeModel):
    """What the loop trained outlives the next reset."""

    is_trained = False

    def reset(self):
        if not self.is_trained:
            super().reset()
        self.is_trained = False


class TrainsForGood(FakePrograms):
    def api(self):
        return {"fit": self._fit}

    def _fit(self, steps):
        super()._fit(steps)
        self.model.is_trained = True


MUTANTS.append(
    pytest.param(
        FakeFramework(model_class=ForgetsItsLoop, programs_class=TrainsForGood),
        {"own_loops_train": "parameters() after fit and reset: 0.kernel is off by"},
        id="TrainsForGood",
    )
)


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, failed_checks):
    failed = failed_checks(mutant)
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


@pytest.mark.parametrize("check", PROGRAM_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}
