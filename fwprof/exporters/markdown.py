"""Exports the report of the terminal as a Markdown document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fwprof.comparison import summarize
from fwprof.exporters.destination import is_folder, write_new
from fwprof.hookspecs import hookimpl
from fwprof.records import RunResult
from fwprof.report.layout import to_markdown
from fwprof.report.sections import report


@hookimpl
def export(result: RunResult, destination: Path) -> Sequence[Path]:
    """Write the report as one document."""
    path = destination / "report.md" if is_folder(destination) else destination
    return write_new({path: to_markdown(report(result, summarize(result, "")))})
