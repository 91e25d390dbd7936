"""The suites as pytest classes: subclass one, say what your plugin is, and run pytest.

    class TestMine(FrameworkConformance):
        plugin = "fwprof_mine"
        name = "mine"

Only this module of the kit and `fwprof.testing.fixtures` need pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fwprof.plugin import Device, Scalar
from fwprof.testing.conformance.device import DEVICE_CHECKS, DeviceSubject
from fwprof.testing.conformance.exporter import EXPORTER_CHECKS, ExporterSubject
from fwprof.testing.conformance.framework import FRAMEWORK_CHECKS
from fwprof.testing.conformance.meter import METER_CHECKS, MeterSubject
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, name_of


def _run(check: Callable[[Any], None], subject: object) -> None:
    try:
        check(subject)
    except NotApplicable as reason:
        pytest.skip(str(reason))


class FrameworkConformance:
    """Every check of a framework plugin; what each attribute says: `FrameworkSubject`."""

    plugin: ClassVar[object]
    name: ClassVar[str]
    variant: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Scalar]] = {}
    device: ClassVar[Device | None] = None
    follows_threads: ClassVar[bool] = True
    reuse: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-4
    change_setting: ClassVar[Callable[[], AbstractContextManager[tuple[str, Scalar]]] | None] = None
    """As `staticmethod`: how to change a setting behind the plugin's back."""
    native: ClassVar[Callable[[], Mapping[str, Any]] | None] = None
    """As `staticmethod`: a factory of a user's own model."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, tmp_path_factory: pytest.TempPathFactory) -> FrameworkSubject:
        """The plugin under test."""
        return FrameworkSubject(
            plugin=cls.plugin,
            name=cls.name,
            folder=tmp_path_factory.mktemp("conformance"),
            variant=cls.variant,
            options=cls.options,
            device=cls.device,
            change_setting=cls.change_setting,
            follows_threads=cls.follows_threads,
            native=cls.native,
            reuse=cls.reuse,
            tolerance=cls.tolerance,
        )

    @pytest.mark.parametrize("check", FRAMEWORK_CHECKS, ids=name_of)
    def test_conformance(self, check: Callable[[FrameworkSubject], None], subject: FrameworkSubject) -> None:
        """Run one check."""
        _run(check, subject)


class DeviceConformance:
    """Every check of a device plugin; what each attribute says: `DeviceSubject`."""

    plugin: ClassVar[object]
    name: ClassVar[str]

    @pytest.fixture
    def subject(self) -> DeviceSubject:
        """The plugin under test."""
        return DeviceSubject(plugin=self.plugin, name=self.name)

    @pytest.mark.parametrize("check", DEVICE_CHECKS, ids=name_of)
    def test_conformance(self, check: Callable[[DeviceSubject], None], subject: DeviceSubject) -> None:
        """Run one check."""
        _run(check, subject)


class MeterConformance:
    """Every check of a plugin's meters; what each attribute says: `MeterSubject`."""

    plugin: ClassVar[object]
    name: ClassVar[str]
    kind: ClassVar[str] = "meter"
    device: ClassVar[Device] = Device(name="cpu", kind="cpu")

    @pytest.fixture
    def subject(self) -> MeterSubject:
        """The plugin under test."""
        return MeterSubject(plugin=self.plugin, name=self.name, kind=self.kind, device=self.device)

    @pytest.mark.parametrize("check", METER_CHECKS, ids=name_of)
    def test_conformance(self, check: Callable[[MeterSubject], None], subject: MeterSubject) -> None:
        """Run one check."""
        _run(check, subject)


class ExporterConformance:
    """Every check of an exporter; what each attribute says: `ExporterSubject`."""

    plugin: ClassVar[object]
    name: ClassVar[str]
    destination: ClassVar[str] = "exported"

    @pytest.fixture
    def subject(self, tmp_path: Path) -> ExporterSubject:
        """The plugin under test."""
        return ExporterSubject(
            plugin=self.plugin, name=self.name, folder=tmp_path, destination=self.destination
        )

    @pytest.mark.parametrize("check", EXPORTER_CHECKS, ids=name_of)
    def test_conformance(self, check: Callable[[ExporterSubject], None], subject: ExporterSubject) -> None:
        """Run one check."""
        _run(check, subject)
