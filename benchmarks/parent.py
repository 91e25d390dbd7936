"""How much CPU the parent uses from a block's order to its reply: it must not be the noise.

Beside it stands what of that falls between a block's steps, seen from inside the worker: a
framework made for this reads the parent's CPU clock at every call. The goal judges the whole way.

    python benchmarks/parent.py [--blocks 300]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from figures import TINY, print_figure, print_machine

import fwprof
from fwprof import events
from fwprof.cancellation import Cancellation
from fwprof.environment import machine_facts
from fwprof.launcher.context import RunContext
from fwprof.records import frames
from fwprof.store import RunFolder
from fwprof.testing.installed import FakeDistribution, installed

LIMIT = 0.005
APART_NS = 3_000_000
"""Calls further apart than this belong to two blocks."""

WATCHING = """
import json, os, time
from fwprof.testing.fake_framework import FakeFramework, FakePrograms

CLOCK = (~os.getppid() << 3) | 2
seen = []

class Watching(FakePrograms):
    def run(self, staged):
        seen.append((time.perf_counter_ns(), time.clock_gettime_ns(CLOCK)))
        if len(seen) % 200 == 0:
            with open(os.environ["FWPROF_WATCHED"], "w") as file:
                json.dump(seen, file)
        return super().run(staged)

plugin = FakeFramework(programs_class=Watching)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=300)
    count = parser.parse_args().blocks
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        watched = folder / "watched.json"
        os.environ["FWPROF_WATCHED"] = str(watched)
        plugin = FakeDistribution(
            name="fwprof-watching",
            entry_points={"fwprof.frameworks": {"watching": "watching_framework:plugin"}},
            modules={"watching_framework": WATCHING},
        )
        (folder / "plugins").mkdir()
        with installed(folder / "plugins", plugin):
            cpu_ns, wall_ns = _measure(folder / "runs", count)
        share, blocks = _share_inside(json.loads(watched.read_text()))
    print_figure(
        "the parent while a block is timed",
        f"{cpu_ns / wall_ns:.2%} of a core from order to reply ({cpu_ns / count / 1e3:.0f} us of "
        f"{wall_ns / count / 1e6:.1f} ms a block); {share:.3%} between the steps of {blocks} blocks",
        "<= 0.5 % from order to reply",
        is_reached=cpu_ns / wall_ns <= LIMIT,
    )


def _measure(runs: Path, count: int) -> tuple[int, int]:
    """Run blocks and return CPU and wall time from order to reply, ns."""
    plan = fwprof.make_plan(
        workloads=(TINY,),
        plugins=("watching,forward_us=150,backward_us=250,update_us=100",),
        threads=(1,),
        output=str(runs),
    )
    folder = RunFolder.create(plan, machine_facts())
    with RunContext(folder, events.ignore, Cancellation()) as context:
        (cell,) = plan.cells()
        worker = context.open_worker(cell, "0")
        context.open_cell(worker)
        worker.ask(frames.WarmUp(program="run", cap_ns=10**9), frames.Warm)
        cpu_ns = wall_ns = 0
        for number in range(count):
            order = frames.RunBlock(round=number, order=0, program="run", reset=True)
            time.sleep(2 * APART_NS / 1e9)
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            worker.link.send(order)
            while not isinstance(worker.link.receive(), frames.BlockDone):
                pass
            cpu_ns += time.process_time_ns() - cpu
            wall_ns += time.perf_counter_ns() - wall
        worker.finish()
    return cpu_ns, wall_ns


def _share_inside(seen: list[tuple[int, int]]) -> tuple[float, int]:
    """Return the parent's CPU time over the wall time within blocks, and how many blocks that were."""
    wall_ns = cpu_ns = 0
    blocks = 1
    for (wall, cpu), (next_wall, next_cpu) in pairwise(seen):
        if next_wall - wall > APART_NS:
            blocks += 1
        else:
            wall_ns += next_wall - wall
            cpu_ns += next_cpu - cpu
    return cpu_ns / wall_ns, blocks


if __name__ == "__main__":
    main()
