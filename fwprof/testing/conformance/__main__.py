"""Checks one plugin, one check an order: the child of `fwprof check`.

    python -P -m fwprof.testing.conformance DESCRIPTOR

Its parent starts it again where a plugin took the process down. Never prints: what the plugin
prints is kept by the parent.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any

from fwprof.codec import FrameReader, frame
from fwprof.records import CheckOutcome, frames
from fwprof.testing.conformance.device import DEVICE_CHECKS, DeviceSubject
from fwprof.testing.conformance.exporter import EXPORTER_CHECKS, ExporterSubject
from fwprof.testing.conformance.framework import FRAMEWORK_CHECKS
from fwprof.testing.conformance.meter import METER_CHECKS, MeterSubject
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, name_of, run_check

Suite = Mapping[str, Callable[[], CheckOutcome]]


def make_suite(order: frames.OpenChecks) -> Suite:
    """Return the checks of a plugin by name; none of them imported it yet."""
    value, name, folder = order.plugin.value, order.plugin.name, Path(order.folder)
    match order.plugin.kind:
        case "framework":
            framework = FrameworkSubject(
                plugin=value,
                name=name,
                folder=folder,
                variant=order.variant,
                options=order.options,
                device=order.device,
            )
            return _suite(FRAMEWORK_CHECKS, framework)
        case "meter":
            return _suite(METER_CHECKS, MeterSubject(plugin=value, name=name, device=order.device))
        case "exporter":
            return _suite(EXPORTER_CHECKS, ExporterSubject(plugin=value, name=name, folder=folder))
    device = DeviceSubject(plugin=value, name=name)
    # The first check of meters is of the hooks, which are the device's.
    meters = map(_on_its_meters, METER_CHECKS[1:])
    return {**_suite(DEVICE_CHECKS, device), **_suite(meters, device)}


def _suite(checks: Any, subject: object) -> Suite:
    return {name_of(check): partial(run_check, check, subject) for check in checks}


def _on_its_meters(check: Callable[[MeterSubject], None]) -> Callable[[DeviceSubject], None]:
    """Return a check of meters as one of a device plugin, which may have some."""

    @wraps(check)
    def run(subject: DeviceSubject) -> None:
        if not subject.manager.hook.measure.get_hookimpls():
            raise NotApplicable("the plugin has no measure")
        device = subject.require_devices()[0]
        check(MeterSubject(plugin=subject.plugin, name=subject.name, kind="device", device=device))

    return run


def main(descriptor: int) -> None:
    """Serve the parent at the other end of an inherited socket until it goes away."""
    channel = socket.socket(fileno=descriptor)
    reader = FrameReader()
    suite: Suite = {}
    while data := channel.recv(65536):
        for body in reader.feed(data):
            match frames.order_decoder.decode(body):
                case frames.OpenChecks() as order:
                    suite = make_suite(order)
                    channel.sendall(frame(frames.ChecksListed(checks=tuple(suite))))
                case frames.RunCheck(check=name):
                    channel.sendall(frame(frames.CheckDone(outcome=suite[name]())))
                case _:
                    return


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # Frameworks' exit handlers may hang or crash: everything found was sent already.
    os._exit(0)
