"""Progress on stderr: drawn when an event comes, never by a timer, so never while a block runs.

On a terminal one line is redrawn in place; elsewhere a line comes every few seconds.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwprof.cli.messages import note
from fwprof.events import (
    CellEnded,
    Event,
    GroupStarted,
    PassStarted,
    RoundDone,
    RunNotResumed,
    RunPlanned,
    RunResumed,
    RunStored,
    StageEntered,
    Trained,
)
from fwprof.report import figures

if TYPE_CHECKING:
    from fwprof.records import RunPlan

_HEARTBEAT_SECONDS = 5.0
_STAGES_SHOWN = (
    "import",
    "build",
    "verify",
    "first_step",
    "warm_up",
    "memory",
    "energy",
    "train",
    "pipeline",
    "layers",
)


class Progress:
    """An observer that writes progress.

    Args:
        is_drawn: redraw one line in place; else heartbeat lines.
        is_verbose: one line for each event that is not a round.
        now_s: a monotonic clock.
    """

    def __init__(
        self, *, is_drawn: bool, is_verbose: bool = False, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._is_drawn = is_drawn
        self._is_verbose = is_verbose
        self._now_s = now_s
        self._last_shown_s = float("-inf")
        self._is_line_open = False
        self._names: dict[str, str] = {}
        self._group: _Group | None = None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, RunPlanned):
            self._names = cell_names(event.plan)
            self._line(f"plan     {plan_line(event.plan, event.estimated_seconds)}")
        elif isinstance(event, RunResumed):
            self._line(resumed_line(event))
        elif isinstance(event, RunNotResumed):
            self._line(not_resumed_line(event))
        elif isinstance(event, GroupStarted | PassStarted):
            self.finish()
            self._group = _Group(event, self._now_s())
        elif isinstance(event, RunStored):
            self.finish()
        elif self._group is not None:
            self._group.take(event, self._now_s())
            self._tell(event)

    def finish(self) -> None:
        """End the line of the group that ran, with what it took."""
        if self._group is not None:
            self._line(self._group.done(self._now_s()))
        self._group = None

    def _tell(self, event: Event) -> None:
        if isinstance(event, CellEnded) and event.fate != "ok":
            reason = f": {event.reason}" if event.reason else ""
            self._line(f"  {self._name(event.cell)}: {event.fate.replace('_', ' ')}{reason}")
        elif self._is_verbose and isinstance(event, StageEntered):
            replica = " (replica)" if event.replica else ""
            self._line(f"  {self._name(event.cell)}{replica}: {event.stage.replace('_', ' ')}")
        elif self._is_verbose and isinstance(event, Trained):
            self._line(f"  {self._name(event.cell)}: epoch {event.points[-1].epoch}")
        self._show()

    def _show(self) -> None:
        if self._group is None:
            return
        now_s = self._now_s()
        if self._is_drawn:
            self._draw(self._group.now(self._names))
        elif now_s - self._last_shown_s >= _HEARTBEAT_SECONDS:
            self._line(self._group.now(self._names))
            self._last_shown_s = now_s

    def _draw(self, text: str) -> None:
        # A carriage return and an erase, no thread and no cursor games: any terminal can.
        room = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:room]}")
        sys.stderr.flush()
        self._is_line_open = True

    def _line(self, text: str) -> None:
        if self._is_line_open:
            sys.stderr.write("\r\x1b[K")
            self._is_line_open = False
        note(text)

    def _name(self, cell_id: str) -> str:
        return self._names.get(cell_id, cell_id)


class _Group:
    """What is known of the group or pass that runs now."""

    def __init__(self, event: GroupStarted | PassStarted, now_s: float) -> None:
        if isinstance(event, PassStarted):
            self.title = event.name
        else:
            several = f" {event.session + 1}/{event.sessions}" if event.sessions > 1 else ""
            self.title = f"{event.group}{several}"
        self.started_s = self.changed_s = now_s
        self.stage = "start"
        self.cell = ""
        self.seconds: dict[str, float] = {}
        self.round: RoundDone | None = None
        self.epoch = 0

    def take(self, event: Event, now_s: float) -> None:
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now_s - self.changed_s
        self.changed_s = now_s
        if isinstance(event, StageEntered):
            self.stage, self.cell = event.stage, event.cell
        elif isinstance(event, RoundDone):
            self.stage, self.cell, self.round = "block", "", event
        elif isinstance(event, Trained):
            self.epoch = event.points[-1].epoch

    def now(self, names: dict[str, str]) -> str:
        if self.stage == "block" and self.round is not None:
            one = self.round
            width = "…" if one.half_width is None else f"±{figures.percent(one.half_width)}"
            clock = f"{figures.wait(one.elapsed_seconds)} of {figures.wait(one.max_seconds)}"
            if one.elapsed_seconds > one.max_seconds:
                clock += ", to the least number of rounds"
            target = f"(until ±{figures.percent(one.target)})"
            return f"  {self.title:<20} round {one.round + 1}   {width} {target}   {clock}"
        who = f" {names.get(self.cell, self.cell)}" if self.cell else ""
        epoch = f", epoch {self.epoch}" if self.stage == "train" and self.epoch else ""
        return f"  {self.title:<20} {self.stage.replace('_', ' ')}{who}{epoch}"

    def done(self, now_s: float) -> str:
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now_s - self.changed_s
        parts = [f"done {figures.wait(now_s - self.started_s):>6}"]
        parts += [
            f"{stage.replace('_', ' ')} {self.seconds[stage]:.1f}"
            for stage in _STAGES_SHOWN
            if self.seconds.get(stage, 0.0) >= 0.05
        ]
        if self.round is not None:
            width = self.round.half_width
            reached = "" if width is None else f" ±{figures.percent(width)}"
            parts.append(f"{figures.plural(self.round.round + 1, 'round')}{reached}")
        return f"  {self.title:<20} " + "   ".join(parts)


def cell_names(plan: RunPlan) -> dict[str, str]:
    """Return what to call each cell before it has described itself."""
    return {cell.id: f"{cell.workload.name} {cell.choice} {cell.device.name}" for cell in plan.cells()}


def plan_line(plan: RunPlan, estimated_seconds: float) -> str:
    """Say in one line what will be measured and how long that takes."""
    cells = plan.cells()
    workloads = ", ".join(dict.fromkeys(cell.workload.name for cell in cells))
    is_quick_set = not plan.request.workloads and not plan.request.models
    processes = plan.schedule.sessions * (len(cells) + plan.schedule.replica * len(plan.groups))
    groups = f" in {len(plan.groups)} groups" if len(plan.groups) > 1 else ""
    epochs, seeds = plan.request.epochs, plan.request.training_seeds
    training = f", with {figures.plural(epochs, 'epoch')} a cell" if epochs else ""
    training += f" and seed ({figures.plural(seeds, 'seed')})" if epochs and seeds > 1 else ""
    return (
        f"{'quick set: ' if is_quick_set else ''}{workloads or 'nothing that can run here'}   "
        f"{figures.plural(len(cells), 'cell')}{groups}, {figures.plural(processes, 'process')}, "
        f"at most about {figures.wait(estimated_seconds)}{training}"
    )


def resumed_line(event: RunResumed) -> str:
    """Say what of an earlier run is taken over."""
    parts = [f"{event.timed} of {figures.plural(event.cells, 'cell')} timed"]
    if event.sessions > event.measured > 0 and event.timed < event.cells:
        parts.append(f"{event.measured} of {figures.plural(event.sessions, 'session')} of groups")
    if event.failed:
        parts.append(f"{figures.plural(len(event.failed), 'failed cell')} measured again")
    began = event.created.replace("T", " ")[:16]
    return f"resuming {event.run} of {began} UTC: {', '.join(parts)}   (--fresh measures everything anew)"


def not_resumed_line(event: RunNotResumed) -> str:
    """Say why an interrupted run is not taken over."""
    return f"anew     {event.run} is not resumed: {event.reason}"


def is_drawn_here() -> bool:
    """Say whether a line may be redrawn in place on stderr."""
    return sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
