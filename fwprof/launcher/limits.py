"""The machine's limits: measured after the timing, or taken over of a run that was just before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fwprof import environment, planning
from fwprof.comparison import known_limits
from fwprof.comparison.known_limits import KnownLimits
from fwprof.errors import FwprofError, StoreError
from fwprof.events import PassStarted, Warned
from fwprof.launcher.context import RunContext
from fwprof.launcher.link import WorkerEnded, ask
from fwprof.records import CellPlan, LibraryLimits, Reading, frames
from fwprof.store.layout import MeasuredLimits

UNITS = {"best_gemm": "FLOP/s", "best_copy": "bytes/s"}


def measure_limits(context: RunContext, cells: Sequence[CellPlan]) -> None:
    """Keep the best matrix product and copy that these cells are held against.

    Args:
        context: the run.
        cells: those that have figures. What they are held against is the best of all libraries, so
            that a framework is asked also where its own cell was measured under another preset.
    """
    wanted = {cell.limits_key for cell in cells} - context.folder.measured.limits
    libraries = {(cell.framework.name, cell.environment) for cell in cells}
    keys = {
        key: [cell for cell in asked if (cell.framework.name, cell.environment) in libraries]
        for key, asked in planning.limits_keys(context.plan).items()
        if key in wanted
    }
    if keys:
        context.observer(PassStarted(name="machine's limits"))
    for key in sorted(keys):
        context.folder.add_limits(_measure(context, key, keys[key]))


def _measure(context: RunContext, key: str, cells: Sequence[CellPlan]) -> MeasuredLimits:
    """Return one of the machine's limits, and what is known of it; remember what was measured."""
    machine = environment.machine_facts()
    known, new = _recall(context), []
    found: dict[str, tuple[LibraryLimits, ...]] = {}
    for cell in cells:
        context.check_cancelled()
        place, now = known_limits.fingerprint(machine, cell), datetime.now(UTC)
        if context.plan.schedule.budget == "quick":
            found[place] = known_limits.recent(known, place, machine.boot_id, now)
        if not found.get(place):
            found[place] = _ask_worker(context, cell)
            new += [
                KnownLimits(
                    fingerprint=place,
                    boot=machine.boot_id,
                    run=context.plan.run_id,
                    measured=now.isoformat(timespec="seconds"),
                    limits=limits,
                )
                for limits in found[place]
                if any(reading.value is not None for reading in limits.readings.values())
            ]
    try:
        known_limits.remember(new)
    except StoreError as error:
        # The run goes on, and is whole: only later ones know less of this machine.
        context.observer(Warned(message=f"{error.what}: {error.cause}"))
    libraries = [each for limits in found.values() for each in limits]
    best = {
        name: max((each.readings[name] for each in libraries), key=lambda reading: reading.value or 0)
        for name in UNITS
    }
    return MeasuredLimits(
        key=key, readings=best | known_limits.best_known(known, found), libraries=tuple(libraries)
    )


def _recall(context: RunContext) -> Sequence[KnownLimits]:
    try:
        return known_limits.recall()
    except StoreError as error:
        context.observer(Warned(message=f"{error.what}: {error.cause}"))
        return ()


def _ask_worker(context: RunContext, cell: CellPlan) -> tuple[LibraryLimits, ...]:
    """Have a worker of the cell's framework measure; what it fails of is a reading without a value."""
    order = frames.MeasureLimits(cell=cell, seconds=planning.LIMITS_SECONDS, cache=str(context.cache()))
    try:
        found = ask(context.link(cell, None), order, frames.LimitsMeasured).libraries
        reason = "no library offered a kernel for this device"
    except (WorkerEnded, FwprofError) as error:
        context.check_cancelled()
        found, reason = (), f"could not be measured: {error}"
    nothing = {name: Reading(value=None, unit=unit, reason=reason) for name, unit in UNITS.items()}
    return found or (LibraryLimits(library=cell.framework.name, readings=nothing),)
