"""Does it harm a cell to be measured among eight live workers? The same process, alone and among.

Fresh processes of one cell differ by tens of percent by luck (docs/decisions/007), which would drown
what is asked here. So one worker is measured in turns: some rounds while the seven others are
stopped (SIGSTOP), back to back; some interleaved with them, as a session does it.

    python benchmarks/interleaving.py [--plugin torch] [--workload mlp] [--turns 24]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import statistics
import tempfile
from collections.abc import Sequence

from figures import print_figure, print_machine

import fwprof
from fwprof import events
from fwprof.cancellation import Cancellation
from fwprof.environment import machine_facts
from fwprof.launcher.cell import CellWorker
from fwprof.launcher.context import RunContext
from fwprof.launcher.schedules import settle
from fwprof.records import frames
from fwprof.statistics import mean_interval
from fwprof.store import RunFolder

LOW, HIGH = 0.95, 1.05
WORKERS, ROUNDS = 8, 6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin", default="torch")
    parser.add_argument("--workload", default="mlp")
    parser.add_argument("--turns", type=int, default=24)
    options = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as runs:
        plan = fwprof.make_plan(workloads=(options.workload,), plugins=(options.plugin,), output=runs)
        (cell,) = plan.cells()
        folder = RunFolder.create(plan, machine_facts())
        with RunContext(folder, events.ignore, Cancellation()) as context:
            workers = [context.open_worker(cell, str(number)) for number in range(WORKERS)]
            for worker in workers:
                context.open_cell(worker)
                worker.ask(frames.WarmUp(program="run", cap_ns=10**9), frames.Warm)
            logs = []
            for turn in range(options.turns):
                ways = [_alone, _among] if turn % 2 else [_among, _alone]
                step_ns = {way: way(workers) for way in ways}
                logs.append(math.log(step_ns[_among] / step_ns[_alone]))
            for worker in workers:
                worker.finish()
    mean, low, high = (math.exp(value) for value in mean_interval(logs))
    print_figure(
        f"{options.workload} on {options.plugin} among {WORKERS} live workers over alone",
        f"{mean:.3f}, 95 % interval {low:.3f} to {high:.3f} ({len(logs)} pairs of {ROUNDS} rounds)",
        f"interval within {LOW} to {HIGH}",
        is_reached=low >= LOW and high <= HIGH,
    )


def _alone(workers: Sequence[CellWorker]) -> float:
    """Return the median step of the first worker while the others are stopped, ns."""
    others = [worker.link.pid for worker in workers[1:] if worker.link.pid is not None]
    for pid in others:
        os.killpg(pid, signal.SIGSTOP)
    try:
        return statistics.median(_block(workers[0]) for _ in range(ROUNDS))
    finally:
        for pid in others:
            os.killpg(pid, signal.SIGCONT)


def _among(workers: Sequence[CellWorker]) -> float:
    """Return the median step of the first worker, its blocks interleaved with the others', ns."""
    values = []
    for _ in range(ROUNDS):
        for worker in random.sample(workers, len(workers)):
            settle([each.link.pid for each in workers if each is not worker], 20_000_000)
            value = _block(worker)
            if worker is workers[0]:
                values.append(value)
    return statistics.median(values)


def _block(worker: CellWorker) -> float:
    done = worker.ask(frames.RunBlock(round=0, order=0, program="run", reset=True), frames.BlockDone)
    if done is None:
        raise SystemExit(f"a worker failed: {worker.failure}")
    return statistics.median(done.block.step_ns)


if __name__ == "__main__":
    main()
