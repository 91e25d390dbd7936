"""What the memory of the fake framework's step is made of; and a first step that takes more than others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from fwprof.testing.fake_framework import FakeModel, Outcome

NO_COUNT = "NumPy keeps no count of what a pass holds"


class FirstStep:
    """Takes so much memory once, and gives it back at once."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def take(self) -> None:
        """Take it, the first time."""
        # Ones, since the kernel gives no memory for zeros that nobody wrote.
        np.ones(self._size_bytes, dtype=np.uint8)
        self._size_bytes = 0


def read_memory(model: FakeModel, differentiated: Outcome) -> Mapping[str, Reading]:
    """Return the bytes of every array, by what it is for.

    Args:
        model: that took training steps.
        differentiated: what G returned.
    """
    update = model.update
    slots = [array for kept in (update.first, update.second) for array in kept.values()]
    sizes = {
        "parameter_memory": sum(value.nbytes for value in model.network.values.values()),
        "gradient_memory": sum(value.nbytes for value in (differentiated.gradients or {}).values()),
        "optimizer_memory": sum(array.nbytes for array in slots),
    }
    nothing = Reading(value=None, unit="bytes", reason=NO_COUNT)
    return {name: Reading(value=size, unit="bytes", basis="NumPy arrays") for name, size in sizes.items()} | {
        "activation_memory": nothing
    }
