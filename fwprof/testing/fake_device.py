"""A device plugin with two cards that exist nowhere; tests install it as `fakecard`.

The second one knows float32 only, and others may compute on it: whoever stands in a file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fwprof.plugin import Device, Meter, hookimpl
from fwprof.testing.fake_meter import CountingMeter

NAME = "fakecard"
VISIBLE = "FAKECARD_VISIBLE_DEVICES"
"""Variable that says which card a process may use."""
USERS = "FAKECARD_USERS"
"""Variable that names a file: one line for each process that computes on the second card, and may change
at any time. Without it the plugin does not tell who computes there."""


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
        in_use_by=_users(index),
        precisions=("float32",) if index else None,
    )


def _users(index: int) -> tuple[str, ...] | None:
    place = os.environ.get(USERS)
    if place is None:
        return None
    return tuple(Path(place).read_text(encoding="utf-8").splitlines()) if index else ()
