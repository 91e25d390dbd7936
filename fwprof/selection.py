"""From names to plugins: which frameworks, devices and meters a request selects, and from where.

Owns what is said where a name selects nothing, and what goes on without it. Imports no plugin:
what devices there are, and what other environments hold, is told to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple, TypeVar

from fwprof import catalog
from fwprof.catalog import Environment
from fwprof.errors import FwprofError, PluginUnavailableError, RequestError
from fwprof.records import (
    HOST,
    Device,
    FrameworkChoice,
    HostPlace,
    PluginRef,
    Precision,
    Record,
    RunRequest,
)

T = TypeVar("T")
R = TypeVar("R")


class FoundDevices(Record, frozen=True, kw_only=True):
    """What one device plugin found, or why it found nothing."""

    plugin: PluginRef
    devices: tuple[Device, ...] = ()


def device_plugin_names(request: RunRequest) -> tuple[str, ...]:
    """Return the device plugins that a request's `devices` name: what stands before a colon."""
    return tuple(dict.fromkeys(name.partition(":")[0] for name in request.devices))


def probed_plugins(request: RunRequest) -> tuple[str, ...]:
    """Return the device plugins to ask: those named, and the host's where other devices are verified."""
    names = device_plugin_names(request)
    is_elsewhere = request.equivalence != "skip" and set(names) != {HOST}
    return tuple(dict.fromkeys((*names, HOST))) if is_elsewhere else names


def find_host(request: RunRequest, found: Mapping[str, FoundDevices | FwprofError]) -> HostPlace | None:
    """Return where cells of other devices are verified; None: nowhere, or there are no such cells."""
    host = found.get(HOST)
    if set(device_plugin_names(request)) == {HOST} or not isinstance(host, FoundDevices):
        return None
    return HostPlace(device=host.devices[0], plugin=host.plugin) if host.devices else None


def chosen_frameworks(request: RunRequest) -> Sequence[FrameworkChoice]:
    """Return the frameworks that a request names, or the only one that is here.

    Raises:
        RequestError: none is named, and not exactly one is here.
    """
    if request.plugins:
        return request.plugins
    named = [FrameworkChoice(name=model.framework) for model in request.models if model.framework]
    if named:
        return named
    ready = [plugin.ref.name for plugin in catalog.list_plugins("framework") if plugin.state == "ready"]
    if len(ready) == 1:
        return [FrameworkChoice(name=ready[0])]
    raise RequestError(
        "no framework was chosen",
        cause=f"installed and ready: {', '.join(ready) or 'none'}",
        next=f"add --plugin {ready[0]}" if ready else "pip install 'fwprof-NAME[framework]'",
    )


class Framework(NamedTuple):
    """A framework that was chosen, with the plugins that its cells load."""

    choice: FrameworkChoice
    reference: PluginRef
    meters: tuple[PluginRef, ...]
    environment: str
    """Its name; a framework's own where nothing else was said."""
    interpreter: str | None = None
    """None: the one that runs this."""
    devices: Mapping[str, PluginRef] = {}
    """Device plugins of another environment."""


def check_environments(request: RunRequest, choices: Sequence[FrameworkChoice]) -> None:
    """Check that every environment is known and used.

    Raises:
        RequestError: one is not.
    """
    known = request.environments
    for choice in choices:
        if choice.environment is not None and choice.environment not in known:
            close = get_close_matches(choice.environment, known, n=1)
            raise RequestError(
                f"there is no environment {choice.environment!r}",
                cause=f"{choice} names it; known are {', '.join(known) or 'none'}",
                next=f"did you mean '@{close[0]}'?"
                if close
                else f"add --python {choice.environment}=INTERPRETER",
            )
    # Left alone, a misspelt name would measure the framework of this environment instead.
    for name in sorted(known.keys() - {choice.environment or choice.name for choice in choices}):
        close = get_close_matches(name, [choice.name for choice in choices], n=1)
        raise RequestError(
            f"no cell runs in environment {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            cause=f"--python {name}=… names it; chosen are {', '.join(map(str, choices))}",
            next=f"choose it: --plugin FRAMEWORK@{name}",
        )


def find_framework(
    choice: FrameworkChoice, request: RunRequest, environments: Mapping[str, Environment | FwprofError]
) -> Framework:
    """Find a framework and what its cells need beside it, where they will run.

    Raises:
        PluginError: something is not installed, or cannot run there.
    """
    name = choice.environment or choice.name
    there = environments.get(name)
    if isinstance(there, FwprofError):
        raise there
    reference = catalog.find_plugin("framework", choice.name, there)
    meters = tuple(catalog.find_plugin("meter", meter, there) for meter in dict.fromkeys(request.meters))
    if there is None:
        return Framework(choice, reference, meters, name)
    devices = {each: catalog.find_plugin("device", each, there) for each in device_plugin_names(request)}
    return Framework(choice, reference, meters, name, there.interpreter, devices)


def resolve_each(
    asked: Mapping[str, T], resolve: Callable[[T], R], unavailable: dict[str, FwprofError]
) -> list[R]:
    """Resolve what can be resolved; the rest is noted, and the others go on without it."""
    found = []
    for name, value in asked.items():
        try:
            found.append(resolve(value))
        except FwprofError as error:
            unavailable[name] = error
    return found


def find_device(
    name: str, found: Mapping[str, FoundDevices | FwprofError], *, exclusive: bool = False
) -> tuple[Device, PluginRef]:
    """Find a device among those that its plugin lists.

    Args:
        name: as the user wrote it.
        found: device plugin name → what it lists.
        exclusive: whether it must be nobody else's.

    Raises:
        PluginError: there is no such device, or no such plugin, or others compute on it.
    """
    plugin, _, selector = name.partition(":")
    answer = found[plugin]
    if isinstance(answer, FwprofError):
        raise answer
    for device in answer.devices:
        if not selector or name == device.name or selector == device.uuid:
            if exclusive and device.in_use_by:
                raise in_use(device)
            return device, answer.plugin
    names = [device.name for device in answer.devices]
    close = get_close_matches(name, names, n=1)
    raise PluginUnavailableError(
        f"there is no device {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
        cause=f"found: {', '.join(f'{d.name} ({d.title})' for d in answer.devices) or 'none'}",
        next="fwprof devices    lists them",
    )


def in_use(device: Device) -> PluginUnavailableError:
    """Return the error of a device that others compute on, where `--exclusive` was asked for."""
    return PluginUnavailableError(
        f"{device.name} is in use by {', '.join(device.in_use_by or ())}",
        cause="--exclusive measures only where nobody else computes",
        next="end it, choose another --device, or leave --exclusive out",
    )


def require_precision(
    device: Device, plugin: PluginRef, precision: Precision
) -> tuple[Device, PluginRef, Precision]:
    """Return what was given, where the device computes in that precision, or does not tell.

    Raises:
        PluginUnavailableError: it does not.
    """
    if device.precisions is None or precision in device.precisions:
        return device, plugin, precision
    raise PluginUnavailableError(
        f"{device.name} ({device.title}) does not compute in {precision}",
        cause=f"its precisions are {', '.join(device.precisions)}",
        next="choose one of these by --precision, or another --device",
    )
