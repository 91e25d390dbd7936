"""Which chips are found, and what a worker is told of each."""

from __future__ import annotations

import sys

import pytest

from fwprof.plugin import PluginUnavailableError
from fwprof.testing.conformance.suites import DeviceConformance, MeterConformance
from fwprof_tpu import chips, plugin


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    for name in ("XLA_FLAGS", "TPU_ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)


def machine(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("files", "count"),
    [
        (("accel0", "accel1"), 2),
        (("vfio/0", "vfio/1", "vfio/vfio"), 2),
        (("accelerometer",), None),
        ((), None),
    ],
)
def test_chips_are_counted_by_the_files_of_their_driver(tmp_path, files, count):
    found = machine(tmp_path, *files)
    if count is None:
        with pytest.raises(PluginUnavailableError) as raised:
            chips.find_chips(found)
        assert str(tmp_path) in raised.value.cause
        return
    assert [(chip.index, chip.is_simulated) for chip in chips.find_chips(found)] == [(0, False), (1, False)]


def test_a_chip_goes_by_what_the_machine_calls_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5litepod-1")
    (chip,) = chips.find_chips(machine(tmp_path, "accel0"))
    assert chip.title == "TPU v5litepod-1"


def test_forced_devices_of_the_host_stand_for_chips_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_other=1 --xla_force_host_platform_device_count=3")
    found = chips.find_chips(machine(tmp_path))
    assert [chip.is_simulated for chip in found] == [True, True, True]
    assert all("simulation" in chip.title for chip in found)


def test_real_chips_come_before_simulated_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    (chip,) = chips.find_chips(machine(tmp_path, "accel0"))
    assert not chip.is_simulated


def test_a_worker_sees_its_chip_alone(monkeypatch):
    monkeypatch.setattr(plugin, "find_chips", lambda: [chips.Chip(2, "TPU v4", is_simulated=False)])
    (device,) = plugin.devices()
    assert device.name == "tpu:2"
    assert device.native == {"jax": "tpu:0", "torch": "xla:0", "tensorflow": "TPU:0"}
    assert device.environment["TPU_VISIBLE_CHIPS"] == "2"
    assert device.note == ""


def test_a_simulated_chip_is_the_host_s_device_of_that_number(monkeypatch):
    monkeypatch.setattr(plugin, "find_chips", lambda: [chips.Chip(1, "simulation", is_simulated=True)])
    (device,) = plugin.devices()
    assert device.native == {"jax": "cpu:1"}
    assert device.note.startswith("a simulation")
    assert device.uuid.startswith("simulated")


class TellingJax:
    """Stands for a jax that has the chip."""

    def __init__(self, statistics):
        self._statistics = statistics

    def devices(self, platform):
        assert platform == "tpu"
        return [self]

    def memory_stats(self):
        return self._statistics


def readings_of(monkeypatch, jax):
    chip = chips.Chip(0, "TPU", is_simulated=False)
    monkeypatch.setattr(plugin, "find_chips", lambda: [chip])
    monkeypatch.setitem(sys.modules, "jax", jax)
    (device,) = plugin.devices()
    readings = {}
    for meter in plugin.measure(device):
        meter.start()
        meter.sample()
        readings |= meter.stop()
    return readings


def test_memory_is_what_jax_tells_of_the_chip(monkeypatch):
    readings = readings_of(monkeypatch, TellingJax({"peak_bytes_in_use": 700, "bytes_in_use": 500}))
    assert readings["device_process_memory"].value == 700
    assert readings["tpu.memory_in_use"].value == 500
    assert len(readings["tpu.memory_in_use"].samples) == 3


@pytest.mark.parametrize(
    ("jax", "reason"),
    [(None, "only jax does"), (TellingJax(None), "simulated"), (TellingJax({}), "simulated")],
)
def test_what_nobody_tells_is_null_with_the_reason(monkeypatch, jax, reason):
    readings = readings_of(monkeypatch, jax)
    for name in ("device_process_memory", "tpu.memory_in_use"):
        assert readings[name].value is None
        assert reason in readings[name].reason
    assert "libtpu" in readings["utilisation"].reason


class TestDevice(DeviceConformance):
    plugin = plugin
    name = "tpu"

    @pytest.fixture(autouse=True)
    def simulated(self, monkeypatch):
        monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")


class TestMeters(MeterConformance):
    plugin = plugin
    name = "tpu"
    kind = "device"
