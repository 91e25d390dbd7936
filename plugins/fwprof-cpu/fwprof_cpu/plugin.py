"""The hooks of the device `cpu`: the host itself, and the energy its packages use."""

from __future__ import annotations

from collections.abc import Sequence

from fwprof.plugin import Device, Meter, hookimpl, machine_facts
from fwprof_cpu.rapl import RaplMeter

NATIVE = {"torch": "cpu", "tensorflow": "CPU:0", "keras": "cpu:0", "jax": "cpu"}
"""How each runtime names the cpu; one that is missing here calls it `cpu`, or finds it unasked."""


@hookimpl
def devices() -> Sequence[Device]:
    """Return the one cpu device; it hides every card from the frameworks."""
    machine = machine_facts()
    return [
        Device(
            name="cpu",
            kind="cpu",
            title=machine.processor,
            native=NATIVE,
            environment={"CUDA_VISIBLE_DEVICES": ""},
            capabilities={
                "cores": machine.cores,
                "logical_cpus": machine.logical_cpus,
                "virtualised": machine.virtualised,
            },
            # All frameworks compute in 16 bits here, in hardware or not: their times tell.
            precisions=("float32", "bfloat16", "float16"),
            memory_bytes=machine.memory_bytes,
        )
    ]


@hookimpl
def measure() -> Sequence[Meter]:
    """Return the meter of the packages' energy; it says why where there is none."""
    return [RaplMeter()]
