"""Phases of known length, in real time: does fwprof report what is there?

A fake framework keeps the CPU busy for exactly the lengths it is told, and the whole engine
measures it: worker, warm-up, rounds, differences of medians.

    python benchmarks/known_cost.py [--rounds 30]
"""

from __future__ import annotations

import argparse

from figures import TINY, fakes, print_figure, print_machine

import fwprof

CASES_US = ((200, 400, 100), (1000, 2000, 500), (5000, 10_000, 2500))
"""Forward, backward and update of each case, µs."""
RELATIVE, ABSOLUTE_US = 0.02, 20.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print_machine()
    with fakes() as runs:
        for lengths in CASES_US:
            forward, backward, update = lengths
            plugin = f"fake,forward_us={forward},backward_us={backward},update_us={update},data_us=100"
            result = fwprof.profile(
                workloads=(TINY,),
                plugins=(plugin,),
                threads=(1,),
                rounds=rounds,
                memory=False,
                output=str(runs),
            )
            metrics = fwprof.summarize(result).cells[0].metrics
            for name, truth in zip(("forward_time", "backward_time", "optimizer_time"), lengths, strict=True):
                p50 = metrics[name].p50
                measured = float("nan") if p50 is None else p50 / 1e3
                error = measured - truth
                print_figure(
                    f"known {name} of {truth} us",
                    f"{measured:.1f} us ({error:+.1f} us, {error / truth:+.2%})",
                    "within 2 % or 20 us",
                    is_reached=abs(error) <= max(RELATIVE * truth, ABSOLUTE_US),
                )


if __name__ == "__main__":
    main()
