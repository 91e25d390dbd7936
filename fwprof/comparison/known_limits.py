"""What this machine's limits were in earlier sessions (docs/decisions/022-limits-of-a-session.md).

Owns one file in the user's state folder: a line for each library that a session measured. Lines are
only ever appended. Knows records and the file; measures nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from fwprof.comparison.state import append_lines, read_lines, state_file
from fwprof.records import CellPlan, LibraryLimits, MachineFacts, Reading, Record

FILE = "limits.jsonl"
WHAT = "what this machine's limits were before"
KNOWN = {"best_gemm": "known_gemm", "best_copy": "known_copy"}
"""What a session measures → under which name a result keeps the best of the sessions before."""
REUSED_FOR = timedelta(hours=1)
"""How old a limit may be that a quick run takes over."""


class KnownLimits(Record, frozen=True, kw_only=True):
    """What one library reached in one session."""

    fingerprint: str
    """Of the machine, the device, how it was computed, and the versions of what computed."""
    boot: str | None
    run: str
    measured: str
    """UTC, ISO 8601."""
    limits: LibraryLimits


def fingerprint(machine: MachineFacts, cell: CellPlan) -> str:
    """Return what two sessions must share for their limits to be of the same machine.

    The machine with its granted cores and its frequency governor; the device with all that its plugin
    says of it (of a card: UUID, driver, power limit); threads, precision and preset; the framework
    as it was chosen, and the versions of its packages.
    """
    choice = msgspec.structs.replace(cell.choice, environment=None)
    facts = (
        machine.fingerprint,
        machine.governor,
        cell.device.uuid or cell.device.name,
        sorted(cell.device.capabilities.items()),
        (cell.threads, cell.precision, cell.settings_preset, str(choice)),
        (cell.framework.distribution, cell.framework.version),
        sorted(cell.framework.runs_on.items()),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def remember(lines: Sequence[KnownLimits]) -> None:
    """Add what a session measured to the user's state folder.

    Raises:
        StoreError: the folder cannot be written.
    """
    append_lines(state_file(FILE), lines, WHAT)


def recall() -> Sequence[KnownLimits]:
    """Return what all sessions measured, oldest first.

    Raises:
        StoreError: the file is there and cannot be read.
    """
    return list(read_lines(state_file(FILE), KnownLimits, WHAT))


def best_known(
    lines: Sequence[KnownLimits], measured: Mapping[str, Sequence[LibraryLimits]]
) -> dict[str, Reading]:
    """Return the best that these libraries reached before, as `known_gemm` and `known_copy`.

    Only libraries that this session measured too: one that is missing today makes no machine slower.

    Args:
        lines: of earlier sessions.
        measured: fingerprint → what this session measured.
    """
    today = {(place, each.library) for place, found in measured.items() for each in found}
    known: dict[str, Reading] = {}
    for line in lines:
        if (line.fingerprint, line.limits.library) not in today:
            continue
        for name, known_name in KNOWN.items():
            reading = line.limits.readings.get(name)
            best = known.get(known_name)
            if reading and reading.value and (best is None or reading.value > (best.value or 0)):
                basis = f"{reading.basis}, on {line.measured[:10]}"
                known[known_name] = msgspec.structs.replace(reading, basis=basis)
    return known


def recent(
    lines: Sequence[KnownLimits], place: str, boot: str | None, now: datetime
) -> tuple[LibraryLimits, ...]:
    """Return what the latest session measured there, if that was lately and in the same boot; else nothing.

    Args:
        lines: of earlier sessions.
        place: the fingerprint.
        boot: of the machine; where it is not known, nothing is recent.
        now: UTC.
    """
    for line in reversed(lines):
        if boot is None or (line.fingerprint, line.boot) != (place, boot):
            continue
        age = now - datetime.fromisoformat(line.measured)
        if not timedelta() <= age <= REUSED_FOR:
            return ()
        return tuple(
            _as_of(each, age) for each in lines if each.run == line.run and each.fingerprint == place
        )
    return ()


def _as_of(line: KnownLimits, age: timedelta) -> LibraryLimits:
    minutes = max(1, round(age.total_seconds() / 60))
    readings = {
        name: msgspec.structs.replace(reading, basis=f"{reading.basis}, {minutes} min before this run")
        if reading.value is not None
        else reading
        for name, reading in line.limits.readings.items()
    }
    return msgspec.structs.replace(line.limits, readings=readings, run=line.run)
