"""Runs built by hand: each test says what it changes, in rounds of nanoseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fwprof.records import (
    Block,
    CellPlan,
    CellResult,
    Description,
    Device,
    Equivalence,
    Fate,
    FrameworkChoice,
    Group,
    MachineFacts,
    Measurement,
    PluginRef,
    Reading,
    RunPlan,
    RunRequest,
    RunResult,
    Schedule,
    Startup,
    WorkloadPlan,
)

Rounds = Sequence[float]
PROGRAMS = {"forward": 0.2, "forward_backward": 0.7, "run": 1.0, "pipelined": 0.9, "next_batch": 0.1}
"""Each program's time, as a share of the step's."""


class Build:
    """Makes records whose numbers are chosen and whose rest does not matter."""

    def plan(self, name: str, **changes: Any) -> CellPlan:
        reference = PluginRef(kind="framework", name=name, distribution=name, version="1", value=name)
        facts: dict[str, Any] = {
            "id": name,
            "workload": WorkloadPlan(name="mlp", flops=2_000_000, traffic_bytes=1_000_000),
            "framework": reference,
            "choice": FrameworkChoice(name=name),
            "device": Device(name="cpu", kind="cpu"),
            "device_plugin": reference,
            "batch_size": 64,
            "threads": 2,
            "environment": name,
        }
        return CellPlan(**(facts | changes))

    def blocks(self, steps: Rounds, programs: Mapping[str, float] = PROGRAMS) -> tuple[Block, ...]:
        return tuple(
            Block(
                round=number,
                order=order,
                program=program,  # type: ignore[arg-type]  # names come from a table of the literal
                start_ns=number,
                step_ns=(int(step * share * (4 if program == "pipelined" else 1)),),
                steps_per_value=4 if program == "pipelined" else 1,
            )
            for number, step in enumerate(steps)
            for order, (program, share) in enumerate(programs.items())
        )

    def measurement(self, steps: Rounds, session: int = 0, **changes: Any) -> Measurement:
        facts: dict[str, Any] = {
            "session": session,
            "blocks": self.blocks(steps),
            "startup": Startup(import_ns=3, build_ns=4, first_step_ns=50_000_000, second_step_ns=6),
            "steady": {"run": True},
        }
        return Measurement(**(facts | changes))

    def cell(self, name: str, *sessions: Rounds, fate: Fate = "ok", **changes: Any) -> CellResult:
        facts: dict[str, Any] = {
            "id": name,
            "fate": fate,
            "description": self.description(),
            "measurements": tuple(self.measurement(steps, index) for index, steps in enumerate(sessions)),
        }
        return CellResult(**(facts | changes))

    def profiled(
        self,
        name: str,
        steps: Sequence[Rounds],
        *,
        first: float = 1e9,
        memory: float | None = 3e8,
        metric: str = "host_peak",
        status: str = "equivalent",
        **changes: Any,
    ) -> CellResult:
        """A cell with first results and memories around these, each a little different (±0.4 %)."""
        import random

        source = random.Random(f"{name} {first} {memory}")
        noise = [source.uniform(0.996, 1.004) for _ in range(2 * len(steps))]
        measured = (
            self.measurement(
                rounds,
                number,
                startup=Startup(
                    import_ns=0, build_ns=0, first_step_ns=int(first * noise[number]), second_step_ns=1
                ),
            )
            for number, rounds in enumerate(steps)
        )
        readings = [
            {metric: Reading(value=int((memory or 0) * one), unit="bytes")} for one in noise[len(steps) :]
        ]
        facts: dict[str, Any] = {
            "measurements": tuple(measured),
            "equivalence": Equivalence(status=status),  # type: ignore[arg-type]  # a literal, by the caller
        }
        if memory is not None:
            facts |= {"readings": readings[0], "further_readings": tuple(readings[1:])}
        return self.cell(name, **(facts | changes))

    def description(self, **changes: Any) -> Description:
        facts: dict[str, Any] = {
            "mode": "eager",
            "native_device": "cpu",
            "settings": {"threads": 2},
            "versions": {"example": "1.0"},
            "parameter_count": 10,
            "batch_size": 64,
        }
        return Description(**(facts | changes))

    def run(
        self,
        *cells: CellResult,
        plans: Sequence[CellPlan] | None = None,
        fingerprint: str = "machine",
        **changes: Any,
    ) -> RunResult:
        planned = tuple(plans or (self.plan(cell.id) for cell in cells))
        schedule = changes.pop("schedule", Schedule(half_width=0.5, sessions=5))
        facts: dict[str, Any] = {
            "plan": RunPlan(
                run_id="run",
                fwprof_version="0",
                created="2026-01-01T00:00:00Z",
                request=RunRequest(),
                groups=(Group(name="all", cells=planned),),
                schedule=schedule,
                limits={},
            ),
            "machine": MachineFacts(
                system="Linux",
                kernel="6",
                machine="x86_64",
                python="3.11",
                processor=f"Example of {fingerprint}",
                cores=2,
                logical_cpus=4,
                fingerprint=fingerprint,
            ),
            "finished": "2026-01-01T00:01:00Z",
            "duration_ns": 1,
            "cells": cells,
        }
        return RunResult(**(facts | changes))


@pytest.fixture
def build() -> Build:
    return Build()


@pytest.fixture
def sessions() -> Callable[..., list[list[float]]]:
    """Five sessions of ten rounds around a step time, each a little different (±0.4 %)."""

    def make(
        step: float, *, count: int = 5, seed: int = 0, rounds: int = 10, spread: float = 0.01
    ) -> list[list[float]]:
        import random

        source = random.Random(f"{step} {seed}")
        return [
            [step * level * source.uniform(1 - spread, 1 + spread) for _ in range(rounds)]
            for level in (source.uniform(0.996, 1.004) for _ in range(count))
        ]

    return make


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "state"))
