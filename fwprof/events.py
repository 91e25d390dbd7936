"""What happens during a run, told to whoever observes it (progress, logs, notebooks).

An observer is a callable that takes one event. The engine itself never prints. Events come from
the thread that called `fwprof.profile`; none comes while a block is timed.
"""

from __future__ import annotations

from collections.abc import Callable

from fwprof.records.base import Record
from fwprof.records.measurement import Fate, TrainingPoint
from fwprof.records.plan import RunPlan
from fwprof.records.request import StageName


class RunPlanned(Record, frozen=True, kw_only=True):
    """The plan is made and stored; nothing was measured yet."""

    plan: RunPlan
    path: str
    estimated_seconds: float


class RunResumed(Record, frozen=True, kw_only=True):
    """What an earlier run of the same request had measured is taken over; comes before `RunPlanned`."""

    run: str
    created: str
    """When that run began; UTC, ISO 8601."""
    cells: int
    timed: int
    """Cells of which every session is measured."""
    sessions: int
    """Of all groups together."""
    measured: int
    """Sessions that are taken over."""
    failed: tuple[str, ...] = ()
    """Cells that failed there and are measured again."""


class RunNotResumed(Record, frozen=True, kw_only=True):
    """An earlier run of the same request was interrupted, and everything is measured anew."""

    run: str
    reason: str


class GroupStarted(Record, frozen=True, kw_only=True):
    """Workers of one group and session are about to start."""

    group: str
    session: int
    sessions: int


class PassStarted(Record, frozen=True, kw_only=True):
    """What is not timed begins: memory, training, the machine's limits."""

    name: str


class StageEntered(Record, frozen=True, kw_only=True):
    """A worker begins a stage."""

    cell: str
    stage: StageName
    replica: bool = False


class RoundDone(Record, frozen=True, kw_only=True):
    """One round of all live cells is measured and stored."""

    group: str
    session: int
    round: int
    """Counted from 0, as in its blocks."""
    elapsed_seconds: float
    max_seconds: float
    half_width: float | None
    """Relative half-width reached so far; None while there are too few rounds."""
    target: float


class Trained(Record, frozen=True, kw_only=True):
    """One epoch of the training pass is done."""

    cell: str
    points: tuple[TrainingPoint, ...]


class CellEnded(Record, frozen=True, kw_only=True):
    """A cell's worker of one session is gone."""

    cell: str
    session: int
    fate: Fate
    reason: str = ""


class RunStored(Record, frozen=True, kw_only=True):
    """run.json is complete."""

    path: str


class Warned(Record, frozen=True, kw_only=True):
    """Something beside the measurement went wrong; the result is whole."""

    message: str


Event = (
    RunPlanned
    | RunResumed
    | RunNotResumed
    | GroupStarted
    | PassStarted
    | StageEntered
    | RoundDone
    | Trained
    | CellEnded
    | RunStored
    | Warned
)
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""
