"""What of a plan is measured already: in the run before, that was interrupted or partly failed.

Owns when a run may be taken over (docs/decisions/014-resuming.md), and which of its parts. Reads
journals only; what is taken over is written by `RunFolder.create`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from fwprof.codec import decode_stored
from fwprof.errors import StoreError
from fwprof.records import (
    CellPlan,
    Group,
    MachineFacts,
    Measured,
    MeasuredSession,
    Record,
    RunPlan,
    RunRequest,
    Workload,
)
from fwprof.store.finding import run_ids
from fwprof.store.layout import (
    CELLS,
    CHECKPOINT_RESTORE,
    CHECKPOINT_SAVE,
    EQUIVALENCE,
    LIMITS,
    MACHINE,
    PLAN,
    REPLICA,
    SESSIONS,
    MeasuredLimits,
)
from fwprof.store.lock import owner_of
from fwprof.store.reading import (
    ReadJournal,
    has_been_interrupted,
    read_bytes,
    read_equivalence,
    read_journal,
    read_lines,
)

Resume = Literal["never", "unfinished", "failed"]
"""`unfinished`: take over what an interrupted run measured; `failed`: also measure failed cells again."""

DAYS = 3
"""A run that was interrupted longer ago is not taken over unasked: over a weekend, not for ever."""
FAILED = frozenset({"failed", "timeout", "out_of_memory", "killed", "invalid"})
"""Fates that another attempt may change. What a plugin says it cannot do is none of them."""


class Earlier(Record, frozen=True, kw_only=True):
    """The latest run of the same request, where it leaves something to do."""

    run: str
    created: str = ""
    is_finished: bool = False
    """Whether nothing of it is missing, failed cells apart."""
    measured: Measured = Measured()
    """What can be taken over of it."""
    reason: str = ""
    """Why nothing of it can be taken over."""
    failed: frozenset[str] = frozenset()
    """Cells of it that failed, and are measured again."""


def find_earlier(plan: RunPlan, machine: MachineFacts, resume: Resume, now: datetime) -> Earlier | None:
    """Find what the latest run of the same request leaves to do; None: it leaves nothing, or there is none.

    Args:
        plan: what is to be measured.
        machine: where.
        resume: `unfinished` considers runs that were interrupted, lately, and have several cells in
            more than one part; `failed` any run.
        now: with its time zone.

    Raises:
        StoreError: the folder of runs cannot be read.
    """
    if resume == "never" or (resume == "unfinished" and not is_matrix(plan)):
        return None
    output = Path(plan.request.output)
    for run in reversed(run_ids(output)):
        folder = output / run
        if not _is_same_request(folder, plan.request):
            continue
        try:
            return _take(folder, plan, machine, resume, now)
        except StoreError as error:
            return Earlier(run=run, reason=": ".join(filter(None, (error.what, error.cause))))
    return None


def is_matrix(plan: RunPlan) -> bool:
    """Whether a plan has several cells, in more than one part: another one is measured anew at no loss."""
    parts = len(plan.groups) * plan.schedule.sessions
    return len(plan.cells()) > 1 and (parts > 1 or plan.request.epochs > 0)


def _is_same_request(folder: Path, request: RunRequest) -> bool:
    try:
        head = decode_stored(read_bytes(folder / PLAN), _Head, str(folder / PLAN))
    except StoreError:
        return False
    # How the folder is called depends on where one stands.
    return msgspec.structs.replace(head.request, output=request.output) == request


class _Head(msgspec.Struct):
    """The beginning of a plan; the rest is not decoded."""

    request: RunRequest


def _take(
    folder: Path, plan: RunPlan, machine: MachineFacts, resume: Resume, now: datetime
) -> Earlier | None:
    earlier = decode_stored(read_bytes(folder / PLAN), RunPlan, str(folder / PLAN))
    owner = owner_of(folder, machine.boot_id)
    is_finished = owner is None and not has_been_interrupted(folder)
    if is_finished and resume == "unfinished":
        return None
    found = Earlier(run=folder.name, created=earlier.created, is_finished=is_finished)
    if owner is not None:
        reason = f"process {owner.pid} is measuring it now"
    else:
        there = decode_stored(read_bytes(folder / MACHINE), MachineFacts, str(folder / MACHINE))
        reason = _difference(earlier, plan, there, machine) or _changed_file(earlier)
    if reason:
        return msgspec.structs.replace(found, reason=reason)
    sessions = tuple(read_lines(folder / SESSIONS, MeasuredSession))
    last = max([earlier.created, *(each.finished for each in sessions)])
    if resume == "unfinished" and now - datetime.fromisoformat(last) > timedelta(days=DAYS):
        return msgspec.structs.replace(found, reason=f"it was measured more than {DAYS} days ago")
    measured, failed = _measured(folder, earlier, sessions, without_failed=resume == "failed")
    if resume == "unfinished" and not (measured.sessions or measured.verified):
        return None
    return msgspec.structs.replace(found, measured=measured, failed=failed)


def _difference(a: RunPlan, b: RunPlan, there: MachineFacts, here: MachineFacts) -> str:
    """Say in what two plans of one request differ, though nothing else was asked for."""
    if there.fingerprint != here.fingerprint:
        return "it was measured on another machine"
    if a.fwprof_version != b.fwprof_version:
        return f"it was measured by fwprof {a.fwprof_version}, and this is {b.fwprof_version}"
    before, after = _versions(a), _versions(b)
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            then, now = (each.get(name, "not installed") for each in (before, after))
            return f"{name} was {then}, and is {now}"
    same = {"run_id": "", "created": "", "resumes": "", "request": b.request}
    a, b = (msgspec.structs.replace(plan, **same) for plan in (a, b))
    works = ({cell.workload.name: cell.workload for cell in plan.cells()} for plan in (a, b))
    for name, (one, other) in _pairs(*works):
        if one != other:
            return f"the workload {name} was changed"
    return "" if a == b else "what it asks for resolves to other cells or settings now"


def _pairs(a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[tuple[str, tuple[object, object]]]:
    return ((name, (a[name], b[name])) for name in a if name in b)


def _versions(plan: RunPlan) -> Mapping[str, str]:
    """Return the versions of everything that a run loads, by what a person calls it."""
    versions: dict[str, str] = {}
    for cell in plan.cells():
        where = f" in environment {cell.environment}" if cell.interpreter else ""
        for plugin in (cell.framework, cell.device_plugin, *cell.meter_plugins):
            versions[plugin.distribution + where] = plugin.version
            versions |= {package + where: version for package, version in plugin.runs_on.items()}
    return versions


def _changed_file(plan: RunPlan) -> str:
    """Say which file that the plan only names was written since the run began."""
    began = datetime.fromisoformat(plan.created).timestamp()
    for cell in plan.cells():
        if cell.workload.native is not None:
            module = Path(cell.workload.native.factory.rpartition(":")[0])
            if module.suffix != ".py":
                return f"whether {module} was changed since then cannot be seen"
            files: Sequence[Path] = sorted(module.parent.glob("*.py"))
        else:
            files = _named_files(cell.workload.spec) if cell.workload.spec else []
        for file in files:
            # The run's time is that of a whole second.
            if file.exists() and file.stat().st_mtime >= began + 1:
                return f"{file.name} was written since then"
    return ""


def _named_files(workload: Workload) -> Sequence[Path]:
    """Return the files that a workload names: its weights, and data of the user's own."""
    weights = [Path(workload.weights)] if workload.weights else []
    folder = getattr(workload.data, "folder", None)
    # A download makes one folder more; an own data set may have a million files below.
    data = [*Path(folder).glob("*"), *Path(folder).glob("*/*")] if folder else []
    return weights + sorted(path for path in data if path.is_file())


