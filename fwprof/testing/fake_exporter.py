"""An exporter of one line a cell; tests install it as `fakelines`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fwprof.plugin import RunResult, hookimpl


@hookimpl
def export(result: RunResult, destination: Path) -> Sequence[Path]:
    """Write the id and fate of every cell to the file `destination`."""
    lines = [f"{cell.id} {cell.fate}\n" for cell in result.cells]
    destination.write_text("".join(lines), encoding="utf-8")
    return [destination]
