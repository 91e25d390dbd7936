"""What every device plugin must do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from types import ModuleType

import pluggy

from fwprof.catalog import KINDS, NEEDS
from fwprof.plugin import Device, PluginUnavailableError
from fwprof.testing.conformance.subject import register, register_or_leave
from fwprof.testing.conformance.verdicts import NotApplicable, expect

FRESH_PROCESS_LIMIT_S = 120
_PROBE = """
import sys
from fwprof.errors import PluginUnavailableError
from fwprof.testing.conformance.device import DeviceSubject
try:
    DeviceSubject(sys.argv[1], sys.argv[2]).devices()
except PluginUnavailableError:
    pass
print("\\n" + " ".join(set(sys.argv[3:]) & sys.modules.keys()))
"""


@dataclass
class DeviceSubject:
    """A device plugin under test.

    Args:
        plugin: the plugin object or its entry point.
        name: as users type it.
    """

    plugin: object
    name: str

    @cached_property
    def manager(self) -> pluggy.PluginManager:
        """The manager that holds the plugin alone."""
        return register_or_leave(self.plugin, "device", self.name)

    def devices(self) -> Sequence[Device]:
        """Return what the plugin lists."""
        listed: Sequence[Device] | None = self.manager.hook.devices()
        return listed or ()

    def require_devices(self) -> Sequence[Device]:
        """Return what the plugin lists, or say that it has nothing to list here."""
        try:
            return self.devices()
        except PluginUnavailableError as error:
            raise NotApplicable(str(error)) from error


def check_hooks_keep_the_contract(subject: DeviceSubject) -> None:
    """The plugin implements the hooks of a device, with arguments that exist."""
    register(subject.plugin, "device", subject.name)


def check_devices_are_listed_or_unavailable(subject: DeviceSubject) -> None:
    """devices() lists at least one, or raises PluginUnavailableError with a cause."""
    try:
        listed = subject.devices()
    except PluginUnavailableError as error:
        expect(bool(error.cause), f"the error does not say what was looked for: {error}")
    else:
        expect(bool(listed), "devices() returned nothing; with none here it raises")


def check_names_select_one(subject: DeviceSubject) -> None:
    """Names are `<plugin>` or `<plugin>:<index>`, each used once."""
    names = [device.name for device in subject.require_devices()]
    strangers = [name for name in names if name.partition(":")[0] != subject.name]
    expect(not strangers, f"{', '.join(strangers)}: a name begins with {subject.name!r}")
    expect(len(set(names)) == len(names), f"a name is used twice: {', '.join(names)}")


def check_kind_is_the_plugin(subject: DeviceSubject) -> None:
    """kind is the plugin's name: workloads choose batch sizes by it."""
    for device in subject.require_devices():
        expect(device.kind == subject.name, f"{device.name} is of kind {device.kind!r}")


def check_uuids_are_unique(subject: DeviceSubject) -> None:
    """Several devices have different uuids."""
    uuids = [device.uuid for device in subject.require_devices()]
    expect(len(uuids) < 2 or len({*uuids, ""}) == len(uuids) + 1, f"uuids are {uuids}")


def check_native_names_are_text(subject: DeviceSubject) -> None:
    """native maps framework names to names, none of them empty."""
    for device in subject.require_devices():
        _expect_text(device.native, f"native of {device.name}", may_be_empty=False)


def check_environment_is_text(subject: DeviceSubject) -> None:
    """environment maps variables to text, which may be empty."""
    for device in subject.require_devices():
        _expect_text(device.environment, f"environment of {device.name}", may_be_empty=True)


def check_no_framework_is_imported(subject: DeviceSubject) -> None:
    """In a fresh process, devices() imports no installed framework."""
    value = subject.plugin.__name__ if isinstance(subject.plugin, ModuleType) else subject.plugin
    if not isinstance(value, str):
        raise NotApplicable("the plugin was given as an object that a fresh process cannot import")
    modules = _framework_modules()
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, value, subject.name, *modules],
        capture_output=True,
        text=True,
        check=False,
        timeout=FRESH_PROCESS_LIMIT_S,
    )
    last = done.stderr.strip().rpartition("\n")[2]
    expect(done.returncode == 0, f"devices() failed in a fresh process: {last}")
    imported = done.stdout.rpartition("\n")[0].rpartition("\n")[2].strip()
    expect(not imported, f"devices() imports {imported}")


def _expect_text(mapping: object, what: str, *, may_be_empty: bool) -> None:
    is_text = isinstance(mapping, dict) and all(
        isinstance(key, str) and key and isinstance(value, str) and (value or may_be_empty)
        for key, value in mapping.items()
    )
    expect(is_text, f"{what} is {mapping!r}")


def _framework_modules() -> list[str]:
    """Return the modules of the installed framework plugins and of what they run on."""
    from packaging.requirements import Requirement

    points = metadata.entry_points(group=KINDS["framework"])
    modules = {point.module.partition(".")[0] for point in points} - {"fwprof"}
    needed = {
        requirement.name.lower()
        for point in points
        for requirement in map(Requirement, (point.dist.requires if point.dist else None) or ())
        if requirement.marker and requirement.marker.evaluate({"extra": NEEDS})
    }
    for module, distributions in metadata.packages_distributions().items():
        if needed & {name.lower() for name in distributions}:
            modules.add(module)
    return sorted(modules)


DEVICE_CHECKS = (
    check_hooks_keep_the_contract,
    check_devices_are_listed_or_unavailable,
    check_names_select_one,
    check_kind_is_the_plugin,
    check_uuids_are_unique,
    check_native_names_are_text,
    check_environment_is_text,
    check_no_framework_is_imported,
)
