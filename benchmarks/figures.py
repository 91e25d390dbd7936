"""What benchmarks share: the cells of the published tables, the machine, rows, fakes that last."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fwprof.environment import machine_facts
from fwprof.testing.installed import installed

TINY = str(Path(__file__).with_name("tiny.yaml"))
"""A workload whose arithmetic takes next to nothing."""
CELLS = (
    "torch",
    "torch:compile",
    "tensorflow",
    "tensorflow:xla",
    "keras:tensorflow",
    "keras:jax",
    "keras:torch",
    "jax",
)
WORKLOADS = ("mlp", "lenet", "text-lstm")


def make_parser(
    description: str | None, plugins: Sequence[str] = CELLS, workloads: Sequence[str] = WORKLOADS
) -> argparse.ArgumentParser:
    """Return a parser of what every table of cells lets one choose: `--plugin` and `--workload`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, default in (("plugin", plugins), ("workload", workloads)):
        # Only a repeated option that starts empty can replace its default.
        parser.add_argument(f"--{option}", action="append", dest=f"{option}s", metavar="NAME")
        parser.set_defaults(**{f"default_{option}s": default})
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options, with the published plugins and workloads where none are named."""
    options = parser.parse_args()
    options.plugins = tuple(options.plugins or options.default_plugins)
    options.workloads = tuple(options.workloads or options.default_workloads)
    return options


def print_machine() -> None:
    """Say where and when: no figure means anything without it."""
    facts = machine_facts()
    memory = f"{facts.memory_bytes / 2**30:.0f} GiB" if facts.memory_bytes else "unknown memory"
    print(
        f"{facts.processor}, {facts.cores} cores, {memory}, {facts.system} {facts.kernel}, "
        f"Python {facts.python}, {datetime.now(UTC):%Y-%m-%d}"
    )


def print_figure(name: str, measured: str, goal: str, *, is_reached: bool) -> None:
    """Print one row of docs/benchmarks.md."""
    print(f"| {name} | {measured} | {goal} | {'reached' if is_reached else 'NOT REACHED'} |", flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for line in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(line) + " |", flush=True)


def median_and_range(values: Sequence[float], write: Callable[[float], str]) -> str:
    """Write the median of some values, and where they lie."""
    if not values:
        return "–"
    return f"{write(statistics.median(values))} ({write(min(values))} to {write(max(values))})"


@contextmanager
def own_state() -> Iterator[Path]:
    """Yield a folder for runs; what they say of the machine's noise is no record of the user's."""
    with tempfile.TemporaryDirectory(prefix="fwprof-benchmark-") as folder:
        os.environ["FWPROF_STATE"] = str(Path(folder) / "state")
        yield Path(folder) / "runs"


@contextmanager
def fakes() -> Iterator[Path]:
    """Install the kit's fakes and yield a folder for runs; both are gone afterwards."""
    with own_state() as runs:
        plugins = runs.with_name("plugins")
        plugins.mkdir()
        with installed(plugins):
            yield runs
