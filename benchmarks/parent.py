"""How much CPU the parent uses from a block's order to its reply: it must not be the noise.

python benchmarks/parent.py [--blocks 300]
"""

from __future__ import annotations

import argparse
import time

from figures import TINY, fakes, print_figure, print_machine

import fwprof
from fwprof import events
from fwprof.cancellation import Cancellation
from fwprof.environment import machine_facts
from fwprof.launcher.context import RunContext
from fwprof.records import frames
from fwprof.store import RunFolder

LIMIT = 0.005


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=300)
    count = parser.parse_args().blocks
    print_machine()
    with fakes() as runs:
        plan = fwprof.make_plan(
            workloads=(TINY,),
            plugins=("fake,forward_us=150,backward_us=250,update_us=100",),
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
                cpu, wall = time.process_time_ns(), time.perf_counter_ns()
                worker.link.send(order)
                while not isinstance(worker.link.receive(), frames.BlockDone):
                    pass
                cpu_ns += time.process_time_ns() - cpu
                wall_ns += time.perf_counter_ns() - wall
            worker.finish()
    share = cpu_ns / wall_ns
    print_figure(
        "the parent while a block is timed",
        f"{share:.2%} of a core ({cpu_ns / count / 1e3:.0f} us of {wall_ns / count / 1e6:.1f} ms a block)",
        "<= 0.5 %",
        is_reached=share <= LIMIT,
    )


if __name__ == "__main__":
    main()
