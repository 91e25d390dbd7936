"""Conformance suites: what every plugin must do, as plain functions and as pytest classes.

Each check is a function of a subject that raises `ConformanceError` with one sentence, or
`NotApplicable` with a reason. `run_checks` runs them without pytest; `suites` holds the classes
that a plugin's own tests subclass.
"""

from fwprof.testing.conformance.device import DEVICE_CHECKS, DeviceSubject
from fwprof.testing.conformance.exporter import EXPORTER_CHECKS, ExporterSubject
from fwprof.testing.conformance.framework import FRAMEWORK_CHECKS
from fwprof.testing.conformance.meter import METER_CHECKS, MeterSubject
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import ConformanceError, NotApplicable, run_checks

__all__ = [
    "DEVICE_CHECKS",
    "EXPORTER_CHECKS",
    "FRAMEWORK_CHECKS",
    "METER_CHECKS",
    "ConformanceError",
    "DeviceSubject",
    "ExporterSubject",
    "FrameworkSubject",
    "MeterSubject",
    "NotApplicable",
    "run_checks",
]
