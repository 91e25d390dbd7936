"""Broken device, meter and exporter plugins, each with the checks that it fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from fwprof.plugin import Device, PluginUnavailableError, Reading, hookimpl
from fwprof.testing import fake_device, fake_exporter
from fwprof.testing.conformance import (
    DEVICE_CHECKS,
    EXPORTER_CHECKS,
    METER_CHECKS,
    DeviceSubject,
    ExporterSubject,
    MeterSubject,
    run_checks,
)
from fwprof.testing.fake_meter import CountingMeter
from fwprof.testing.installed import FakeDistribution, installed


def failures(checks, subject):
    outcomes = run_checks(checks, subject)
    return {each.check: each.message for each in outcomes if each.verdict in ("failed", "error")}


def uncovered(checks, mutants, *others):
    covered = {name for mutant in mutants for name in mutant[-1]} | set(others)
    return {check.__name__.removeprefix("check_") for check in checks} - covered


def lists(devices):
    """Make a device plugin of what it lists."""

    @hookimpl
    def list_devices():
        if isinstance(devices, Exception):
            raise devices
        return devices

    return SimpleNamespace(devices=list_devices)


FIRST, SECOND = fake_device.devices()
DEVICE_MUTANTS = [
    (SimpleNamespace(), {"hooks_keep_the_contract": "device plugins must implement devices"}),
    (lists([]), {"devices_are_listed_or_unavailable": "devices() returned nothing"}),
    (
        lists(PluginUnavailableError("no card")),
        {"devices_are_listed_or_unavailable": "the error does not say what was looked for: no card"},
    ),
    (
        lists([replace(FIRST, name="gpu0"), SECOND]),
        {"names_select_one": "gpu0: a name begins with 'fakecard'"},
    ),
    (
        lists([FIRST, replace(SECOND, name=FIRST.name)]),
        {"names_select_one": "a name is used twice: fakecard:0, fakecard:0"},
    ),
    (
        lists([replace(FIRST, kind="card")]),
        {"kind_is_the_plugin": "fakecard:0 is of kind 'card'"},
    ),
    (
        lists([FIRST, replace(SECOND, uuid=FIRST.uuid)]),
        {"uuids_are_unique": "uuids are ['FAKE-0000', 'FAKE-0000']"},
    ),
    (
        lists([replace(FIRST, native={"fake": ""})]),
        {"native_names_are_text": "native of fakecard:0 is {'fake': ''}"},
    ),
    (
        lists([replace(FIRST, environment={"VISIBLE": 0})]),
        {"environment_is_text": "environment of fakecard:0 is {'VISIBLE': 0}"},
    ),
]


@pytest.mark.parametrize(("plugin", "messages"), DEVICE_MUTANTS)
def test_a_broken_device_plugin_fails_its_check_and_no_other(plugin, messages):
    failed = failures(DEVICE_CHECKS, DeviceSubject(plugin=plugin, name="fakecard"))
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


def test_a_device_plugin_that_imports_a_framework_fails_that_check_alone(tmp_path):
    greedy = FakeDistribution(
        name="fwprof-greedy",
        entry_points={"fwprof.frameworks": {"heavy": "heavy"}},
        modules={
            "heavy": "",
            "greedy": "import heavy\nfrom fwprof.testing.fake_device import devices, measure\n",
        },
    )
    with installed(tmp_path, greedy):
        failed = failures(DEVICE_CHECKS, DeviceSubject(plugin="greedy", name="fakecard"))
    assert failed == {"no_framework_is_imported": "devices() imports heavy"}


def test_a_device_plugin_that_imports_what_a_framework_runs_on_fails_that_check(tmp_path):
    greedy = FakeDistribution(
        name="fwprof-greedy",
        entry_points={"fwprof.frameworks": {"light": "light"}},
        modules={"greedy": "import engine\nfrom fwprof.testing.fake_device import devices\n"},
        extras={"framework": ("engine-dist>=1",)},
    )
    engine = FakeDistribution(name="engine-dist", modules={"engine": ""})
    with installed(tmp_path, greedy, engine):
        failed = failures(DEVICE_CHECKS, DeviceSubject(plugin="greedy", name="fakecard"))
    assert failed == {"no_framework_is_imported": "devices() imports engine"}


def test_a_device_plugin_that_fails_in_a_fresh_process_is_told_so(tmp_path):
    moody = FakeDistribution(
        name="fwprof-moody",
        modules={"moody": "import sys\nif '-c' in sys.argv: raise OSError('not today')\n"},
    )
    with installed(tmp_path, moody):
        failed = failures(DEVICE_CHECKS, DeviceSubject(plugin="moody", name="fakecard"))
    assert failed["no_framework_is_imported"].startswith("devices() failed in a fresh process: ")


def test_every_device_check_is_failed_by_a_broken_plugin():
    assert uncovered(DEVICE_CHECKS, DEVICE_MUTANTS, "no_framework_is_imported") == set()


def measures(*meters):
    """Make a meter plugin of its meters."""

    @hookimpl
    def measure():
        return meters

    return SimpleNamespace(measure=measure)


class TakesPartNowhere(CountingMeter):
    passes = ()


class TakesPartAtLunch(CountingMeter):
    passes = ("lunch",)


class ReadsEverySecondWindow(CountingMeter):
    windows = 0

    def stop(self):
        self.windows += 1
        return super().stop() if self.windows % 2 else {}


class KeepsItsSamples(CountingMeter):
    def __init__(self):
        super().__init__("mine.power", "mW", 1)
        self.samples = ()

    def sample(self):
        self.samples += ((len(self.samples), 1.0), (len(self.samples), 2.0))

    def stop(self):
        return {"mine.power": Reading(value=1, unit="mW", samples=self.samples)}


class ReadsNumbers(CountingMeter):
    def stop(self):
        return {"mine.power": 1}


METER_MUTANTS = [
    (SimpleNamespace(), {"hooks_keep_the_contract": "meter plugins must implement measure"}),
    (measures(), {"there_is_a_meter": "measure returned no meter"}),
    (
        measures(TakesPartNowhere("mine.power", "mW", 1)),
        {"passes_are_known": "TakesPartNowhere takes part in no pass"},
    ),
    (
        measures(TakesPartAtLunch("mine.power", "mW", 1)),
        {"passes_are_known": "TakesPartAtLunch names the unknown passes lunch"},
    ),
    (measures(CountingMeter("mine.power", "", 1)), {"readings_are_honest": "mine.power has no unit"}),
    (
        measures(CountingMeter("mine.power", "mW", None)),
        {"readings_are_honest": "mine.power is null without a reason"},
    ),
    (
        measures(CountingMeter("sparkle", "1", 1)),
        {"readings_are_honest": "sparkle is in no namespace: <plugin>.sparkle"},
    ),
    (measures(ReadsEverySecondWindow("mine.power", "mW", 1)), {"windows_are_apart": "a second window reads"}),
    (measures(KeepsItsSamples()), {"windows_are_apart": "mine.power keeps samples of the window before"}),
]


@pytest.mark.parametrize(("plugin", "messages"), METER_MUTANTS)
def test_a_broken_meter_plugin_fails_its_check_and_no_other(plugin, messages):
    failed = failures(METER_CHECKS, MeterSubject(plugin=plugin, name="mine"))
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


def test_a_meter_whose_readings_are_numbers_is_named():
    plugin = measures(ReadsNumbers("", "", 0))
    failed = failures(METER_CHECKS, MeterSubject(plugin=plugin, name="mine"))
    assert failed["readings_are_honest"] == "mine.power is a int, no Reading"


def test_every_meter_check_is_failed_by_a_broken_plugin():
    assert uncovered(METER_CHECKS, METER_MUTANTS) == set()


def exports(write):
    """Make an exporter of a function that writes a text."""

    @hookimpl
    def export(result, destination):
        return write(result, destination)

    return SimpleNamespace(export=export)


def export_nothing(result, destination):
    return []


def export_a_promise(result, destination):
    return [*fake_exporter.export(result, destination), destination / "later"]


def export_an_empty_file(result, destination):
    destination.mkdir()
    (destination / "empty").touch()
    return [*fake_exporter.export(result, destination / "lines"), destination / "empty"]


def export_a_log_beside(result, destination):
    log = destination.with_suffix(".log")
    log.write_text("done", encoding="utf-8")
    return [*fake_exporter.export(result, destination), log]


def export_a_second_file_silently(result, destination):
    destination.mkdir()
    (destination / "second").write_text("more", encoding="utf-8")
    return fake_exporter.export(result, destination / "lines")


def export_good_cells_only(result, destination):
    good = tuple(cell for cell in result.cells if cell.fate == "ok")
    return fake_exporter.export(replace(result, cells=good), destination)


EXPORTER_MUTANTS = [
    (SimpleNamespace(), {"hooks_keep_the_contract": "exporter plugins must implement export"}),
    (
        exports(export_nothing),
        {
            "written_paths_exist": "export returned no path",
            "failed_cells_are_exported": "is not in the export",
        },
    ),
    (exports(export_an_empty_file), {"written_paths_exist": "empty is empty"}),
    (
        exports(export_a_log_beside),
        {"nothing_is_written_elsewhere": "export wrote exported.log beside exported"},
    ),
    (
        exports(export_a_second_file_silently),
        {"every_file_is_returned": "export does not return second"},
    ),
    (
        exports(export_good_cells_only),
        {"failed_cells_are_exported": "cell mlp-sample/fake:graph/cpu (killed) is not in the export"},
    ),
]


@pytest.mark.parametrize(("plugin", "messages"), EXPORTER_MUTANTS)
def test_a_broken_exporter_fails_its_check_and_no_other(plugin, messages, tmp_path):
    failed = failures(EXPORTER_CHECKS, ExporterSubject(plugin=plugin, name="mine", folder=tmp_path))
    assert failed.keys() == messages.keys()
    assert all(text in failed[check] for check, text in messages.items())


def test_a_path_that_is_returned_and_not_written_is_named(tmp_path):
    subject = ExporterSubject(plugin=exports(export_a_promise), name="mine", folder=tmp_path)
    failed = failures(EXPORTER_CHECKS, subject)
    assert failed["written_paths_exist"].endswith("exported/later, which is no file")


def test_every_exporter_check_is_failed_by_a_broken_plugin():
    assert uncovered(EXPORTER_CHECKS, EXPORTER_MUTANTS) == set()


def test_checks_of_a_device_that_is_not_here_do_not_apply():
    error = PluginUnavailableError("no card", cause="no driver was found")
    outcomes = run_checks(DEVICE_CHECKS, DeviceSubject(plugin=lists(error), name="fakecard"))
    verdicts = {each.check: (each.verdict, each.message) for each in outcomes}
    assert verdicts["devices_are_listed_or_unavailable"] == ("passed", "")
    assert verdicts["uuids_are_unique"] == ("not applicable", "no card")


def test_the_default_device_of_a_meter_is_the_cpu():
    assert MeterSubject(plugin=None, name="mine").device == Device(name="cpu", kind="cpu")
