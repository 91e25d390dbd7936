"""What torch's own allocator says of memory, on devices where it keeps count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwprof_torch.places import Place


class AllocatorMeter:
    """Peaks of the caching allocator of one device over a window.

    Source: torch.cuda.max_memory_allocated and max_memory_reserved, PyTorch's documentation.
    """

    passes: Sequence[str] = ("memory",)

    def __init__(self, place: Place) -> None:
        self._place = place

    def start(self) -> None:
        """Forget earlier peaks."""
        self._place.wait()
        self._place.module.reset_peak_memory_stats(self._place.device)

    def sample(self) -> None:
        """Do nothing: the allocator itself keeps the peaks."""

    def stop(self) -> Mapping[str, Reading]:
        """Return the peaks since `start` in bytes."""
        module, device = self._place.module, self._place.device
        self._place.wait()
        return {
            "tensor_peak": Reading(
                value=int(module.max_memory_allocated(device)),
                unit="bytes",
                basis="torch caching allocator, allocated to tensors",
            ),
            "torch.reserved_peak": Reading(
                value=int(module.max_memory_reserved(device)),
                unit="bytes",
                basis="torch caching allocator, reserved from the device",
            ),
        }
