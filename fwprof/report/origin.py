"""Which runs a result's sessions come from, where it took some over of an earlier run.

Owns the wording. Nothing here is a figure: it says when figures were measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwprof.report import figures

if TYPE_CHECKING:
    from fwprof.records import RunResult


def origin_rows(result: RunResult) -> list[tuple[str, str]]:
    """Say how many sessions each earlier run measured, and when; nothing where all are the run's own."""
    rows: list[tuple[str, str]] = []
    total = len(result.plan.groups) * result.plan.schedule.sessions
    ends: dict[str, list[str]] = {}
    for session in result.sessions:
        if session.run != result.plan.run_id:
            ends.setdefault(session.run, []).append(session.finished)
    for run, finished in ends.items():
        first, last = (each.replace("T", " ")[:16] for each in (min(finished), max(finished)))
        when = first if first == last else f"{first} to {last}"
        count = f"{len(finished)} of {figures.plural(total, 'session')} of groups"
        rows.append(("" if rows else "resumed", f"{count} measured by {run}, {when} UTC"))
    if not rows and result.plan.resumes:
        rows.append(("resumed", f"{result.plan.resumes}, before any session was measured"))
    return rows
