"""The comparison table: every workload on every cell, both presets, `--thorough`.

    python benchmarks/comparison.py [--plugin NAME]... [--workload NAME]... [--budget thorough]
                                    [--max-seconds S] [--output FOLDER]

Several hours for all of it; a workload at a time is as good, since each is a group of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from figures import make_parser, parse, print_machine, print_table

import fwprof
from fwprof.records import CellSummary, MetricValue
from fwprof.report import figures
from fwprof.report.names import framework_name

TIMES = {
    "import": "import_time",
    "build": "build_time",
    "first step": "first_step_time",
    "forward": "forward_time",
    "backward*": "backward_time",
    "update*": "optimizer_time",
    "step": "step_time",
}
PRESETS = {"as-shipped": "as shipped", "equal": "equal"}


def main() -> None:
    """Measure, print the table, then every comparison of the step."""
    parser = make_parser(__doc__)
    parser.add_argument("--budget", default="thorough")
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--rounds", type=int, help="exactly so many, for a trial of this script")
    parser.add_argument("--output", default="fwprof-runs", help="where the runs are kept")
    options = parse(parser)
    # The floor of this machine is part of the verdicts: it is kept beside the runs.
    os.environ.setdefault("FWPROF_STATE", str(Path(options.output).absolute() / "state"))
    print_machine()
    for workload in options.workloads:
        result = fwprof.profile(
            workloads=(workload,),
            plugins=options.plugins,
            settings="both",
            budget=options.budget,
            max_seconds=options.max_seconds,
            rounds=options.rounds,
            output=options.output,
        )
        summary = fwprof.summarize(result)
        print(f"\n## {Path(workload).stem}, run {summary.run}, {figures.wait(result.duration_ns / 1e9)}\n")
        head = ["cell", "settings", *TIMES, "samples/s", "memory = import + work", "labels"]
        # A cell that stands under another preset's name is no row of its own.
        print_table(head, [_row(cell) for cell in summary.cells if cell.fate != "skipped"])
        names = {cell.id: f"{framework_name(cell)} {PRESETS[cell.settings_preset]}" for cell in summary.cells}
        print()
        for one in summary.comparisons:
            if one.metric == "step_time" and one.ratio is not None:
                ratio = figures.ratio(one.ratio, one.ci95)
                print(f"- {names[one.b]} / {names[one.a]}: {ratio}, {one.verdict}", *_asides(one.labels))


def _row(cell: CellSummary) -> list[str]:
    labels = " ".join(cell.labels) if cell.fate == "ok" else f"{cell.fate}: {cell.reason}"
    metrics = cell.metrics
    times = [_time(metrics[name]) for name in TIMES.values()]
    rate = metrics["throughput"]
    samples = "–" if rate.p50 is None else figures.count(rate.p50, rate.ci95)
    name = framework_name(cell)
    return [name, PRESETS[cell.settings_preset], *times, samples, _memory(metrics), labels]


def _time(metric: MetricValue) -> str:
    value = metric.p50 if metric.value is None else metric.value
    if value is None:
        return "–"
    unit = figures.step_unit(value)
    if metric.ci95 is None:
        return figures.duration(value)
    if metric.ci95[0] <= 0:
        unit = figures.step_unit(metric.ci95[1])
        return f"{figures.upper_bound(metric.ci95[1], unit)} {unit.name}"
    return f"{figures.scaled(value, metric.ci95, unit)} ({figures.interval(metric.ci95, unit)}) {unit.name}"


def _memory(metrics: Mapping[str, MetricValue]) -> str:
    found = [metrics[name].value for name in ("host_peak", "host_import", "host_work")]
    if None in found:
        return "–"
    total, base, work = (f"{value / 1e6:.0f}" for value in found if value is not None)
    return f"{total} = {base} + {work} MB"


def _asides(labels: tuple[str, ...]) -> list[str]:
    return [f"({', '.join(labels)})"] if labels else []


if __name__ == "__main__":
    main()
