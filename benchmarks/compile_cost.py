"""What the first step costs, cold and warm: fresh processes, compiled code kept on disk or not.

    python benchmarks/compile_cost.py [--plugin NAME]... [--workload mlp] [--repeats 3]

Warm is a fresh process whose option `cache=` names a folder that an earlier one filled; a plugin
without that option keeps nothing on disk, and has no such figure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from figures import make_parser, median_and_range, own_state, parse, print_machine, print_table

import fwprof
from fwprof.records import CellSummary
from fwprof.report.figures import duration

COLD = ("import_time", "build_time", "first_step_time", "compile_time")


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, workloads=("mlp",))
    parser.add_argument("--repeats", type=int, default=3)
    options = parse(parser)
    print_machine()
    rows = []
    with own_state() as runs:
        for workload in options.workloads:
            for plugin in options.plugins:
                cold = [_measure(runs, workload, plugin) for _ in range(options.repeats)]
                warm = _warm(runs, workload, plugin, options.repeats)
                rows.append([Path(workload).stem, plugin, *(_said(cold, name) for name in COLD)])
                rows[-1] += [_said(warm, name) for name in COLD[2:]]
                print(f"  {rows[-1]}", flush=True)
    head = ["workload", "cell", "import", "build", "first step, cold", "of it compiling"]
    print_table([*head, "first step, warm", "of it compiling"], rows)


def _warm(runs: Path, workload: str, plugin: str, repeats: int) -> Sequence[CellSummary]:
    """Return cells whose compiled code was there; none where the plugin keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="fwprof-cache-") as cache:
        found = [_measure(runs, workload, f"{plugin},cache={cache}") for _ in range(repeats + 1)]
    return [cell for cell in found[1:] if "warm_cache" in cell.labels]


def _measure(runs: Path, workload: str, plugin: str) -> CellSummary:
    result = fwprof.profile(
        workloads=(workload,),
        plugins=(plugin,),
        rounds=5,
        budget="quick",
        memory=False,
        output=str(runs),
    )
    (cell,) = fwprof.summarize(result).cells
    return cell


def _said(cells: Sequence[CellSummary], name: str) -> str:
    values = [value for cell in cells if (value := cell.metrics[name].value) is not None]
    return median_and_range(values, duration)


if __name__ == "__main__":
    main()
