"""How far the machine's limits move between sessions: best matrix product and best copy, five times.

    python benchmarks/limits.py [--plugin torch]... [--precision float32]... [--threads N] [--sessions 5]

Each session is a fresh process a framework, as in a run. The goal: within 10 % of each other.
"""

from __future__ import annotations

from argparse import Namespace

from figures import make_parser, own_state, parse, print_machine, print_table

import fwprof
from fwprof import planning
from fwprof.cancellation import Cancellation
from fwprof.environment import machine_facts
from fwprof.events import ignore
from fwprof.launcher.context import RunContext
from fwprof.launcher.limits import measure_limits
from fwprof.records import RunResult
from fwprof.store import RunFolder

GOAL = 0.10
UNITS = {"best_gemm": ("matrix product", 1e9, "GFLOP/s"), "best_copy": ("copy", 1e9, "GB/s")}


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, plugins=("torch",), workloads=("mlp-small",))
    parser.add_argument("--precision", action="append", dest="precisions")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: all cores granted")
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=planning.LIMITS_SECONDS, help="of one framework")
    options = parse(parser)
    planning.LIMITS_SECONDS = options.seconds
    print_machine()
    found: dict[tuple[str, str, str], list[float]] = {}
    for session in range(options.sessions):
        with own_state() as runs:
            for key, library, name, value in _values(_measure(options, str(runs))):
                found.setdefault((key, library, name), []).append(value)
                print(f"  session {session + 1}, {key}, {library}, {name}: {value:.4g}", flush=True)
    print_table(("limit", "library", "what", "sessions", "least to most", "spread", ""), _rows(found))


def _measure(options: Namespace, runs: str) -> RunResult:
    plan = fwprof.make_plan(
        workloads=options.workloads,
        plugins=options.plugins,
        devices=(options.device,),
        precisions=tuple(options.precisions or ("float32",)),
        threads=(options.threads or "all",),
        settings="as-shipped",
        output=runs,
    )
    with (
        RunFolder.create(plan, machine_facts()) as folder,
        RunContext(folder, ignore, Cancellation()) as context,
    ):
        measure_limits(context, plan.cells())
        return folder.finish(is_interrupted=False)


def _values(result: RunResult) -> list[tuple[str, str, str, float]]:
    by_library = [
        (key, each.library, each.readings)
        for key, libraries in result.limits_by_library.items()
        for each in libraries
    ]
    best = [(key, "best of all", readings) for key, readings in result.limits.items()]
    return [
        (key, library, name, float(value))
        for key, library, readings in (*by_library, *best)
        for name in UNITS
        if (value := readings[name].value) is not None
    ]


def _rows(found: dict[tuple[str, str, str], list[float]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for (key, library, name), values in sorted(found.items()):
        what, scale, unit = UNITS[name]
        spread = max(values) / min(values) - 1
        # A step is held against the best of all; a library's own spread only tells where it comes from.
        reached = ("reached" if spread <= GOAL else "NOT REACHED") if library == "best of all" else ""
        around = f"{min(values) / scale:.4g} to {max(values) / scale:.4g} {unit}"
        rows.append((key, library, what, str(len(values)), around, f"{100 * spread:.1f} %", reached))
    return rows


if __name__ == "__main__":
    main()
