"""Models whose checkpoints are wrong in one thing, each with the checks that it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fwprof.errors import UnsupportedError
from fwprof.testing.conformance import FrameworkSubject, run_checks
from fwprof.testing.conformance.framework_formats import FORMAT_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel

MUTANTS = []
"""A broken plugin, and the checks that it fails with their messages."""


def fails(**messages: str):
    def note(cls: type) -> type:
        MUTANTS.append(pytest.param(FakeFramework(model_class=cls), messages, id=cls.__name__))
        return cls

    return note


class OneFormat(FakeModel):
    """With `snapshot` alone, so that one thing is wrong at a time."""

    def formats(self):
        snapshot = super().formats()["snapshot"]
        return {"snapshot": replace(snapshot, save=self.save_all, restore=self.restore_all)}

    def save_all(self, path):
        super().formats()["snapshot"].save(path)

    def restore_all(self, path):
        super().formats()["snapshot"].restore(path)


@fails(formats_say_what_they_hold="format snapshot holds gradients; parts are parameters, statistics,")
class HoldsWhatIsNoPart(OneFormat):
    def formats(self):
        return {"snapshot": replace(super().formats()["snapshot"], holds=("parameters", "gradients"))}


@fails(formats_say_what_they_hold="format snapshot was saved and holds no parameters")
class HoldsNothing(OneFormat):
    def formats(self):
        return {"snapshot": replace(super().formats()["snapshot"], holds=())}


@fails(
    formats_say_what_they_hold="the model's formats() offers 'snap.shot', which is no format",
    formats_bring_parameters_back="'snap.shot', which is no format",
    formats_bring_statistics_back="'snap.shot', which is no format",
    formats_bring_the_optimizer_back="'snap.shot', which is no format",
    formats_bring_the_random_state_back="'snap.shot', which is no format",
    saving_leaves_training_alone="'snap.shot', which is no format",
    a_checkpoint_is_in_its_files="'snap.shot', which is no format",
)
class NamesAFormatWithADot(OneFormat):
    def formats(self):
        return {"snap.shot": super().formats()["snapshot"]}


@fails(
    formats_bring_parameters_back="parameters() after snapshot was restored: 0.bias is off by",
    formats_bring_the_optimizer_back="parameters() a step after snapshot was restored: 0.kernel is off by",
    formats_bring_the_random_state_back="losses under dropout after snapshot was restored is off by",
    a_checkpoint_is_in_its_files="a new model's parameters() after snapshot was restored: 0.bias is off by",
)
class KeepsItsBiases(OneFormat):
    def restore_all(self, path):
        kept = {name: value for name, value in self.parameters().items() if "bias" in name}
        super().restore_all(path)
        self.load_parameters(kept)


@fails(formats_bring_statistics_back="1.moving_mean after snapshot was restored is off by")
class KeepsItsStatistics(OneFormat):
    def restore_all(self, path):
        kept = {name: value for name, value in self.parameters().items() if "moving" in name}
        super().restore_all(path)
        self.load_parameters(kept)


@fails(
    formats_bring_the_optimizer_back="parameters() a step after snapshot was restored: 0.kernel is off by",
    formats_bring_the_random_state_back="losses under dropout after snapshot was restored is off by",
)
class SavesNoMomentum(OneFormat):
    def save_all(self, path):
        kept, self.update.first = self.update.first, {}
        super().save_all(path)
        self.update.first = kept


@fails(formats_bring_the_random_state_back="losses under dropout after snapshot was restored is off by")
class SavesNoRandomState(OneFormat):
    def restore_all(self, path):
        super().restore_all(path)
        self.network.random = np.random.default_rng(99)


@fails(
    saving_leaves_training_alone="losses with dropout around a save of snapshot is off by",
    formats_bring_the_random_state_back="losses under dropout after snapshot was restored is off by",
)
class DrawsWhileSaving(OneFormat):
    def save_all(self, path):
        super().save_all(path)
        self.network.random.random()


@fails(
    saving_leaves_training_alone="losses with plain around a save of snapshot is off by",
    formats_bring_the_optimizer_back="parameters() a step after snapshot was restored: 0.kernel is off by",
    formats_bring_the_random_state_back="losses under dropout after snapshot was restored is off by",
)
class ForgetsMomentumWhileSaving(OneFormat):
    def save_all(self, path):
        super().save_all(path)
        self.update.clear()


@fails(
    a_checkpoint_is_in_its_files="a new model's parameters() after snapshot was restored: 0.kernel is off by"
)
class KeepsItsCheckpointInMemory(OneFormat):
    kept = None

    def save_all(self, path):
        super().save_all(path)
        self.kept = self.parameters()

    def restore_all(self, path):
        before = self.parameters()
        super().restore_all(path)
        self.load_parameters(self.kept or before)


@fails(
    formats_bring_parameters_back="OSError: No space left on device",
    formats_bring_statistics_back="OSError: No space left on device",
    formats_bring_the_optimizer_back="OSError: No space left on device",
    formats_bring_the_random_state_back="OSError: No space left on device",
    saving_leaves_training_alone="OSError: No space left on device",
    a_checkpoint_is_in_its_files="OSError: No space left on device",
)
class RaisesWhereItShouldSayUnsupported(OneFormat):
    def save_all(self, path):
        raise OSError("No space left on device")


@pytest.fixture
def outcomes(tmp_path):
    def run(plugin):
        subject = FrameworkSubject(plugin=plugin, name="fake", folder=tmp_path)
        return {each.check: each for each in run_checks(FORMAT_CHECKS, subject)}

    return run


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, outcomes):
    failed = {
        name: each.message for name, each in outcomes(mutant).items() if each.verdict in ("failed", "error")
    }
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


@pytest.mark.parametrize("check", FORMAT_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}


def test_a_format_that_this_mode_has_not_is_left_out(outcomes):
    class Refuses(OneFormat):
        def save_all(self, path):
            raise UnsupportedError("not here")

    found = outcomes(FakeFramework(model_class=Refuses))
    assert found["formats_say_what_they_hold"].verdict == "passed"
    assert found["formats_bring_parameters_back"].verdict == "not applicable"
    assert found["formats_bring_parameters_back"].message == "no format holds parameters"


def test_a_model_without_formats_is_held_to_save_and_restore(outcomes):
    class Plain(FakeModel):
        formats = None

    found = outcomes(FakeFramework(model_class=Plain))
    assert found["formats_bring_the_optimizer_back"].verdict == "passed"
    assert found["formats_bring_the_random_state_back"].verdict == "not applicable"