def _measured(
    folder: Path, plan: RunPlan, sessions: Sequence[MeasuredSession], *, without_failed: bool
) -> tuple[Measured, frozenset[str]]:
    """Return what of a run is measured to its end, and which of its cells are to be measured again."""
    cells = {cell.id: _Cell(folder / CELLS / cell.id) for cell in plan.cells()}
    groups = {group.name: group for group in plan.groups}
    again = frozenset(name for name, cell in cells.items() if without_failed and cell.has_failed)
    verified = frozenset(group.name for group in plan.groups if _is_verified(group, cells, again))
    taken: list[MeasuredSession] = []
    for each in sessions:
        if (group := groups.get(each.group)) is not None and _is_whole(
            group, each.session, cells, without_failed
        ):
            taken.append(each)
    firsts = {each.group for each in taken if each.session == 0}
    skipped = {
        cell.id
        for group in plan.groups
        if group.name in verified or group.name in firsts
        for cell in group.cells
        if cells[cell.id].is_skipped
    }
    failed = {
        cell.id
        for each in taken
        for cell in groups[each.group].cells
        if not cells[cell.id].is_skipped and not cells[cell.id].is_finished(str(each.session))
    }
    measured = Measured(
        run=folder.name,
        sessions=tuple(taken),
        verified=verified,
        skipped=frozenset(skipped),
        failed=frozenset(failed),
        passes={name: found for name, cell in cells.items() if (found := cell.passes(without_failed))},
        limits=frozenset(line.key for line in read_lines(folder / LIMITS, MeasuredLimits)),
    )
    return measured, again


