"""A device plugin with two cards that exist nowhere; tests install it as `fakecard`."""

from __future__ import annotations

from collections.abc import Sequence

from fwprof.plugin import Device, Meter, hookimpl
from fwprof.testing.fake_meter import CountingMeter

NAME = "fakecard"
VISIBLE = "FAKECARD_VISIBLE_DEVICES"
"""Variable that says which card a process may use."""


@hookimpl
def devices() -> Sequence[Device]:
    """List the two cards."""
    return [_card(0), _card(1)]


@hookimpl
def measure(device: Device) -> Sequence[Meter]:
    """Return a meter of the card's memory."""
    index = int(device.name.rpartition(":")[2] or 0)
    return [CountingMeter("fakecard.memory_used", "bytes", (index + 1) * 2**20)]


def _card(index: int) -> Device:
    uuid = f"FAKE-{index:04d}"
    return Device(
        name=f"{NAME}:{index}",
        uuid=uuid,
        kind=NAME,
        title=f"Fake card {index}",
        native={"fake": f"card{index}"},
        environment={VISIBLE: uuid},
        memory_bytes=2**30,
        exclusive=True,
    )
