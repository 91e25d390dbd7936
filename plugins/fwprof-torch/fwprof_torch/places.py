"""Where tensors live: the torch device of a cell, how to wait for it and how to time on it.

Owns every difference between devices. Knows nothing of models.
"""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol

import torch

from fwprof.plugin import PluginUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwprof.plugin import Device


class Marks(Protocol):
    """Marks set between pieces of work, and the times between them."""

    def mark(self) -> None:
        """Set one mark after the work submitted so far."""
        ...

    def intervals_ns(self) -> Sequence[int]:
        """Wait for the last mark, return the times between the marks in ns, and forget them."""
        ...


class HostMarks:
    """Marks on the host's clock: right where work is done when its call returns."""

    def __init__(self) -> None:
        self._times: list[int] = []

    def mark(self) -> None:
        """Set one mark now."""
        self._times.append(perf_counter_ns())

    def intervals_ns(self) -> Sequence[int]:
        """Return the times between the marks in ns, and forget them."""
        times, self._times = self._times, []
        return [after - before for before, after in pairwise(times)]


class EventMarks:
    """Marks on the device's own clock, recorded in the stream in use."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._events: list[Any] = []

    def mark(self) -> None:
        """Record one event in the current stream."""
        event = self._place.module.Event(enable_timing=True)
        event.record(self._place.module.current_stream(self._place.device))
        self._events.append(event)

    def intervals_ns(self) -> Sequence[int]:
        """Wait for the last event, return the times between the events in ns, and forget them."""
        events, self._events = self._events, []
        if events:
            events[-1].synchronize()
        return [round(before.elapsed_time(after) * 1e6) for before, after in pairwise(events)]


class Place:
    """A torch device that is known to work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_host = device.type == "cpu"
        self.module: Any = None if self.is_host else torch.get_device_module(device)
        self.has_allocator = hasattr(self.module, "reset_peak_memory_stats")

    def wait(self) -> None:
        """Return when all work submitted so far is finished; the host works synchronously."""
        if not self.is_host:
            self.module.synchronize(self.device)

    def marks(self) -> Marks:
        """Return marks on the device's own clock, where it has one."""
        return EventMarks(self) if hasattr(self.module, "Event") else HostMarks()

    def versions(self) -> Mapping[str, str]:
        """Return versions of the libraries behind the device."""
        if self.device.type != "cuda":
            return {}
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # untyped in torch
        found = {"cuda": torch.version.cuda, "cudnn": cudnn}
        return {name: str(version) for name, version in found.items() if version is not None}


def open_place(device: Device) -> Place:
    """Return the place a device record names, after one empty operation there.

    Raises:
        PluginUnavailableError: this build of torch cannot use the device.
    """
    native = device.native.get("torch", device.kind)
    try:
        place = Place(torch.device(native))
        torch.zeros(1, device=place.device).add_(1)
        place.wait()
    # torch says with any of these that a device is unknown, not built in, or has no driver.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PluginUnavailableError(
            f"torch {torch.__version__} cannot use {device.name} ({native})",
            cause=str(error).splitlines()[0],
            next="install a build of torch for this device, or choose another --device",
        ) from error
    return place
