"""Which labels a cell's own numbers earn it.

Owns the thresholds behind the labels of `fwprof.records.LABELS`. A label stands beside a figure
and says what to make of it; it forbids nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fwprof.comparison.checkpoints import judge_checkpoints
from fwprof.comparison.series import Session, sessions_of, shared_rounds
from fwprof.records import LABELS, Block, CellResult, Group, RunResult
from fwprof.statistics import half_width, has_drifted, quantile, widest_half_width

CONTENDED_SPREAD = 1.25
"""p50/p10 of the step: neighbours only ever slow a block down, so that they part the two."""
CONTENDED_SHARE = 0.10
"""Of the granted CPU, used by processes outside the run."""
FAULT_NS = 500
"""What mapping one page costs at least, zeroing it included; virtual machines need some µs.

Source: docs/decisions/007-page-faults.md, measured.
"""
FAULT_SHARE = 0.05
"""Of the time of the steps, spent on mapping pages."""

FOREIGN = "foreign_processes"


def labels_of(result: RunResult) -> Mapping[str, tuple[str, ...]]:
    """Return every cell's labels: the stored ones, its plugin's, and those its numbers earn."""
    cells = {cell.id: cell for cell in result.cells}
    wide = {name for group in result.plan.groups for name in _wide_cells(result, group, cells)}
    mixed = _cells_of_several_runs(result)
    labels = {}
    plans = {plan.id: plan for plan in result.plan.cells()}
    for cell in result.cells:
        found = {*cell.labels, *(cell.description.labels if cell.description else ())}
        found.update(_earned(cell, result))
        for checkpoint in judge_checkpoints(cell, plans[cell.id]):
            if not checkpoint.is_sound:
                found.add(f"checkpoint_{'differs' if checkpoint.next_losses == 'differ' else 'failed'}")
        if cell.id in wide:
            found.add("interval_wide")
        if cell.id in mixed and cell.measurements:
            found.add("resumed")
        known = list(LABELS)
        labels[cell.id] = tuple(
            sorted(found, key=lambda name: (known.index(name) if name in LABELS else len(known), name))
        )
    return labels


def _earned(cell: CellResult, result: RunResult) -> Iterator[str]:
    own = [measurement for measurement in cell.measurements if not measurement.replica]
    blocks = [block for measurement in own for block in measurement.blocks]
    sessions = sessions_of(cell).values()
    steps = [session.column("run", session.rounds()) for session in sessions if "run" in session.programs]
    if _other_share(blocks, result.machine.cores) > CONTENDED_SHARE or any(map(_is_spread, steps)):
        yield "contended"
    foreign = cell.readings.get(FOREIGN)
    if any(measurement.device_shared_with for measurement in own) or (foreign and foreign.value):
        yield "shared_device"
    tolerance = result.plan.schedule.steady_tolerance
    if any(not all(measurement.steady.values()) for measurement in own) or any(
        has_drifted(values, tolerance) for values in steps
    ):
        yield "unsteady"
    if any(block.compilations for block in blocks):
        yield "recompiled"
    if _fault_share([block for block in blocks if block.program == "run"]) > FAULT_SHARE:
        yield "page_faults"
    if blocks and (cell.fate != "ok" or any(measurement.fate != "ok" for measurement in own)):
        yield "incomplete"
    if cell.equivalence.status == "not_equivalent":
        yield "not_equivalent"


def disturbed_sessions(cell: CellResult, cores: int) -> set[int]:
    """Return the sessions in which processes outside the run used more of the CPU than is let pass.

    Args:
        cell: what was measured.
        cores: granted to the run.
    """
    blocks: dict[int, list[Block]] = {}
    for measurement in cell.measurements:
        if not measurement.replica:
            blocks.setdefault(measurement.session, []).extend(measurement.blocks)
    return {number for number, found in blocks.items() if _other_share(found, cores) > CONTENDED_SHARE}


def _is_spread(values: Sequence[float]) -> bool:
    return bool(values) and quantile(values, 0.5) > CONTENDED_SPREAD * quantile(values, 0.1)


def _other_share(blocks: Sequence[Block], cores: int) -> float:
    counted = [
        (counters.other_cpu_ns, counters.window_ns)
        for counters in (block.counters for block in blocks)
        if counters is not None and counters.other_cpu_ns is not None
    ]
    window = sum(span for _, span in counted) * cores
    return sum(used for used, _ in counted) / window if window else 0.0


def _fault_share(blocks: Sequence[Block]) -> float:
    counted = [
        (counters.minor_faults, counters.window_ns)
        for counters in (block.counters for block in blocks)
        if counters is not None and counters.minor_faults is not None
    ]
    window = sum(span for _, span in counted)
    return FAULT_NS * sum(faults for faults, _ in counted) / window if window else 0.0


def _wide_cells(result: RunResult, group: Group, cells: Mapping[str, CellResult]) -> set[str]:
    """Return the cells whose rounds ended before the interval was as narrow as asked."""
    schedule = result.plan.schedule
    if schedule.max_rounds is not None:  # a number of rounds was asked for, not a width
        return set()
    whole = [cells[plan.id] for plan in group.cells if plan.id in cells and cells[plan.id].fate == "ok"]
    wide: set[str] = set()
    for number in range(schedule.sessions):
        sessions = {cell.id: found for cell in whole if (found := sessions_of(cell).get(number))}
        widths = _widths(sessions, paired=schedule.kind == "interleaved")
        wide |= {name for name, width in widths.items() if width is None or width > schedule.half_width}
    return wide


def _cells_of_several_runs(result: RunResult) -> set[str]:
    """Return the cells whose sessions lie as far apart as a run and the one that resumed it."""
    runs: dict[str, set[str]] = {}
    for session in result.sessions:
        runs.setdefault(session.group, set()).add(session.run)
    groups = [group for group in result.plan.groups if len(runs.get(group.name, ())) > 1]
    return {cell.id for group in groups for cell in group.cells}


def _widths(sessions: Mapping[str, Session], *, paired: bool) -> Mapping[str, float | None]:
    if not paired:
        return {name: half_width(one.column("run", one.rounds(["run"]))) for name, one in sessions.items()}
    rounds = shared_rounds(list(sessions.values()), ["run"])
    if not rounds:
        return dict.fromkeys(sessions)
    width = widest_half_width([session.column("run", rounds) for session in sessions.values()])
    return dict.fromkeys(sessions, width)
