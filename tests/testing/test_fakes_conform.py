from __future__ import annotations

from fwprof.plugin import Device
from fwprof.testing import fake_device, native_network
from fwprof.testing.conformance.suites import (
    DeviceConformance,
    ExporterConformance,
    FrameworkConformance,
    MeterConformance,
)
from fwprof.testing.fake_runtime import one_thread_more


class TestFakeFramework(FrameworkConformance):
    plugin = "fwprof.testing.fake_framework:plugin"
    name = "fake"

    change_setting = staticmethod(one_thread_more)
    native = staticmethod(native_network.make)


class TestFakeFrameworkCompiledOnceForAllChecks(TestFakeFramework):
    variant = "graph"
    reuse = True


class TestFakeFrameworkWithALoopOfItsOwn(TestFakeFramework):
    options = {"loop_us": 1.0}
    reuse = True


class TestFakeDevice(DeviceConformance):
    plugin = "fwprof.testing.fake_device"
    name = "fakecard"


class TestFakeMeter(MeterConformance):
    plugin = "fwprof.testing.fake_meter"
    name = "fakemeter"


class TestMetersOfTheFakeDevice(MeterConformance):
    plugin = fake_device
    name = "fakecard"
    kind = "device"
    device = Device(name="fakecard:1", kind="fakecard")


class TestFakeExporter(ExporterConformance):
    plugin = "fwprof.testing.fake_exporter"
    name = "fakelines"
