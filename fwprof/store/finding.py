"""Find stored runs: list a folder of runs, resolve what a user calls one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fwprof.codec import decode_stored
from fwprof.errors import StoreError
from fwprof.records import Record, RunPlan
from fwprof.store.layout import PLAN, RESULT
from fwprof.store.reading import read_bytes


class StoredRun(Record, frozen=True, kw_only=True):
    """One run in a folder of runs."""

    id: str
    path: str
    created: str
    state: Literal["complete", "interrupted", "unreadable"]
    title: str = ""


def list_runs(output: Path) -> Sequence[StoredRun]:
    """Return the runs of a folder, oldest first; an unreadable one is listed as such."""
    if not output.is_dir():
        return []
    found = []
    for folder in sorted(output.iterdir()):
        if not (folder / PLAN).exists():
            continue
        state: Literal["complete", "interrupted", "unreadable"]
        state = "complete" if (folder / RESULT).exists() else "interrupted"
        try:
            plan = decode_stored(read_bytes(folder / PLAN), RunPlan, str(folder / PLAN))
        except StoreError:
            found.append(StoredRun(id=folder.name, path=str(folder), created="", state="unreadable"))
            continue
        title = ", ".join(sorted({f"{cell.workload.name} {cell.choice}" for cell in plan.cells()}))
        found.append(
            StoredRun(id=folder.name, path=str(folder), created=plan.created, state=state, title=title)
        )
    return found


def find_run(reference: str, output: Path) -> Path:
    """Return the folder that a reference means: an id or its beginning, `last`, `last~1`, a path.

    Raises:
        StoreError: none or several are meant.
    """
    if os.sep in reference or Path(reference).exists():
        return Path(reference)
    known = [run.id for run in list_runs(output)]
    if reference == "last" or reference.startswith("last~"):
        steps = reference.removeprefix("last").removeprefix("~") or "0"
        if steps.isdigit() and int(steps) < len(known):
            return output / known[-1 - int(steps)]
        raise StoreError(
            f"there is no run {reference!r}",
            cause=f"{output} holds {len(known)} runs",
            next="fwprof runs    lists them",
        )
    matches = [id_ for id_ in known if id_.upper().startswith(reference.upper())]
    if len(matches) == 1:
        return output / matches[0]
    raise StoreError(
        f"{'several runs begin' if matches else 'no run begins'} with {reference!r}",
        cause=f"{output} holds {len(known)} runs" + (f"; {', '.join(matches[:3])} match" if matches else ""),
        next="fwprof runs    lists them",
    )
