"""Small, complete records for tests: a cell, a plan, a stored run.

Owns nothing but plausible values. No measuring happened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fwprof.plugin import CellPlan, Description, Device, Scalar, layers
from fwprof.records import (
    Block,
    CellResult,
    Failure,
    FrameworkChoice,
    Group,
    MachineFacts,
    Measurement,
    PluginRef,
    ProgramName,
    Reading,
    RunPlan,
    RunRequest,
    RunResult,
    Schedule,
    Startup,
    Workload,
    WorkloadPlan,
)

STEP_NS: Mapping[ProgramName, int] = {
    "forward": 100_000,
    "forward_backward": 300_000,
    "run": 350_000,
    "pipelined": 340_000,
    "next_batch": 20_000,
}
"""Length of one step of each program in `sample_result`."""

WORKLOAD = Workload(
    name="mlp-sample",
    input=layers.InputSpec(shape=(12,)),
    layers=(layers.Dense(units=8, activation="relu"), layers.Dense(units=5)),
    classes=5,
    optimizer=layers.Sgd(learning_rate=0.1),
)

MLP_BN = Path(__file__).with_name("mlp-bn.yaml")
"""A workload of dense layers with batch_norm between them, whose statistics frameworks average by
different rules: for tests of equal work, too small to be worth timing."""


def sample_cell(
    *,
    name: str = "fake",
    variant: str | None = None,
    options: Mapping[str, Scalar] | None = None,
    device: Device | None = None,
    workload: WorkloadPlan | None = None,
    value: str = "fwprof.testing.fake_framework:plugin",
    threads: int = 1,
    batch_size: int | None = 16,
    seed: int = 0,
    **fields: Any,
) -> CellPlan:
    """Return a cell of one framework plugin on one device.

    Args:
        name: of the framework, as users type it.
        value: its entry point.
        fields: any further field of `CellPlan`.
    """
    choice = FrameworkChoice(name=name, variant=variant, options=dict(options or {}))
    device = device or Device(name="cpu", kind="cpu", native={name: "cpu"})
    workload = workload or WorkloadPlan(name=WORKLOAD.name, spec=WORKLOAD)
    return CellPlan(
        id=f"{workload.name}/{choice}/{device.name}",
        workload=workload,
        framework=PluginRef(
            kind="framework", name=name, distribution=f"fwprof-{name}", version="1.0", value=value
        ),
        choice=choice,
        device=device,
        device_plugin=PluginRef(
            kind="device", name=device.kind, distribution=f"fwprof-{device.kind}", version="1.0", value=""
        ),
        batch_size=batch_size,
        threads=threads,
        environment=name,
        seed=seed,
        **fields,
    )


def sample_result(rounds: int = 12) -> RunResult:
    """Return a stored run of two cells: one that went well, one that was killed in a block."""
    good, bad = sample_cell(), sample_cell(variant="graph")
    cells = (
        CellResult(
            id=good.id,
            digest="0" * 64,
            fate="ok",
            description=Description(
                mode="eager",
                native_device="cpu",
                settings={"threads": 1},
                versions={"numpy": "2.0.0"},
                parameter_count=149,
                batch_size=16,
            ),
            measurements=(_measure(rounds),),
            readings={
                "host_peak": Reading(value=123_456_789, unit="bytes"),
                "energy": Reading(value=None, unit="uJ/step", reason="no counter was found"),
            },
        ),
        CellResult(
            id=bad.id,
            fate="killed",
            failure=Failure(
                fate="killed", stage="block", plugin="fwprof-fake 1.0", message="killed by SIGKILL"
            ),
            labels=("incomplete",),
        ),
    )
    return RunResult(
        plan=RunPlan(
            run_id="01SAMPLE",
            fwprof_version="0.1.0",
            created="2030-01-01T00:00:00Z",
            request=RunRequest(workloads=(WORKLOAD.name,)),
            groups=(Group(name=WORKLOAD.name, cells=(good, bad)),),
            schedule=Schedule(),
            limits={},
        ),
        machine=MachineFacts(
            system="Linux",
            kernel="6.0",
            machine="x86_64",
            python="3.11.0",
            processor="A sample processor",
            cores=2,
            logical_cpus=4,
            fingerprint="0" * 16,
        ),
        finished="2030-01-01T00:01:00Z",
        duration_ns=60_000_000_000,
        cells=cells,
    )


def _measure(rounds: int) -> Measurement:
    blocks = tuple(
        Block(
            round=round_,
            order=order,
            program=program,
            start_ns=(round_ * len(STEP_NS) + order) * 10_000_000,
            # One percent up and down, so that intervals are not of width zero.
            step_ns=(length_ns + (round_ % 3 - 1) * length_ns // 100,) * 5,
            lead_in_count=4,
            loss=1.5 if program == "run" else None,
        )
        for round_ in range(rounds)
        for order, (program, length_ns) in enumerate(STEP_NS.items())
    )
    return Measurement(
        session=0,
        startup=Startup(
            import_ns=50_000_000, build_ns=5_000_000, first_step_ns=900_000, second_step_ns=400_000
        ),
        blocks=blocks,
        steady=dict.fromkeys(STEP_NS, True),
    )
