"""How far the ratio of two frameworks moves between sessions: interleaved against sequential.

    python benchmarks/spread.py [--plugin torch --plugin tensorflow] [--workload NAME]... [--sessions 8]

Sessions of the two schedules take turns, so that a machine that drifts drifts for both.
"""

from __future__ import annotations

import math
import statistics
from argparse import Namespace
from pathlib import Path

from figures import make_parser, median_and_range, own_state, parse, print_machine, print_table

import fwprof

SCHEDULES = ("interleaved", "sequential")


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, plugins=("torch", "tensorflow"), workloads=("mlp", "lenet"))
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--max-seconds", type=float, default=20.0)
    options = parse(parser)
    if len(options.plugins) != 2:
        parser.error("a ratio needs exactly two --plugin")
    print_machine()
    rows = []
    with own_state() as runs:
        for workload in options.workloads:
            logs: dict[str, list[float]] = {schedule: [] for schedule in SCHEDULES}
            for session in range(options.sessions):
                for schedule in SCHEDULES if session % 2 else SCHEDULES[::-1]:
                    logs[schedule].append(_log_ratio(runs, workload, options, schedule, seed=session))
                    print(f"  {workload} {schedule}: {math.exp(logs[schedule][-1]):.3f}", flush=True)
            for schedule, found in logs.items():
                ratios = [math.exp(value) for value in found]
                spread = f"{100 * statistics.stdev(found):.1f} %" if len(found) > 1 else "–"
                middle = median_and_range(ratios, lambda value: f"{value:.2f}")
                rows.append((Path(workload).stem, schedule, str(len(found)), middle, spread))
    a, b = options.plugins
    head = ("workload", "schedule", "sessions", f"step of {b} / {a}: median (range)", "sd of its logarithm")
    print_table(head, rows)


def _log_ratio(runs: Path, workload: str, options: Namespace, schedule: str, seed: int) -> float:
    result = fwprof.profile(
        workloads=(workload,),
        plugins=options.plugins,
        schedule=schedule,
        max_seconds=options.max_seconds,
        seed=seed,
        settings="as-shipped",
        processes=1,
        equivalence="skip",
        memory=False,
        machine_limits=False,
        output=str(runs),
    )
    p50s = [cell.metrics["step_time"].p50 for cell in fwprof.summarize(result).cells]
    if len(p50s) != 2 or p50s[0] is None or p50s[1] is None:
        raise SystemExit(f"a cell has no step time: {[cell.failure for cell in result.cells]}")
    return math.log(p50s[1] / p50s[0])


if __name__ == "__main__":
    main()
