"""The hooks of the device `cuda`. Nothing of NVIDIA's is imported before one is called."""

from __future__ import annotations

from collections.abc import Sequence

from fwprof.plugin import Device, Meter, hookimpl
from fwprof_cuda.cards import Card, find_cards
from fwprof_cuda.datasheets import find_peaks
from fwprof_cuda.meters import ACTIVITY, MEMORY, CardMeter
from fwprof_cuda.visible import VARIABLE

NATIVE = {"torch": "cuda:0", "tensorflow": "GPU:0", "keras": "gpu:0", "jax": "cuda:0"}
"""How each runtime names the card: always the first, since a worker sees no other."""


@hookimpl
def devices() -> Sequence[Device]:
    """Return the visible cards, of split ones their instances: those nobody else computes on first."""
    return [_device(card) for card in find_cards()]


@hookimpl
def measure(device: Device) -> Sequence[Meter]:
    """Return the meters of the card's memory, and of its activity and energy."""
    return [CardMeter(device.uuid, ("memory",), MEMORY), CardMeter(device.uuid, ("energy",), ACTIVITY)]


def _device(card: Card) -> Device:
    peaks, no_peaks = find_peaks(card.title, is_instance=card.instance is not None)
    return Device(
        name=f"cuda:{card.place}",
        uuid=card.uuid,
        kind="cuda",
        title=card.title,
        native=NATIVE,
        environment={VARIABLE: card.uuid},
        capabilities=card.capabilities,
        precisions=card.precisions,
        peaks=dict(peaks),
        no_peaks=no_peaks,
        memory_bytes=card.memory_bytes,
        exclusive=True,
        in_use_by=card.in_use_by,
        note="; ".join(card.notes),
    )
