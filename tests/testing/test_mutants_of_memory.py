"""Programs that tell their memory wrong, each with the checks that it fails."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fwprof.plugin import Reading
from fwprof.testing.conformance.framework_memory import MEMORY_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakePrograms

MUTANTS = []
"""A broken plugin, and the checks that it fails with their messages."""


def fails(**messages: str):
    def note(cls: type) -> type:
        MUTANTS.append(pytest.param(FakeFramework(programs_class=cls), messages, id=cls.__name__))
        return cls

    return note


class Changes(FakePrograms):
    """Tells the truth but for one reading."""

    name = "parameter_memory"

    def change(self, reading: Reading) -> Reading:
        return reading

    def memory(self, staged):
        found = dict(super().memory(staged))
        return found | {self.name: self.change(found[self.name])}


@fails(memory_by_category_is_honest="activation_memory is null without a reason")
class GivesNoReason(Changes):
    name = "activation_memory"

    def change(self, reading):
        return replace(reading, reason="")


@fails(memory_by_category_is_honest="parameter_memory does not say what was counted")
class GivesNoBasis(Changes):
    def change(self, reading):
        return replace(reading, basis="")


@fails(memory_by_category_is_honest="gradient_memory is in 'MB', not in bytes")
class HasAnotherUnit(Changes):
    name = "gradient_memory"

    def change(self, reading):
        return replace(reading, unit="MB")


@fails(parameters_and_gradients_take_their_shapes="parameter_memory is ")
class CountsParametersTwice(Changes):
    def change(self, reading):
        return replace(reading, value=2 * reading.value)


@fails(adam_takes_two_moments="optimizer_memory is ")
class ForgetsTheSecondMoment(Changes):
    name = "optimizer_memory"

    def change(self, reading):
        return replace(reading, value=reading.value // 2)


@fails(reading_memory_changes_no_parameter="losses after memory() are ")
class LeavesAnotherRate(FakePrograms):
    def memory(self, staged):
        self.model.update.optimizer = replace(self.model.update.optimizer, learning_rate=0.05)
        return super().memory(staged)


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, failed_checks):
    failed = failed_checks(mutant)
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


@pytest.mark.parametrize("check", MEMORY_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}
