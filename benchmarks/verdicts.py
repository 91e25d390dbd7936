"""Repeated `--thorough` comparisons in real processes: are the verdicts right?

A cell against itself must show no difference, a fake or (`--plugin`) a real framework; a fake that
is 25 % slower must be called.

    python benchmarks/verdicts.py [--plugin torch --workload mlp] [--repeats 20] [--max-seconds 2] [--memory]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from figures import TINY, fakes, print_figure, print_machine

import fwprof

FAKE = "fake,forward_us=150,backward_us=250,update_us=100,data_us=20,jitter=0.05"
SLOWER = 1.25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin", help="the framework that is compared with itself; default: the fake")
    parser.add_argument("--workload", default=TINY)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--max-seconds", type=float, default=2.0)
    parser.add_argument("--memory", action="store_true", help="with the passes whose meters sample at 10 Hz")
    options = parser.parse_args()
    print_machine()
    with fakes() as runs:
        false = sum(
            _verdict(runs, options.workload, _twice(options.plugin), options, seed) != "no difference shown"
            for seed in range(options.repeats)
        )
        print_figure(
            f"false verdicts, A/A --thorough, {options.plugin or 'fakes'}",
            f"{false} of {options.repeats}",
            "<= 2 of 20",
            is_reached=false <= 0.1 * options.repeats,
        )
        called = sum(
            _verdict(runs, TINY, (FAKE, f"{FAKE},slow={SLOWER}"), options, seed) == "slower"
            for seed in range(options.repeats)
        )
        print_figure(
            "25 % slower called, --thorough",
            f"{called} of {options.repeats}",
            ">= 18 of 20",
            is_reached=called >= 0.9 * options.repeats,
        )


def _twice(plugin: str | None) -> tuple[str, str]:
    """Return two choices that run the same: a cell asked for twice is measured once."""
    if plugin is None:
        return FAKE, f"{FAKE},slow=1.0"
    name, comma, words = plugin.partition(",")
    framework, colon, variant = name.partition(":")
    return plugin, f"{framework}@again{colon}{variant}{comma}{words}"


def _verdict(
    runs: Path, workload: str, plugins: tuple[str, str], options: argparse.Namespace, seed: int
) -> str:
    result = fwprof.profile(
        workloads=(workload,),
        plugins=plugins,
        settings="as-shipped",
        environments={"again": sys.executable} if "@again" in plugins[1] else {},
        equivalence="skip",
        budget="thorough",
        max_seconds=options.max_seconds,
        seed=seed,
        memory=options.memory,
        machine_limits=False,
        output=str(runs),
    )
    for comparison in fwprof.summarize(result).comparisons:
        if comparison.metric == "step_time":
            print(
                f"  {plugins[1]}: ratio {comparison.ratio}, {comparison.ci95}, {comparison.verdict}",
                flush=True,
            )
            return comparison.verdict
    raise SystemExit("the run holds no comparison of step_time")


if __name__ == "__main__":
    main()
