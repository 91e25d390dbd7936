"""Does it harm a cell to be measured among eight live workers? The same process, alone and among.

Fresh processes of one cell differ by tens of percent by luck (docs/decisions/007), which would drown
what is asked here. So one worker is measured both ways in every round: once after the seven others
took their turns, as a session does it, and once while they are stopped (SIGSTOP), right after a
block of its own. A shared machine drifts by as much within seconds, so the two stand next to each
other in time, in random order.

    python benchmarks/interleaving.py [--plugin torch] [--workload mlp] [--rounds 300]
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
from fwprof.records import Block, Schedule, frames
from fwprof.statistics import mean_interval
from fwprof.store import RunFolder

LOW, HIGH = 0.95, 1.05
WORKERS = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin", default="torch")
    parser.add_argument("--workload", default="mlp")
    parser.add_argument("--rounds", type=int, default=300)
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
            pairs = [_round(workers) for _ in range(options.rounds)]
            for worker in workers:
                worker.finish()
    logs = [math.log(_step_ns(among) / _step_ns(alone)) for alone, among in pairs]
    mean, low, high = (math.exp(value) for value in mean_interval(logs))
    print_figure(
        f"{options.workload} on {options.plugin} among {WORKERS} live workers over alone",
        f"{mean:.3f}, 95 % interval {low:.3f} to {high:.3f} ({len(logs)} pairs)",
        f"interval within {LOW} to {HIGH}",
        is_reached=low >= LOW and high <= HIGH,
    )
    for name, blocks in zip(("alone", "among"), zip(*pairs, strict=True), strict=True):
        step = statistics.median(map(_step_ns, blocks)) / 1e6
        faults = statistics.median(map(_faults, blocks))
        print(f"{name}: median step {step:.3f} ms, {faults:.0f} minor page faults a step")


def _round(workers: Sequence[CellWorker]) -> tuple[Block, Block]:
    """Return a block of the first worker alone and one among the others, taken in random order."""
    ways = [_alone, _among]
    random.shuffle(ways)
    blocks = {way: way(workers) for way in ways}
    return blocks[_alone], blocks[_among]


def _alone(workers: Sequence[CellWorker]) -> Block:
    """Run the first worker while the others are stopped; the block before it is not looked at."""
    others = [worker.link.pid for worker in workers[1:] if worker.link.pid is not None]
    for pid in others:
        os.killpg(pid, signal.SIGSTOP)
    try:
        _block(workers[0])
        return _block(workers[0])
    finally:
        for pid in others:
            os.killpg(pid, signal.SIGCONT)


def _among(workers: Sequence[CellWorker]) -> Block:
    """Run the others in random order and then the first worker, each once the rest is quiet."""
    others = random.sample(workers[1:], len(workers) - 1)
    for worker in [*others, workers[0]]:
        settle([each.link.pid for each in workers if each is not worker], Schedule().settle_cap_ns)
        block = _block(worker)
    return block


def _block(worker: CellWorker) -> Block:
    done = worker.ask(frames.RunBlock(round=0, order=0, program="run", reset=True), frames.BlockDone)
    if done is None:
        raise SystemExit(f"a worker failed: {worker.failure}")
    return done.block


def _step_ns(block: Block) -> float:
    return statistics.median(block.step_ns)


def _faults(block: Block) -> float:
    faults = block.counters.minor_faults if block.counters else None
    return math.nan if faults is None else faults / (len(block.step_ns) + block.lead_in_count)


if __name__ == "__main__":
    main()
