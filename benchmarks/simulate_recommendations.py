"""How often are recommendations right, on made-up runs whose truth is known.

Whole runs are made up, raw numbers and all, and summarized by the product. The noise of the step is
that of `simulate_rule`; the rest differs between processes alone:

    ln first result: sd 3 %       ln memory: sd 0.5 %

    python benchmarks/simulate_recommendations.py [--simulations 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from time import monotonic
from typing import TYPE_CHECKING

import numpy
from simulate_rule import SESSIONS, make_rounds, share

from fwprof.comparison import summarize
from fwprof.comparison.recommend import AMORTISED
from fwprof.records import (
    Block,
    CellPlan,
    CellResult,
    Device,
    Equivalence,
    FrameworkChoice,
    Group,
    MachineFacts,
    Measurement,
    PluginRef,
    Reading,
    Recommendation,
    RunPlan,
    RunRequest,
    RunResult,
    Schedule,
    Startup,
    WorkloadPlan,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float64]

FIRST_SD, MEMORY_SD = 0.03, 0.005
SCENARIOS = ("fastest training", "resource-limited", "quickest first result", AMORTISED, "steadiest")
ANY = "any of the five"

MACHINE = MachineFacts(
    system="Linux",
    kernel="6",
    machine="x86_64",
    python="3.11",
    processor="none: simulated",
    cores=2,
    logical_cpus=2,
    fingerprint="simulated",
)


@dataclass(frozen=True)
class Truth:
    """What one cell takes, before noise."""

    step_ns: float = 1e6
    first_ns: float = 3e9
    memory_bytes: float = 5e8
    spread: float = 1.0
    """Its noise from round to round, as a multiple of the model's."""


BETTER = Truth(step_ns=0.9e6, first_ns=2.7e9, memory_bytes=4.5e8, spread=0.5)
"""The spread of 40 rounds is known to a fifth: no 10 % can be seen in it."""
EARLY, LATE = Truth(), Truth(step_ns=0.8e6, first_ns=10e9)
CROSSING = 1 + (LATE.first_ns - EARLY.first_ns) / (EARLY.step_ns - LATE.step_ns)


def make_run(generator: numpy.random.Generator, truths: Sequence[Truth]) -> RunResult:
    """Return a made-up `--thorough` run of cells `c0`, `c1`, …, all equivalent."""
    rounds = make_rounds(
        generator, [log(truth.step_ns) for truth in truths], sd=[truth.spread for truth in truths]
    )
    shape = (len(truths), SESSIONS)
    first = _noisy(generator, [truth.first_ns for truth in truths], FIRST_SD, shape)
    memory = _noisy(generator, [truth.memory_bytes for truth in truths], MEMORY_SD, shape)
    plans = tuple(_plan(f"c{number}") for number in range(len(truths)))
    cells = []
    for number, plan in enumerate(plans):
        readings = [{"host_peak": Reading(value=int(one), unit="bytes")} for one in memory[number]]
        steps = [session[number] for session in rounds]
        cells.append(
            CellResult(
                id=plan.id,
                fate="ok",
                measurements=tuple(
                    _measurement(session, values, first[number][session])
                    for session, values in enumerate(steps)
                ),
                readings=readings[0],
                further_readings=tuple(readings[1:]),
                equivalence=Equivalence(status="equivalent" if number else "reference"),
            )
        )
    return RunResult(
        plan=RunPlan(
            run_id="simulated",
            fwprof_version="0",
            created="2026-01-01T00:00:00Z",
            request=RunRequest(),
            groups=(Group(name="all", cells=plans),),
            schedule=Schedule(budget="thorough", sessions=SESSIONS, max_rounds=len(rounds[0][0])),
            limits={},
        ),
        machine=MACHINE,
        finished="2026-01-01T00:01:00Z",
        duration_ns=1,
        cells=tuple(cells),
    )


def _noisy(
    generator: numpy.random.Generator, truth: Sequence[float], sd: float, shape: tuple[int, int]
) -> Floats:
    noisy: Floats = numpy.exp(sd * generator.normal(size=shape)) * numpy.asarray(truth)[:, None]
    return noisy


def _plan(name: str) -> CellPlan:
    reference = PluginRef(kind="framework", name=name, distribution=name, version="1", value=name)
    return CellPlan(
        id=name,
        workload=WorkloadPlan(name="simulated"),
        framework=reference,
        choice=FrameworkChoice(name=name),
        device=Device(name="cpu", kind="cpu"),
        device_plugin=reference,
        batch_size=64,
        threads=2,
        environment=name,
    )


def _measurement(session: int, steps: Sequence[float], first_ns: float) -> Measurement:
    return Measurement(
        session=session,
        startup=Startup(import_ns=0, build_ns=0, first_step_ns=int(first_ns), second_step_ns=1),
        blocks=tuple(
            Block(round=number, order=0, program="run", start_ns=number, step_ns=(int(step),))
            for number, step in enumerate(steps)
        ),
    )


def recommended(run: RunResult) -> Mapping[str, Recommendation]:
    """Return what the product says of a run, by scenario."""
    return {one.scenario: one for one in summarize(run, "", stored={}).recommendations}


def count_named(
    generator: numpy.random.Generator, count: int, truths: Sequence[Truth], cell: str | None = None
) -> Mapping[str, int]:
    """Return for each scenario how often it names a single cell.

    Args:
        generator: source of the noise.
        count: runs.
        truths: one a cell.
        cell: the one that must be named; None: any. A number of steps at which cells change places
            names one of them at each.
    """
    named = dict.fromkeys((*SCENARIOS, ANY), 0)
    for _ in range(count):
        hits = [
            scenario
            for scenario, one in recommended(make_run(generator, truths)).items()
            if (len(one.choice) == 1 or one.crossings) and cell in (None, *one.choice)
        ]
        for scenario in (*hits, ANY) if hits else ():
            named[scenario] += 1
    return named


def count_crossings(generator: numpy.random.Generator, count: int) -> tuple[int, int]:
    """Return in how many runs the late starter is shown to pay, and in how many of these the
    interval holds the true number of steps."""
    shown = covered = 0
    for _ in range(count):
        found = recommended(make_run(generator, [EARLY, LATE]))[AMORTISED].crossings
        shown += bool(found)
        covered += bool(found) and found[0].ci95[0] <= CROSSING <= found[0].ci95[1]
    return shown, covered


def print_shares(named: Mapping[str, int], count: int) -> None:
    """Print one line a scenario."""
    for scenario, hits in named.items():
        print(f"  {scenario:<56} {share(hits, count)}")


def main() -> None:
    """Simulate, and print one line an event."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count, began = options.simulations, monotonic()
    generator = numpy.random.default_rng(options.seed)
    print(f"{SESSIONS} sessions, {count} simulated runs each, seed {options.seed}")
    for cells in (2, 8):
        print(f"\n{cells} identical cells: one is named alone (goal ≤ 5 %)")
        print_shares(count_named(generator, count, [Truth()] * cells), count)
    for cells in (2, 8):
        print(f"\nfirst of {cells} 10 % better, half the spread: named (goal ≥ 75 %)")
        truths = [BETTER, *[Truth()] * (cells - 1)]
        print_shares(count_named(generator, count, truths, "c0"), count)
    shown, covered = count_crossings(generator, count)
    print(f"\na start 7 s later, a step 20 % shorter: pays from {CROSSING:,.0f} steps")
    print(f"  {'a number of steps is named':<56} {share(shown, count)}")
    print(f"  {'its interval holds the truth (goal ≥ 93 %)':<56} {share(covered, shown)}")
    print(f"\n{monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
