"""What a large matrix costs the parent: CPU time and memory a cell, at its beginning and at its end.

The cells are those of a fake framework, so that next to nothing is measured and all that is seen is
the parent's own. Read when a group begins: what is collected at the end, for run.json, stands apart.
That a matrix killed at 20 moments is finished with every cell once is tests/test_matrix.py.

    python benchmarks/matrix.py [--cells 200]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import psutil
from figures import TINY, fakes, print_figure, print_machine

import fwprof
from fwprof import events

GROUP = 4
"""Cells a group."""
FLAT = 1.25
"""The last groups may take so much more CPU time a cell than the first: clocks wander too."""
GROWTH_BYTES = 20_000
"""Memory a cell may leave behind: what is known of it, and none of its blocks."""


@dataclass(frozen=True)
class Mark:
    """The parent, as a group begins."""

    cpu_s: float
    memory_bytes: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=200, metavar="N")
    groups = max(parser.parse_args().cells // GROUP, 2)
    print_machine()
    process = psutil.Process()
    marks: list[Mark] = []
    collecting: list[float] = []

    def observe(event: events.Event) -> None:
        if isinstance(event, events.GroupStarted):
            cpu_s = time.process_time()
            # What is held is asked for, not what waits to be collected.
            gc.collect()
            collecting.append(time.process_time() - cpu_s)
            marks.append(Mark(cpu_s - sum(collecting[:-1]), process.memory_info().rss))

    with fakes() as runs:
        result = fwprof.profile(
            workloads=(TINY,),
            plugins=tuple(f"fake,jitter_seed={number}" for number in range(GROUP)),
            devices=("fakecard:0",),
            schedule="interleaved",
            batch_sizes=tuple(range(1, groups + 1)),
            threads=(1,),
            rounds=3,
            max_seconds=0.5,
            equivalence="skip",
            machine_limits=False,
            memory=False,
            output=str(runs),
            observer=observe,
        )
        end = Mark(time.process_time(), process.memory_info().rss)
    fates = sorted({cell.fate for cell in result.cells})
    print(
        f"{len(result.cells)} cells in {groups} groups, {', '.join(fates)}, {result.duration_ns / 1e9:.0f} s"
    )
    _print_cpu(marks)
    _print_memory(marks, end)


def _print_cpu(marks: Sequence[Mark]) -> None:
    costs = [1e3 * (after.cpu_s - before.cpu_s) / GROUP for before, after in pairwise(marks)]
    part = max(len(costs) // 5, 1)
    first, last = statistics.median(costs[:part]), statistics.median(costs[-part:])
    print_figure(
        "the parent's CPU time a cell of a matrix",
        f"{first:.1f} ms in the first fifth, {last:.1f} ms in the last",
        f"at most {FLAT} x",
        is_reached=last <= FLAT * first,
    )


def _print_memory(marks: Sequence[Mark], end: Mark) -> None:
    # The first groups load modules and warm allocators up.
    begin = marks[len(marks) // 5]
    count = GROUP * (len(marks) - 1 - len(marks) // 5)
    growth = (marks[-1].memory_bytes - begin.memory_bytes) / count
    print_figure(
        "the parent's memory a cell of a matrix",
        f"{growth / 1e3:.1f} kB more a cell, from {begin.memory_bytes / 1e6:.0f} MB; "
        f"{end.memory_bytes / 1e6:.0f} MB once run.json is written",
        f"<= {GROWTH_BYTES / 1e3:.0f} kB a cell",
        is_reached=growth <= GROWTH_BYTES,
    )


if __name__ == "__main__":
    main()
