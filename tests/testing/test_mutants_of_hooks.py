"""Broken framework plugins, each with the checks that it fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from fwprof.plugin import UnsupportedError, hookimpl, layers
from fwprof.testing.conformance import FRAMEWORK_CHECKS, FrameworkSubject, run_checks
from fwprof.testing.conformance.cases import Hologram
from fwprof.testing.conformance.framework import HOOK_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms
from fwprof.testing.fake_kernels import FakeKernels
from fwprof.testing.fake_meter import CountingMeter

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
    return FakeFramework(programs_class=cls) if issubclass(cls, FakePrograms) else cls()


@fails(hooks_keep_the_contract="framework plugins may not implement devices")
class ListsDevicesToo(FakeFramework):
    @hookimpl
    def devices(self):
        return []


@fails(hooks_keep_the_contract="pluggy refuses the plugin: Argument(s) {'speed'} are declared")
class TakesAnUnknownArgument(FakeFramework):
    @hookimpl
    def train_step(self, model, speed):
        return None


@fails(prepare_gives_versions="prepare returned {}, not names and versions")
class PreparesNothing(FakeFramework):
    @hookimpl
    def prepare(self):
        return {}


@fails(prepare_gives_versions="prepare returned None")
class PreparesToNone(FakeFramework):
    @hookimpl
    def prepare(self):
        return None


@fails(
    an_unsupported_layer_is_named="the UnsupportedError does not name the layer: not supported",
    an_unknown_variant_is_refused="the UnsupportedError does not name no-such-variant: not supported",
    an_unknown_option_is_refused="the UnsupportedError does not name no_such_option: not supported",
)
class NamesNothing(FakeFramework):
    @hookimpl
    def build_model(self, workload, device, options):
        try:
            return super().build_model(workload, device, options)
        except UnsupportedError:
            raise UnsupportedError("not supported") from None


@fails(an_unsupported_layer_is_named="build_model ignored a layer that no framework has")
class SkipsLayersItLacks(FakeModel):
    def __init__(self, workload, device, options, phases):
        kept = tuple(each for each in workload.layers if not isinstance(each.layer, Hologram))
        super().__init__(type(workload)(**{**vars(workload), "layers": kept}), device, options, phases)


@fails(an_unknown_variant_is_refused="build_model ignored no-such-variant")
class TakesAnyVariant(FakeFramework):
    @hookimpl
    def build_model(self, workload, device, options):
        choice = replace(options.cell.choice, variant=None)
        options = type(options)(cell=replace(options.cell, choice=choice), cache=options.cache)
        return super().build_model(workload, device, options)


@fails(an_unknown_option_is_refused="build_model ignored no_such_option")
class IgnoresOptions(FakeFramework):
    @hookimpl
    def build_model(self, workload, device, options):
        choice = replace(options.cell.choice, options={})
        options = type(options)(cell=replace(options.cell, choice=choice), cache=options.cache)
        return super().build_model(workload, device, options)


@fails(out_of_memory_is_told_apart="is_out_of_memory takes a ValueError for a lack of memory")
class BlamesMemory(FakeFramework):
    @hookimpl
    def is_out_of_memory(self):
        return True


@fails(peak_kernels_run="peak_kernels names no library")
class HasNamelessKernels(FakeFramework):
    @hookimpl
    def peak_kernels(self):
        kernels = FakeKernels()
        kernels.library = ""
        return kernels


class MeasuresInAnUnknownPass(CountingMeter):
    passes = ("coffee",)


@fails(meters_take_part_in_known_passes="MeasuresInAnUnknownPass names the unknown passes coffee")
class HasAMeterOfAnUnknownPass(FakeFramework):
    @hookimpl
    def measure(self):
        return [MeasuresInAnUnknownPass("fake.cups", "1", 1)]


@fails(meters_read_honestly="fake.power is null without a reason")
class HasAReadingWithoutReason(FakeFramework):
    @hookimpl
    def measure(self):
        return [CountingMeter("fake.power", "mW", None)]


@fails(a_native_model_trains_and_resets="parameters() of the user's own model after reset")
class ForgetsNativeModels(FakeModel):
    def reset(self):
        if self.workload.name != "native":
            super().reset()


@fails(a_native_model_trains_and_resets="two steps changed no parameter of the user's own model")
class FreezesNativeModels(FakePrograms):
    def run(self, staged):
        return super().forward(staged) if self.model.workload.name == "native" else super().run(staged)


@pytest.mark.parametrize(("mutant", "messages"), MUTANTS)
def test_a_broken_plugin_fails_its_checks_and_no_other(mutant, messages, failed_checks):
    failed = failed_checks(mutant)
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


class BuildsNothing(FakeFramework):
    @hookimpl
    def build_model(self):
        return None


class HasNoPrograms(FakeFramework):
    @hookimpl
    def train_step(self):
        return None


@pytest.mark.parametrize(
    ("plugin", "message"),
    [(BuildsNothing(), "build_model returned None"), (HasNoPrograms(), "train_step returned None")],
)
def test_a_hook_that_returns_nothing_fails_whatever_builds(plugin, message, failed_checks):
    failed = failed_checks(plugin)
    assert failed["parameters_are_canonical"] == failed["wait_waits"] == message


def test_a_plugin_without_a_required_hook_is_told_so(failed_checks):
    message = "framework plugins must implement build_model, train_step"
    assert failed_checks(SimpleNamespace()) == {"hooks_keep_the_contract": message}


def test_what_a_plugin_leaves_out_is_counted_with_its_reason(tmp_path):
    fake = FakeFramework()
    # pluggy takes attributes: the two required hooks, and nothing else.
    minimal = SimpleNamespace(build_model=fake.build_model, train_step=fake.train_step)
    subject = FrameworkSubject(plugin=minimal, name="fake", folder=tmp_path)
    outcomes = run_checks(FRAMEWORK_CHECKS, subject)
    assert {each.verdict for each in outcomes} == {"passed", "not applicable"}
    assert {each.check: each.message for each in outcomes if each.verdict == "not applicable"} == {
        "prepare_gives_versions": "the plugin has no prepare",
        "out_of_memory_is_told_apart": "the plugin has no is_out_of_memory",
        "peak_kernels_run": "the plugin has no peak_kernels",
        "meters_take_part_in_known_passes": "the plugin has no measure",
        "meters_read_honestly": "the plugin has no measure",
        "a_native_model_trains_and_resets": "no factory of a user's own model was given",
        "settings_are_read_back": "change_setting was not given",
        "settings_follow_the_threads_asked": (
            "the plugin was given as an object that a fresh process cannot import"
        ),
        "bfloat16_is_what_it_says": (
            "fake does not support bfloat16: the fake framework cannot compute in bfloat16"
        ),
        "float16_is_what_it_says": (
            "fake does not support float16: the fake framework cannot compute in float16"
        ),
    }


class KnowsDenseLayersOnly(FakeModel):
    def __init__(self, workload, *others):
        for resolved in workload.layers:
            if isinstance(resolved.layer, layers.Dropout | layers.BatchNorm):
                raise UnsupportedError(f"no layer {type(resolved.layer).__name__}")
        super().__init__(workload, *others)


def test_a_small_workload_that_is_unsupported_is_not_applicable(tmp_path):
    plugin = FakeFramework(model_class=KnowsDenseLayersOnly)
    outcomes = run_checks(
        FRAMEWORK_CHECKS,
        FrameworkSubject(plugin=plugin, name="fake", folder=tmp_path, follows_threads=False),
    )
    found = {each.check: (each.verdict, each.message) for each in outcomes}
    reason = "fake does not support the workload: no layer BatchNorm"
    assert found["statistics_are_canonical"] == ("not applicable", reason)
    assert found["predict_infers"] == (
        "not applicable",
        "neither dropout nor batch_norm is supported",
    )
    assert found["predict_changes_nothing"] == ("passed", "")
    assert found["settings_follow_the_threads_asked"] == (
        "not applicable",
        "the framework shows its threads in no setting",
    )


@pytest.mark.parametrize("check", HOOK_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}
