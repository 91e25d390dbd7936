"""Exports the summary that `--json` prints: docs/reference/json.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fwprof.comparison import summarize
from fwprof.exporters.destination import is_folder, write_new
from fwprof.hookspecs import hookimpl
from fwprof.records import RunResult, RunSummary


@hookimpl
def export(result: RunResult, destination: Path) -> Sequence[Path]:
    """Write the summary as one JSON document."""
    path = destination / "summary.json" if is_folder(destination) else destination
    folder = Path(result.plan.request.output) / result.plan.run_id
    document = msgspec.json.encode(summary_document(summarize(result, str(folder))))
    return write_new({path: msgspec.json.format(document, indent=2).decode() + "\n"})


def summary_document(summary: RunSummary) -> dict[str, Any]:
    """Return the published JSON object of a run.

    Every metric says its unit and kind, and one without a value says null and why.
    """
    document: dict[str, Any] = msgspec.to_builtins(summary)
    for cell, record in zip(document["cells"], summary.cells, strict=True):
        for name, metric in cell["metrics"].items():
            metric["kind"] = record.metrics[name].kind
            if "p50" not in metric and "value" not in metric:
                metric["value"] = None
                metric.setdefault("reason", "not measured")
    return document
