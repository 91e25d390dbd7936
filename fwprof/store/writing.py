"""Write a run while it is measured: plan first, journals as reports arrive, run.json at the end."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fwprof.codec import encode, encode_pretty
from fwprof.errors import StoreError
from fwprof.records import (
    Equivalence,
    MachineFacts,
    Measured,
    MeasuredSession,
    Record,
    RunPlan,
    RunResult,
    frames,
)
from fwprof.store.layout import (
    CELLS,
    CHECKPOINTS,
    EQUIVALENCE,
    LIMITS,
    MACHINE,
    PLAN,
    REPLICA,
    RESULT,
    SESSIONS,
    TRAINED,
    VERIFICATION,
    MeasuredLimits,
)
from fwprof.store.lock import RunLock
from fwprof.store.reading import assemble, read_lines

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_run_id(now_s: float | None = None) -> str:
    """Return a new id of 26 characters that sorts by time.

    Source: the ULID specification (48 bits of ms since 1970, 80 random bits, Crockford base 32).
    """
    value = (int((time.time() if now_s is None else now_s) * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


@contextmanager
def _writing(path: Path, kept: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}",
            cause=error.strerror or str(error),
            kept=kept,
            next="free some space, or choose another folder with -o DIR",
        ) from error


class Journal:
    """The reports of one worker, one JSON line each, on disk as soon as they are appended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        self._count = 0

    def append(self, report: frames.Report) -> None:
        """Write one report.

        Raises:
            StoreError: the disk is full or the folder read-only; the lines before are kept.
        """
        with _writing(self.path, kept=f"{self._count} reports in {self.path.name}"):
            line = encode(report) + b"\n"
            written = self._file.write(line)
            while written is not None and written < len(line):
                line = line[written:]
                written = self._file.write(line)
        self._count += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunFolder:
    """The folder of one run while it is measured."""

    def __init__(self, path: Path, plan: RunPlan, lock: RunLock, measured: Measured) -> None:
        self.path = path
        self.plan = plan
        self.measured = measured
        """What was taken over, and needs not be measured."""
        self._lock = lock
        self._started_ns = time.monotonic_ns()

    @classmethod
    def create(cls, plan: RunPlan, machine: MachineFacts, measured: Measured | None = None) -> RunFolder:
        """Make the folder and write the plan, before anything is measured.

        Args:
            plan: what will be measured.
            machine: where.
            measured: what to take over of an earlier run in the same folder of runs: copied, since a
                run is never changed.

        Raises:
            StoreError: the output folder cannot be written.
        """
        measured = measured or Measured()
        plan = msgspec.structs.replace(plan, resumes=measured.run)
        path = Path(plan.request.output) / plan.run_id
        with _writing(path):
            (path / CELLS).mkdir(parents=True)
            lock = RunLock(path, machine.boot_id)
        try:
            if measured.run:
                with _writing(path):
                    copy_measured(path.with_name(measured.run), path, plan, measured)
            write_durably(path / MACHINE, encode_pretty(machine))
            # Last: a folder without a plan is no run, whatever was copied into it.
            write_durably(path / PLAN, encode_pretty(plan))
        except BaseException:  # an interruption too must leave the folder unlocked
            lock.release()
            raise
        return cls(path, plan, lock, measured)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def journal(self, cell: str, name: str) -> Journal:
        """Open the journal of one worker of a cell: `0`, `0.replica`, `memory`, `memory.1`, `training`, …"""
        return Journal(self.path / CELLS / cell / f"{name}.jsonl")

    def log_path(self, cell: str, name: str) -> Path:
        """Return where the output of one worker of a cell is kept."""
        return self.path / CELLS / cell / f"{name}.worker.log"

    @contextmanager
    def checkpoints(self, cell: str) -> Iterator[Path]:
        """Make an empty folder for a cell's checkpoints, which is gone afterwards."""
        path = (self.path / CELLS / cell / CHECKPOINTS).absolute()
        with _writing(path):
            path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def trained_path(self, cell: str) -> Path:
        """Return where the trained parameters of a cell are kept."""
        return self.path / CELLS / cell / TRAINED

    def add_equivalence(self, cell: str, equivalence: Equivalence) -> None:
        """Keep what the comparison of a cell's answers with the reference's said."""
        path = self.path / CELLS / cell / EQUIVALENCE
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, encode_pretty(equivalence))

    def add_session(self, group: str, session: int) -> None:
        """Keep that a group was measured in a session to the end: such a part can be taken over."""
        done = MeasuredSession(
            group=group,
            session=session,
            run=self.plan.run_id,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._add_line(SESSIONS, done)

    def _add_line(self, name: str, record: Record) -> None:
        with _writing(self.path / name), (self.path / name).open("ab") as file:
            file.write(encode(record) + b"\n")

    def add_limits(self, limits: MeasuredLimits) -> None:
        """Keep what the machine's limits were measured to be."""
        self._add_line(LIMITS, limits)

    def finish(self, *, is_interrupted: bool) -> RunResult:
        """Build run.json from the journals, write it once and for all, and return it."""
        result = assemble(
            self.path, duration_ns=time.monotonic_ns() - self._started_ns, is_interrupted=is_interrupted
        )
        data = encode_pretty(result)
        checksum = hashlib.sha256(data).hexdigest()
        write_durably(self.path / f"{RESULT}.sha256", f"{checksum}  {RESULT}\n".encode())
        write_durably(self.path / RESULT, data)
        self._lock.release()
        return result


def copy_measured(source: Path, target: Path, plan: RunPlan, measured: Measured) -> None:
    """Copy what of one run's folder another one takes over.

    Args:
        source: the folder that is taken from; it stays as it is.
        target: the new run's folder.
        plan: of both.
        measured: which parts.

    Raises:
        OSError: something cannot be read or written.
    """
    names: dict[str, set[str]] = {cell.id: set() for cell in plan.cells()}
    for group in plan.groups:
        for cell in group.cells:
            for done in measured.sessions:
                if done.group == group.name:
                    names[cell.id] |= {str(done.session), f"{done.session}{REPLICA}"}
            if group.name in measured.verified:
                names[cell.id] |= {VERIFICATION, EQUIVALENCE}
    # Why a cell is skipped stands where its first session would.
    for cell_id in measured.skipped:
        names[cell_id].add("0")
    for cell_id, passes in measured.passes.items():
        names[cell_id] |= passes | {TRAINED}
    for cell_id, wanted in names.items():
        here, there = source / CELLS / cell_id, target / CELLS / cell_id
        for name in sorted(wanted):
            for file in (f"{name}.jsonl", f"{name}.worker.log", name):
                if (here / file).is_dir():
                    shutil.copytree(here / file, there / file)
                elif (here / file).exists():
                    there.mkdir(exist_ok=True)
                    shutil.copy2(here / file, there / file)
    limits = [line for line in read_lines(source / LIMITS, MeasuredLimits) if line.key in measured.limits]
    for file, lines in ((SESSIONS, measured.sessions), (LIMITS, limits)):
        if lines:
            (target / file).write_bytes(b"".join(encode(line) + b"\n" for line in lines))


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole file so that after a crash it is either there complete or not at all.

    Raises:
        StoreError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
