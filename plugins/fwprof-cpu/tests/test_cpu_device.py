"""The cpu device as the probe sees it."""

from __future__ import annotations

from fwprof.plugin import Meter
from fwprof.testing.conformance.suites import DeviceConformance, MeterConformance
from fwprof_cpu import plugin


def test_there_is_one_cpu() -> None:
    (device,) = plugin.devices()
    assert (device.name, device.kind) == ("cpu", "cpu")
    assert device.title
    assert not device.exclusive
    assert device.memory_bytes is not None


def test_a_cpu_cell_can_see_no_card() -> None:
    (device,) = plugin.devices()
    assert device.environment == {"CUDA_VISIBLE_DEVICES": ""}


def test_its_capabilities_fit_its_machine() -> None:
    (device,) = plugin.devices()
    cores, logical = device.capabilities["cores"], device.capabilities["logical_cpus"]
    assert isinstance(cores, int)
    assert isinstance(logical, int)
    assert 1 <= cores <= logical


def test_its_meter_reads_energy_or_says_why_not() -> None:
    (meter,) = plugin.measure()
    assert isinstance(meter, Meter)
    meter.start()
    (reading,) = meter.stop().values()
    assert (reading.value is None) == bool(reading.reason)


class TestDevice(DeviceConformance):
    plugin = plugin
    name = "cpu"


class TestMeters(MeterConformance):
    plugin = plugin
    name = "cpu"
    kind = "device"
