"""Repeated `--thorough` comparisons of fakes in real processes: are the verdicts right?

A cell against itself must show no difference; one that is 25 % slower must be called.

    python benchmarks/verdicts.py [--repeats 20] [--max-seconds 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from figures import TINY, fakes, print_figure, print_machine

import fwprof

PHASES = "forward_us=150,backward_us=250,update_us=100,data_us=20,jitter=0.05"
SLOWER = 1.25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--max-seconds", type=float, default=2.0)
    options = parser.parse_args()
    print_machine()
    with fakes() as runs:
        false = sum(
            _verdict(runs, 1.0, options, seed) != "no difference shown" for seed in range(options.repeats)
        )
        print_figure(
            "false verdicts, A/A --thorough",
            f"{false} of {options.repeats}",
            "<= 2 of 20",
            is_reached=false <= 0.1 * options.repeats,
        )
        called = sum(_verdict(runs, SLOWER, options, seed) == "slower" for seed in range(options.repeats))
        print_figure(
            "25 % slower called, --thorough",
            f"{called} of {options.repeats}",
            ">= 18 of 20",
            is_reached=called >= 0.9 * options.repeats,
        )


def _verdict(runs: Path, slow: float, options: argparse.Namespace, seed: int) -> str:
    result = fwprof.profile(
        workloads=(TINY,),
        plugins=(f"fake,{PHASES}", f"fake,{PHASES},slow={slow}"),
        threads=(1,),
        budget="thorough",
        max_seconds=options.max_seconds,
        seed=seed,
        memory=False,
        output=str(runs),
    )
    for comparison in fwprof.summarize(result).comparisons:
        if comparison.metric == "step_time":
            print(
                f"  {slow} x: ratio {comparison.ratio}, {comparison.ci95}, {comparison.verdict}", flush=True
            )
            return comparison.verdict
    raise SystemExit("the run holds no comparison of step_time")


if __name__ == "__main__":
    main()
