"""What tensorflow's own allocator says of memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import tensorflow as tf

from fwprof.plugin import Reading
from fwprof_tensorflow.memory import counts_small_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwprof_tensorflow.places import Place


class AllocatorMeter:
    """Peak of the allocator of one device over a window.

    Source: tf.config.experimental.get_memory_info, TensorFlow's documentation.
    """

    passes: Sequence[str] = ("memory",)

    def __init__(self, place: Place) -> None:
        self._place = place

    def start(self) -> None:
        """Forget earlier peaks."""
        self._place.wait()
        # A device without statistics says so at the end.
        with suppress(ValueError):
            tf.config.experimental.reset_memory_stats(self._place.name)

    def sample(self) -> None:
        """Do nothing: the allocator itself keeps the peak."""

    def stop(self) -> Mapping[str, Reading]:
        """Return the peak since `start` in bytes."""
        self._place.wait()
        basis = f"tensorflow's allocator of {self._place.name}: variables, batches and work of a step"
        try:
            peak = tf.config.experimental.get_memory_info(self._place.name)["peak"]
            if not counts_small_blocks(self._place):
                basis += "; small blocks (below 256 KiB, with oneDNN) are not counted"
        except ValueError as error:
            return {"tensor_peak": Reading(value=None, unit="bytes", reason=str(error), basis=basis)}
        return {"tensor_peak": Reading(value=int(peak), unit="bytes", basis=basis)}
