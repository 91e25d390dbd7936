"""What the timed region itself costs: blocks with and without the engine's own readings.

In one process, blocks that read the clock around every step (as every block of fwprof does)
alternate with blocks that read it once around all of them. Ends when the 95 % interval of the
median paired ratio is within 0.5 % to each side.

    python benchmarks/overhead.py [--step-us 500]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from itertools import cycle, islice

from figures import print_figure, print_machine

from fwprof.execution.session import Session, SystemClock
from fwprof.records import Schedule
from fwprof.statistics import half_width

LIMIT, HALF_WIDTH, STEPS, MOST_PAIRS = 0.01, 0.005, 16, 4000


class Spinning:
    """Programs that do a fixed amount of work: counting, not waiting for a clock."""

    def __init__(self, step_us: float) -> None:
        self._count = 1
        while self._typical_us() < step_us:
            self._count = int(self._count * 1.2) + 1

    def _typical_us(self) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter_ns()
            self.run(None)
            times.append(time.perf_counter_ns() - start)
        return statistics.median(times) / 1e3

    def run(self, _staged: object) -> int:
        """Do the work."""
        return sum(range(self._count))

    forward = forward_backward = run

    def wait(self, _result: int) -> None:
        """Return: the work is done."""

    def read(self, _result: int) -> tuple[float, None]:
        """Return a loss."""
        return 0.0, None

    def next_batch(self) -> None:
        """Return nothing."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-us", type=float, default=500.0)
    programs = Spinning(parser.parse_args().step_us)
    session = Session(None, programs, [None] * 8, Schedule(), clock=SystemClock())  # type: ignore[arg-type]  # the timed loop asks nothing of a model
    print_machine()
    gc.disable()
    batches = cycle([None] * 8)
    ratios: list[float] = []
    width = None
    while len(ratios) < MOST_PAIRS and (width is None or width > HALF_WIDTH or len(ratios) < 50):
        # The order alternates too: what the first does to caches, it does to both in turn.
        if len(ratios) % 2:
            timed, bare = _timed(session, programs), _bare(programs, batches)
        else:
            bare, timed = _bare(programs, batches), _timed(session, programs)
        ratios.append(timed / bare)
        width = half_width(ratios) if len(ratios) % 50 == 0 else width
    overhead = statistics.median(ratios) - 1
    print_figure(
        f"overhead in timed regions, step of {_bare(programs, batches) / STEPS / 1e3:.0f} us",
        f"{overhead:+.3%} +- {width or float('nan'):.3%} ({len(ratios)} pairs of blocks)",
        "<= 1 %, half-width <= 0.5 %",
        is_reached=width is not None and width <= HALF_WIDTH and overhead <= LIMIT,
    )


def _timed(session: Session, programs: Spinning) -> int:
    start = time.perf_counter_ns()
    session._time(programs.run, programs.wait, STEPS)
    return time.perf_counter_ns() - start


def _bare(programs: Spinning, batches: cycle[None]) -> int:
    run, wait, chosen = programs.run, programs.wait, list(islice(batches, STEPS))
    start = time.perf_counter_ns()
    for batch in chosen:
        wait(run(batch))
    return time.perf_counter_ns() - start


if __name__ == "__main__":
    main()
