"""The hooks of the device `tpu`."""

from __future__ import annotations

from collections.abc import Sequence

from fwprof.plugin import Device, Meter, hookimpl
from fwprof_tpu.chips import Chip, find_chips
from fwprof_tpu.meters import ACTIVITY, MEMORY, ChipMeter


@hookimpl
def devices() -> Sequence[Device]:
    """Return the chips of this machine, or those that are simulated."""
    return [_describe(chip) for chip in find_chips()]


@hookimpl
def measure(device: Device) -> Sequence[Meter]:
    """Return the meters of a chip's memory and of how busy it is."""
    return [ChipMeter(device, ("memory",), MEMORY), ChipMeter(device, ("energy",), ACTIVITY)]


def _describe(chip: Chip) -> Device:
    if chip.is_simulated:
        # jax counts all host devices in every worker; only it can be forced to make more than one.
        native = {"jax": f"cpu:{chip.index}"}
        environment: dict[str, str] = {}
    else:
        # A worker sees its chip alone, so that it is the first of every runtime.
        # Source: Google Cloud TPU documentation, running several processes on one host.
        native = {"jax": "tpu:0", "torch": "xla:0", "tensorflow": "TPU:0"}
        environment = {
            "TPU_VISIBLE_CHIPS": str(chip.index),
            "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
            "TPU_PROCESS_BOUNDS": "1,1,1",
        }
    return Device(
        name=f"tpu:{chip.index}",
        uuid=f"{'simulated-' if chip.is_simulated else ''}tpu-{chip.index}",
        kind="tpu",
        title=chip.title,
        native=native,
        environment=environment,
        capabilities={"simulated": chip.is_simulated},
        precisions=("float32", "bfloat16"),
        exclusive=True,
        note="a simulation: its figures are those of the host" if chip.is_simulated else "",
    )