class _Cell:
    """The journals of one cell, each read once, and of each only how it ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends: dict[str, tuple[str, bool]] = {}
        """Name of a journal → its fate, and whether its worker did all that it was asked."""
        self.is_skipped = False
        for path in folder.glob("*.jsonl"):
            read = _try_to_read(path)
            if read is not None:
                self._ends[path.stem] = (read.measurement.fate, read.is_finished)
                failure = read.measurement.failure
                self.is_skipped |= failure is not None and bool(failure.same_as)

    @property
    def names(self) -> Sequence[str]:
        return [path.stem for path in self._folder.glob("*.jsonl")]

    @property
    def has_failed(self) -> bool:
        own = [fate for name, (fate, _) in self._ends.items() if not name.endswith(REPLICA)]
        return any(fate in FAILED for fate in own)

    def is_finished(self, name: str) -> bool:
        return self._ends.get(name, ("", False))[1]

    def is_over(self, name: str, without_failed: bool) -> bool:
        """Whether a journal is there whole, and what it says may stay."""
        fate, _ = self._ends.get(name, ("interrupted", False))
        return fate != "interrupted" and not (without_failed and fate in FAILED)

    def passes(self, without_failed: bool) -> frozenset[str]:
        """Return the journals of what comes after the timing, as far as they are over."""
        names = [name for name in self._ends if not name.removesuffix(REPLICA).isdigit()]
        over = frozenset(name for name in names if self.is_over(name, without_failed))
        # What one process saved is gone with its run: the other cannot restore it any more.
        return over if CHECKPOINT_RESTORE in over else over - {CHECKPOINT_SAVE}

    def equivalence(self) -> str | None:
        """Return how verifying ended; None: it has not."""
        if not (self._folder / EQUIVALENCE).exists():
            return None
        return read_equivalence(self._folder / EQUIVALENCE).status


def _try_to_read(path: Path) -> ReadJournal | None:
    try:
        return read_journal(path, 0)
    except StoreError:
        return None


def _is_verified(group: Group, cells: Mapping[str, _Cell], again: frozenset[str]) -> bool:
    found = {cell.id: cells[cell.id].equivalence() for cell in group.cells}
    if None in found.values():
        return False
    # A cell that failed may have failed here first.
    return not any(found[name] == "not_checked" for name in again & found.keys())


def _is_whole(group: Group, session: int, cells: Mapping[str, _Cell], without_failed: bool) -> bool:
    """Whether every worker of a group and session came to an end that may stay."""
    timed: Sequence[CellPlan] = [cell for cell in group.cells if not cells[cell.id].is_skipped]
    own = str(session)
    replicas = [cell for cell in timed if own + REPLICA in cells[cell.id].names]
    # A replica is a control: its failure is no reason to measure anything again.
    return all(cells[cell.id].is_over(own, without_failed) for cell in timed) and all(
        cells[cell.id].is_over(own + REPLICA, without_failed=False) for cell in replicas
    )
