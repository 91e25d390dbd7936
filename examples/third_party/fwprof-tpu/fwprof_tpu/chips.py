"""Finds TPU chips by the files that their driver makes, or those that jax was told to simulate.

No framework is imported: one that looks for a TPU takes it, and no other process gets it then.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fwprof.plugin import PluginUnavailableError

DEVICE_FILES = ("accel[0-9]*", "vfio/[0-9]*")
"""What the drivers of TPU v2 to v4, and of later ones, make below /dev."""
FORCED = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
"""The flag by which jax makes several devices of one host; source: jax's documentation of XLA flags."""


@dataclass(frozen=True)
class Chip:
    """One chip, or a host device that stands for one.

    Args:
        index: as the machine counts.
        title: what a person calls it.
        is_simulated: whether it is the host in disguise.
    """

    index: int
    title: str
    is_simulated: bool


def find_chips(dev: Path = Path("/dev")) -> list[Chip]:
    """Return the chips of this machine; without any, those that XLA_FLAGS tells jax to simulate.

    Raises:
        PluginUnavailableError: there are none, and none are to be simulated.
    """
    files = next((found for pattern in DEVICE_FILES if (found := sorted(dev.glob(pattern)))), [])
    if files:
        kind = os.environ.get("TPU_ACCELERATOR_TYPE", "").strip()
        title = f"TPU {kind}" if kind else "TPU"
        return [Chip(index, title, is_simulated=False) for index in range(len(files))]
    flags = FORCED.search(os.environ.get("XLA_FLAGS", ""))
    if flags and int(flags[1]):
        title = "simulation: a device of the host that jax was forced to make"
        return [Chip(index, title, is_simulated=True) for index in range(int(flags[1]))]
    looked_for = ", ".join(f"{dev}/{pattern}" for pattern in DEVICE_FILES)
    raise PluginUnavailableError(
        "no TPU can be used here",
        cause=f"looked for {looked_for}; found nothing",
        kept="nothing was started",
        next="for a simulation on the host: XLA_FLAGS=--xla_force_host_platform_device_count=2",
    )
