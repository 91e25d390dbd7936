"""Models that say what is not so, each with the checks that it fails."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from msgspec.structs import replace

from fwprof.testing.conformance import ConformanceError, FrameworkSubject
from fwprof.testing.conformance.framework_settings import SETTINGS_CHECKS, check_settings_are_read_back
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms
from fwprof.testing.installed import FakeDistribution, installed

MUTANTS = []
"""A broken plugin, and the checks that it fails with their messages: most fail one."""


def fails(**messages: str):
    def note(cls: type) -> type:
        MUTANTS.append(pytest.param(make(cls), messages, id=cls.__name__))
        return cls

    return note


def make(cls: type) -> FakeFramework:
    if issubclass(cls, FakeModel):
        return FakeFramework(model_class=cls)
    return FakeFramework(programs_class=cls)


@fails(settings_are_read_back="settings() echoes what was asked: 'threads' is 2, reported 1")
class EchoesItsSettings(FakeModel):
    def settings(self):
        return {**super().settings(), "threads": self.cell.threads}


@fails(settings_are_scalars="settings() is empty", settings_are_read_back="settings() has no 'threads'")
class HasNoSettings(FakeModel):
    def settings(self):
        return {}


@fails(settings_are_scalars="setting 'dtype' is a Float32DType")
class HasSettingsOfItsOwnTypes(FakeModel):
    def settings(self):
        return {**super().settings(), "dtype": np.dtype("float32")}

    def describe(self):
        return replace(super().describe(), settings=dict(self.settings()))


@fails(description_is_complete="describe() names no version")
class NamesNoVersion(FakeModel):
    def describe(self):
        return replace(super().describe(), versions={})


@fails(description_is_complete="describe() names no mode")
class NamesNoMode(FakeModel):
    def describe(self):
        return replace(super().describe(), mode="")


@fails(description_is_complete="describe() names no native device")
class NamesNoDevice(FakeModel):
    def describe(self):
        return replace(super().describe(), native_device="")


@fails(description_counts="describe() counts 357 parameters, not 325")
class CountsStatisticsToo(FakeModel):
    def describe(self):
        return replace(
            super().describe(), parameter_count=sum(value.size for value in self.network.values.values())
        )


@fails(description_counts="describe() says batches of 8, not 16")
class CountsBatches(FakeModel):
    def describe(self):
        return replace(super().describe(), batch_size=len(self.workload.batches))


@fails(description_holds_the_settings="describe() says {'threads': -1}, settings() {'threads': 1,")
class DescribesOtherSettings(FakeModel):
    def describe(self):
        return replace(super().describe(), settings={"threads": -1})


@fails(compilations_never_fall="compilations() went [1, 1, 1, 0, 1]")
class ForgetsCompilationsAtTheFirstStep(FakeModel):
    def compilations(self):
        return 0 if self.update.step_count else 1


@fails(equal_steps_do_not_compile="compilations() went from 3 to 11 over equal steps")
class CompilesEveryForward(FakePrograms):
    def forward(self, staged):
        self.model.compiled.add(("forward", (len(self.model.compiled),)))
        return super().forward(staged)


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, failed_checks):
    failed = failed_checks(mutant)
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


DEAF = FakeDistribution(
    name="fwprof-deaf",
    modules={
        "deaf": """
from fwprof.plugin import hookimpl
from fwprof.testing.fake_framework import FakeFramework

class IgnoresTheThreadsAsked(FakeFramework):
    @hookimpl
    def prepare(self):
        return {"numpy": "2"}

class CannotBeBuilt(FakeFramework):
    @hookimpl
    def build_model(self):
        raise OSError("there is no such library")

plugin = IgnoresTheThreadsAsked()
broken = CannotBeBuilt()
"""
    },
)


def test_a_plugin_that_ignores_the_threads_asked_fails_that_check_alone(tmp_path, failed_checks):
    with installed(tmp_path / "site", DEAF):
        failed = failed_checks("deaf:plugin")
    message = "one or two threads asked for, settings() is the same: {'threads': 1, 'divide': 'warn'}"
    assert failed == {"settings_follow_the_threads_asked": message}


def test_a_model_that_a_fresh_process_cannot_build_is_reported(tmp_path, failed_checks):
    with installed(tmp_path / "site", DEAF):
        failed = failed_checks("deaf:broken")
    message = "a fresh process could not build the model: OSError: there is no such library"
    assert failed["settings_follow_the_threads_asked"] == message


def test_a_setting_that_is_changed_to_what_it_was_proves_nothing(tmp_path):
    @contextmanager
    def change_nothing():
        yield "threads", 1

    subject = FrameworkSubject(
        plugin=FakeFramework(), name="fake", folder=tmp_path, change_setting=change_nothing
    )
    with pytest.raises(ConformanceError, match="change_setting set 'threads' to what it was: 1"):
        check_settings_are_read_back(subject)


@pytest.mark.parametrize("check", SETTINGS_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    named = {name for mutant in MUTANTS for name in mutant.values[1]} | {"settings_follow_the_threads_asked"}
    assert check.__name__.removeprefix("check_") in named
