"""Find stored runs: list a folder of runs, resolve what a user calls one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from fwprof.codec import decode_stored
from fwprof.environment import boot_id
from fwprof.errors import StoreError
from fwprof.records import Record, RunPlan
from fwprof.store.layout import PLAN, RESULT
from fwprof.store.lock import owner_of
from fwprof.store.reading import has_been_interrupted, read_bytes


class StoredRun(Record, frozen=True, kw_only=True):
    """One run in a folder of runs."""

    id: str
    path: str
    created: str
    state: Literal["complete", "interrupted", "running", "unreadable"]
    title: str = ""
    resumed_by: str = ""
    """Id of the run that took over what this one had measured."""


def list_runs(output: Path) -> Sequence[StoredRun]:
    """Return the runs of a folder, oldest first; an unreadable one is listed as such."""
    if not output.is_dir():
        return []
    found: list[StoredRun] = []
    resumed_by: dict[str, str] = {}
    for folder in (output / run for run in run_ids(output)):
        try:
            plan = decode_stored(read_bytes(folder / PLAN), RunPlan, str(folder / PLAN))
            state = _state(folder)
        except StoreError:
            found.append(StoredRun(id=folder.name, path=str(folder), created="", state="unreadable"))
            continue
        title = ", ".join(sorted({f"{cell.workload.name} {cell.choice}" for cell in plan.cells()}))
        found.append(
            StoredRun(id=folder.name, path=str(folder), created=plan.created, state=state, title=title)
        )
        resumed_by[plan.resumes] = folder.name
    return [msgspec.structs.replace(run, resumed_by=resumed_by.get(run.id, "")) for run in found]


def _state(folder: Path) -> Literal["complete", "interrupted", "running"]:
    if (folder / RESULT).exists():
        return "interrupted" if has_been_interrupted(folder) else "complete"
    return "running" if owner_of(folder, boot_id()) else "interrupted"


def run_ids(output: Path) -> Sequence[str]:
    """Return the names of the folders that hold a run, oldest first."""
    return sorted(path.parent.name for path in output.glob(f"*/{PLAN}"))


def find_run(reference: str, output: Path) -> Path:
    """Return the folder that a reference means: an id or its beginning, `last`, `last~1`, a path.

    Raises:
        StoreError: none or several are meant.
    """
    if os.sep in reference or Path(reference).exists():
        return Path(reference)
    known = run_ids(output)
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
