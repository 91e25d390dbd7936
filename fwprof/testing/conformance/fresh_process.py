"""The other side of a check that needs a fresh process: build one cell, write its settings.

    python -m fwprof.testing.conformance.fresh_process FOLDER

FOLDER holds `cell.json`; `settings.json` is written beside it. Runs nothing when imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from fwprof.plugin import CellPlan
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.conformance.subject import FrameworkSubject


def main(folder: Path) -> None:
    """Build the cell that `folder` holds and write its settings beside it."""
    cell = msgspec.json.decode((folder / "cell.json").read_bytes(), type=CellPlan)
    # As a worker does: the device's environment stands before the plugin is imported.
    os.environ.update(cell.device.environment)
    subject = FrameworkSubject(
        plugin=cell.framework.value,
        name=cell.framework.name,
        folder=folder / "cache",
        device=cell.device,
    )
    subject.manager.hook.prepare(plan=cell, cache=subject.folder)
    built = subject.build_prepared(load_case("plain"), cell)
    (folder / "settings.json").write_bytes(msgspec.json.encode(dict(built.model.settings())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
