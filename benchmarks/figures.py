"""What every benchmark shares: the machine in one line, a figure in one row, fakes that last."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fwprof.environment import machine_facts
from fwprof.testing.installed import installed

TINY = str(Path(__file__).with_name("tiny.yaml"))
"""A workload whose arithmetic takes next to nothing."""


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


@contextmanager
def fakes() -> Iterator[Path]:
    """Install the kit's fakes and yield a folder for runs; both are gone afterwards.

    What these runs say of the machine's noise is kept apart from the user's own record of it.
    """
    with tempfile.TemporaryDirectory(prefix="fwprof-benchmark-") as folder:
        os.environ["FWPROF_STATE"] = str(Path(folder) / "state")
        plugins = Path(folder) / "plugins"
        plugins.mkdir()
        with installed(plugins):
            yield Path(folder) / "runs"
