"""The noise floor: how far identical cells were apart on this machine, run after run.

Owns a JSON-lines file in the user's state folder (`FWPROF_STATE` names another folder). Lines are
only ever appended; a line that cannot be read, such as one torn by a crash, is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fwprof.comparison.labels import labels_of
from fwprof.comparison.series import TERMS, sessions_of, shared_rounds
from fwprof.errors import StoreError
from fwprof.metrics import METRICS
from fwprof.records import Record, RunResult
from fwprof.statistics import paired_log_ratio

RECENT = 100
"""Ratios that count: enough for a 95 % quantile, and a machine that became quiet is seen to be."""
CONTROLLED = tuple(name for name in TERMS if METRICS[name].kind == "measured")
"""Metrics with a floor: a marginal cost may be ≤ 0 and has no log-ratio."""


class ControlRatio(Record, frozen=True, kw_only=True):
    """How far a replica was from its own cell in one session."""

    machine: str
    """Fingerprint of the machine."""
    run: str
    session: int
    cell: str
    metric: str
    distance: float
    """|ln(replica/cell)|, the median over rounds."""


def control_ratios(result: RunResult) -> Sequence[ControlRatio]:
    """Return what the replicas of a run say about noise between identical cells.

    Contended cells say nothing: one hour of neighbours would raise the floor of all later runs.
    """
    found = []
    labels = labels_of(result)
    for cell in result.cells:
        if "contended" in labels[cell.id]:
            continue
        own = sessions_of(cell)
        for number, replica in sessions_of(cell, replica=True).items():
            if number not in own:
                continue
            for metric in CONTROLLED:
                (program,) = TERMS[metric]
                rounds = shared_rounds([own[number], replica], [program])
                if not rounds:
                    continue
                ratio = paired_log_ratio(own[number].column(program, rounds), replica.column(program, rounds))
                found.append(
                    ControlRatio(
                        machine=result.machine.fingerprint,
                        run=result.plan.run_id,
                        session=number,
                        cell=cell.id,
                        metric=metric,
                        distance=abs(ratio),
                    )
                )
    return found


def own_ratios(result: RunResult) -> Sequence[ControlRatio]:
    """Return `control_ratios` without those of sessions that another run measured, and has kept."""
    group_of = {cell.id: group.name for group in result.plan.groups for cell in group.cells}
    others = {(each.group, each.session) for each in result.sessions if each.run != result.plan.run_id}
    return [each for each in control_ratios(result) if (group_of[each.cell], each.session) not in others]


def append(ratios: Sequence[ControlRatio]) -> Path:
    """Add control ratios to the user's state folder and return the file.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = floor_path()
    encoded = b"".join(msgspec.json.encode(ratio) + b"\n" for ratio in ratios)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: two runs that end together do not mix lines.
        with path.open("ab", buffering=0) as file:
            file.write(encoded)
    except OSError as error:
        raise StoreError(
            "the noise floor of this machine cannot be kept",
            cause=str(error),
            kept="the run itself",
            next="make that folder writable, or name another in FWPROF_STATE",
        ) from error
    return path


def read(machine: str, metric: str) -> Sequence[float]:
    """Return the latest stored |ln r| of one machine and metric, oldest first."""
    return read_all(machine).get(metric, [])


def read_all(machine: str) -> Mapping[str, Sequence[float]]:
    """Return the latest stored |ln r| of one machine by metric, oldest first.

    Raises:
        StoreError: the file is there and cannot be read.
    """
    path = floor_path()
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError("the noise floor of this machine cannot be read", cause=str(error)) from error
    stored: dict[str, list[float]] = {}
    for line in lines:
        try:
            ratio = msgspec.json.decode(line, type=ControlRatio)
        except msgspec.MsgspecError:
            continue
        if ratio.machine == machine:
            stored.setdefault(ratio.metric, []).append(ratio.distance)
    return {metric: distances[-RECENT:] for metric, distances in stored.items()}


def floor_path() -> Path:
    """Return where the noise floor is kept."""
    if folder := os.environ.get("FWPROF_STATE"):
        return Path(folder) / "noise-floor.jsonl"

    from platformdirs import user_state_path

    return user_state_path("fwprof") / "noise-floor.jsonl"
