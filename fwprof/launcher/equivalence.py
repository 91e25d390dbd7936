"""Verifies that the cells of a group do the same work, in workers of its own, before any is timed.

Owns which workers that takes, two of them at a time. What their answers say is judged by
`comparison.equivalence`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fwprof.codec import encode
from fwprof.comparison.equivalence import ROUNDING, judge_answers
from fwprof.errors import RequestError, StoreError
from fwprof.events import PassStarted
from fwprof.launcher.cell import CellWorker
from fwprof.launcher.context import RunContext, side_by_side
from fwprof.launcher.presets import Presets
from fwprof.records import HOST, CellPlan, Description, Equivalence, Group, frames
from fwprof.store.layout import VERIFICATION
from fwprof.workloads.answers import CHECK_SAMPLES, Answers, load_answers, write_check_inputs
from fwprof.workloads.language import parameter_shapes, state_shapes


@dataclass(frozen=True)
class _Answered:
    """What became of one verifying worker."""

    answers: Answers | None = None
    description: Description | None = None
    failure: str = ""

    @property
    def verified_with(self) -> tuple[str, ...]:
        """How the program differed from the timed one."""
        return self.description.verified_with if self.description else ()


def verify_group(context: RunContext, group: Group, presets: Presets) -> None:
    """Compare what the cells of a group compute, and store what came of it.

    Each cell is asked in float64 on the host, which decides whether it is the same function, and in
    its own precision on its own device. Cells that differ in neither share their workers. The
    reference is the first cell that can be asked in float64. A group of one cell is left alone.

    Args:
        context: the run.
        group: the cells.
        presets: learns which cells are the same but for the name of their preset.
    """
    cells = group.cells
    if len(cells) < 2:
        return
    if reason := _why_not(context, cells):
        for cell in cells:
            context.folder.add_equivalence(cell.id, Equivalence(reason=reason))
        return
    context.observer(PassStarted(name=f"{group.name} equivalence"))
    plans = {cell.id: {"float64": _in_float64(context, cell), "own": _as_it_is(cell)} for cell in cells}
    wanted = {_key(plan): plan for both in plans.values() for plan in both.values()}
    scratch = context.scratch("answers-")
    try:
        answered = _ask_all(context, wanted, scratch)
        found = {
            cell: {kind: answered[_key(plan)] for kind, plan in both.items()} for cell, both in plans.items()
        }
        judged = _judge_all(cells, found)
        if context.plan.schedule.sessions:
            _skip_identical(context, cells, found, presets)
    except RequestError as error:
        # Data that does not fit is every cell's failure, told when they are opened.
        judged = {cell.id: Equivalence(reason=": ".join((error.what, error.cause))) for cell in cells}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for cell_id, equivalence in judged.items():
        context.folder.add_equivalence(cell_id, equivalence)


def _why_not(context: RunContext, cells: Sequence[CellPlan]) -> str:
    if any(cell.workload.spec is None for cell in cells):
        return "a model of the user's own: its weights and batches are its own too"
    if not context.is_isolated:
        return "measured inside the caller's process, which must not be switched to float64"
    if context.plan.host is None and any(cell.device.name != HOST for cell in cells):
        return "no device plugin for the cpu is installed, on which float64 is computed"
    return ""


def _in_float64(context: RunContext, cell: CellPlan) -> CellPlan:
    host = context.plan.host
    place = {} if host is None else {"device": host.device, "device_plugin": host.plugin}
    return msgspec.structs.replace(
        _as_it_is(cell), precision="float64", settings_preset="as-shipped", **place
    )


def _as_it_is(cell: CellPlan) -> CellPlan:
    return msgspec.structs.replace(cell, is_verification=True, batch_size=CHECK_SAMPLES, meter_plugins=())


def _key(plan: CellPlan) -> bytes:
    """Return what two plans share that give the same answers."""
    # Counts of the whole batch, and how many threads share the work, change no answer.
    workload = msgspec.structs.replace(plan.workload, flops=None, traffic_bytes=None)
    return encode(msgspec.structs.replace(plan, id="", workload=workload, threads=1))


def _ask_all(
    context: RunContext, wanted: Mapping[bytes, CellPlan], scratch: Path
) -> Mapping[bytes, _Answered]:
    """Let a worker answer for each plan, all from the same inputs.

    Raises:
        RequestError: there are no such inputs.
    """
    inputs = context.scratch("check-inputs-")
    first = next(iter(wanted.values()))
    asked = next(plan.precision for plan in wanted.values() if plan.precision != "float64")
    try:
        write_check_inputs(first.workload, first.seed, inputs)
    except StoreError as error:
        raise RequestError(error.what, cause=error.cause, next=error.next) from error
    answered: dict[bytes, _Answered] = {}
    for plans in side_by_side(list(wanted.values())):
        context.check_cancelled()
        workers = [context.open_beside(plan, f"{VERIFICATION}/{_journal_name(plan)}") for plan in plans]
        try:
            destinations = [Path(tempfile.mkdtemp(dir=scratch)) for _ in plans]
            for plan, worker, destination in zip(plans, workers, destinations, strict=True):
                worker.tell(
                    frames.Verify(
                        cell=plan,
                        inputs=str(inputs),
                        cache=str(context.cache()),
                        destination=str(destination),
                        rounding=ROUNDING[asked] if plan.precision == "float64" else 0.0,
                    )
                )
            for plan, worker, destination in zip(plans, workers, destinations, strict=True):
                answered[_key(plan)] = _hear(worker, destination)
        finally:
            context.close(workers)
    return answered


def _journal_name(plan: CellPlan) -> str:
    return plan.precision if plan.precision == "float64" else f"{plan.precision}.{plan.settings_preset}"


def _hear(worker: CellWorker, destination: Path) -> _Answered:
    answer = worker.hear(frames.Answered)
    if answer is None:
        failure = worker.failure
        return _Answered(failure=failure.message if failure else "the worker gave no answer")
    worker.finish()
    described = worker.description
    return _Answered(
        answers=load_answers(destination),
        description=described.description if described else None,
    )


def _skip_identical(
    context: RunContext,
    cells: Sequence[CellPlan],
    found: Mapping[str, Mapping[str, _Answered]],
    presets: Presets,
) -> None:
    """Store which cells need no timing: they say of themselves what another preset said."""
    for cell in cells:
        if cell.id in presets.skipped:
            continue
        description = found[cell.id]["own"].description
        failure = presets.compare(cell, description) if description else None
        if failure is not None:
            journal = context.folder.journal(cell.id, "0")
            journal.append(frames.Failed(failure=failure))
            journal.close()


def _judge_all(
    cells: Sequence[CellPlan], found: Mapping[str, Mapping[str, _Answered]]
) -> Mapping[str, Equivalence]:
    reference = next((cell.id for cell in cells if found[cell.id]["float64"].answers is not None), None)
    judged = {}
    for cell in cells:
        own, exact = found[cell.id]["own"], found[cell.id]["float64"]
        failure = exact.failure or own.failure
        if reference is None or failure:
            judged[cell.id] = Equivalence(reason=failure or "no cell could be asked in float64")
            continue
        equivalence = judge_answers(
            {kind: one.answers for kind, one in found[cell.id].items()},
            {kind: one.answers for kind, one in found[reference].items()},
            names=[*parameter_shapes(cell.workload.layers), *state_shapes(cell.workload.layers)],
            precision=cell.precision,
            reference_id=reference,
            verified_with=tuple(dict.fromkeys((*exact.verified_with, *own.verified_with))),
        )
        if cell.id == reference and equivalence.status == "equivalent":
            equivalence = msgspec.structs.replace(equivalence, status="reference")
        judged[cell.id] = equivalence
    return judged
