"""What CUDA_VISIBLE_DEVICES leaves of a machine's cards; knows nothing of NVML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

VARIABLE = "CUDA_VISIBLE_DEVICES"


class Named(Protocol):
    """What the variable may name: a card, or an instance of a card that is split (MIG)."""

    @property
    def index(self) -> int:
        """The card's number in nvidia-smi's order; all instances of a card share it."""

    @property
    def uuid(self) -> str:
        """`GPU-…`, of an instance `MIG-…`."""


Place = TypeVar("Place", bound=Named)


def only_visible(places: Sequence[Place], variable: str | None) -> list[Place]:
    """Return those that CUDA_VISIBLE_DEVICES leaves visible, in the order given.

    An entry is an index, or the beginning of one UUID; from the first entry that is neither, or is
    repeated, on, CUDA ignores the rest. The index of a split card stands for its first instance, the
    only one that CUDA then finds.

    Source: NVIDIA, CUDA C++ Programming Guide, "CUDA Environment Variables"; MIG User Guide, "CUDA
    device enumeration".

    Args:
        places: all that are there, in nvidia-smi's order.
        variable: its value; None: not set, and everything is visible.
    """
    if variable is None:
        return list(places)
    chosen: list[Place] = []
    for entry in (part.strip() for part in variable.split(",")):
        if entry.isdigit():
            matches = [place for place in places if place.index == int(entry)][:1]
        else:
            matches = [place for place in places if entry and place.uuid.startswith(entry)]
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen += matches
    return [place for place in places if place in chosen]


def counts_differ(names: Sequence[str], variable: str | None, order: str | None) -> bool:
    """Return whether CUDA may count the cards in another order than nvidia-smi does.

    Left to itself, CUDA puts the fastest card first: only indices are read in that order, and only
    where the cards differ.

    Args:
        names: of the cards' models.
        variable: CUDA_VISIBLE_DEVICES.
        order: CUDA_DEVICE_ORDER.
    """
    by_index = any(part.strip().isdigit() for part in (variable or "").split(","))
    return by_index and order != "PCI_BUS_ID" and len(set(names)) > 1
