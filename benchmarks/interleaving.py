"""Does it harm a cell to be measured among eight live workers? Alone against among, in turn.

Fresh processes every time: one session of the cell alone, one of the same cell with seven others
and the A/A control alive beside it, in alternating order.

    python benchmarks/interleaving.py [--plugin torch] [--pairs 8] [--rounds 20]
"""

from __future__ import annotations

import argparse
import math
import statistics

from figures import fakes, print_figure, print_machine

import fwprof
from fwprof.records import RunResult
from fwprof.statistics import mean_interval

LOW, HIGH = 0.95, 1.05
OTHERS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin", default="torch")
    parser.add_argument("--workload", default="mlp")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print_machine()
    logs = []
    with fakes() as runs:
        for pair in range(options.pairs):
            times = {}
            for count in (1, 1 + OTHERS) if pair % 2 else (1 + OTHERS, 1):
                result = fwprof.profile(
                    workloads=(options.workload,),
                    plugins=(options.plugin,) * count,
                    rounds=options.rounds,
                    memory=False,
                    output=str(runs),
                )
                times[count] = _step_ns(result)
            logs.append(math.log(times[1 + OTHERS] / times[1]))
            print(
                f"  pair {pair}: alone {times[1] / 1e6:.4f} ms, among {times[1 + OTHERS] / 1e6:.4f} ms",
                flush=True,
            )
    mean, low, high = (math.exp(value) for value in mean_interval(logs))
    print_figure(
        f"{options.workload} on {options.plugin} among 8 live workers over alone",
        f"{mean:.3f}, 95 % interval {low:.3f} to {high:.3f} ({len(logs)} pairs of sessions)",
        "interval within 0.95 to 1.05",
        is_reached=low >= LOW and high <= HIGH,
    )


def _step_ns(result: RunResult) -> float:
    """Return the median training step of the first cell."""
    blocks = result.cells[0].measurements[0].blocks
    return statistics.median(statistics.median(b.step_ns) for b in blocks if b.program == "run")


if __name__ == "__main__":
    main()
