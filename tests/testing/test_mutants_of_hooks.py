"""Broken framework plugins, each with the checks that it fails."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fwprof.plugin import hookimpl
from fwprof.testing.conformance.cases import Hologram
from fwprof.testing.conformance.framework import HOOK_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeKernels, FakeModel, FakePrograms
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


@pytest.mark.parametrize("check", HOOK_CHECKS, ids=lambda check: check.__name__)
def test_every_check_is_failed_by_a_broken_plugin(check):
    assert check.__name__.removeprefix("check_") in {name for mutant in MUTANTS for name in mutant.values[1]}
