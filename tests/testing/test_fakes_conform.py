from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fwprof.plugin import Device, Scalar
from fwprof.testing import fake_device, fake_framework
from fwprof.testing.conformance.suites import (
    DeviceConformance,
    ExporterConformance,
    FrameworkConformance,
    MeterConformance,
)


@contextmanager
def one_thread_more() -> Iterator[tuple[str, Scalar]]:
    before = fake_framework.runtime.get_threads()
    fake_framework.runtime.set_threads(before + 1)
    try:
        yield "threads", before + 1
    finally:
        fake_framework.runtime.set_threads(before)


def make_native() -> Mapping[str, Any]:
    random = np.random.default_rng(3)
    batches = [(random.normal(size=(4, 6)), random.integers(0, 3, 4)) for _ in range(8)]
    return {"model": [random.normal(size=(6, 5)), random.normal(size=(5, 3))], "batches": batches}


class TestFakeFramework(FrameworkConformance):
    plugin = "fwprof.testing.fake_framework:plugin"
    name = "fake"

    change_setting = staticmethod(one_thread_more)
    native = staticmethod(make_native)


class TestFakeFrameworkCompiledOnceForAllChecks(TestFakeFramework):
    variant = "graph"
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
