"""The noise floor: how far identical cells were apart on this machine, run after run.

Owns one file in the user's state folder. Lines are only ever appended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fwprof.comparison.labels import labels_of
from fwprof.comparison.series import TERMS, sessions_of, shared_rounds
from fwprof.comparison.state import append_lines, read_lines, state_file
from fwprof.metrics import METRICS
from fwprof.records import Record, RunResult
from fwprof.statistics import paired_log_ratio

WHAT = "the noise floor of this machine"
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
    append_lines(path, ratios, WHAT)
    return path


def read(machine: str, metric: str) -> Sequence[float]:
    """Return the latest stored |ln r| of one machine and metric, oldest first."""
    return read_all(machine).get(metric, [])


def read_all(machine: str) -> Mapping[str, Sequence[float]]:
    """Return the latest stored |ln r| of one machine by metric, oldest first.

    Raises:
        StoreError: the file is there and cannot be read.
    """
    stored: dict[str, list[float]] = {}
    for ratio in read_lines(floor_path(), ControlRatio, WHAT):
        if ratio.machine == machine:
            stored.setdefault(ratio.metric, []).append(ratio.distance)
    return {metric: distances[-RECENT:] for metric, distances in stored.items()}


def floor_path() -> Path:
    """Return where the noise floor is kept."""
    return state_file("noise-floor.jsonl")
