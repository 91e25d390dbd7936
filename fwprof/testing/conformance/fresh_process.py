"""Both sides of a check that needs a fresh process: build a cell there, and write what it says.

    python -m fwprof.testing.conformance.fresh_process WHAT FOLDER CACHE

FOLDER holds `cell.json`; what the cell says is written beside it. Runs nothing when imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

from fwprof.plugin import CellPlan
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import expect

LIMIT_S = 600

What = Literal["settings", "answers"]
"""`settings.json` of a small model, or the answers of all verified cells."""


def run(what: What, cell: CellPlan, folder: Path, cache: Path) -> None:
    """Let a fresh process build the cell and write what it says to `folder`.

    Raises:
        ConformanceError: the process failed; the message is its last line.
    """
    (folder / "cell.json").write_bytes(msgspec.json.encode(cell))
    done = subprocess.run(
        [sys.executable, "-m", __name__, what, str(folder), str(cache)],
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
    )
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    expect(done.returncode == 0, f"a fresh process could not build the model: {last}")


def main(what: str, folder: Path, cache: Path) -> None:
    """Build the cell that `folder` holds and write what was asked beside it."""
    from fwprof.testing.conformance.verified_cells import answer

    cell = msgspec.json.decode((folder / "cell.json").read_bytes(), type=CellPlan)
    # As a worker does: the device's environment stands before the plugin is imported.
    os.environ.update(cell.device.environment)
    subject = FrameworkSubject(
        plugin=cell.framework.value, name=cell.framework.name, folder=cache, device=cell.device
    )
    subject.manager.hook.prepare(plan=cell, cache=cache)
    if what == "answers":
        answer(subject, cell, folder)
        return
    built = subject.build_prepared(load_case("plain"), cell)
    (folder / "settings.json").write_bytes(msgspec.json.encode(dict(built.model.settings())))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
