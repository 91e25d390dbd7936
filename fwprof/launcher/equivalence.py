"""Verifies that the cells of a group do the same work, in workers of its own, before any is timed.

Owns which workers that takes, two of them at a time. What their answers say is judged by
`comparison.equivalence`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fwprof.codec import encode
from fwprof.comparison.equivalence import judge_answers
from fwprof.errors import FwprofError
from fwprof.events import PassStarted
from fwprof.launcher.cell import CellWorker
from fwprof.launcher.context import RunContext
from fwprof.records import CellPlan, Equivalence, Group, frames
from fwprof.workloads.answers import CHECK_SAMPLES, Answers, load_answers, write_check_inputs
from fwprof.workloads.language import parameter_shapes, state_shapes

AT_ONCE = 2
"""Nothing is timed meanwhile; more would only wait for each other, and for memory."""


@dataclass(frozen=True)
class _Answered:
    """What became of one verifying worker."""

    answers: Answers | None = None
    verified_with: tuple[str, ...] = ()
    failure: str = ""


def verify_group(context: RunContext, group: Group) -> None:
    """Compare what the cells of a group compute, and store what came of it.

    Each cell is asked in float64 on the host, which decides whether it is the same function, and in
    its own precision on its own device. Cells that differ in neither share their workers. The
    reference is the first cell that can be asked in float64. A group of one cell is left alone.
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
        for cell_id, equivalence in _judge_all(cells, found).items():
            context.folder.add_equivalence(cell_id, equivalence)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _why_not(context: RunContext, cells: Sequence[CellPlan]) -> str:
    if any(cell.workload.spec is None for cell in cells):
        return "a model of the user's own: its weights and batches are its own too"
    if not context.is_isolated:
        return "measured inside the caller's process, which must not be switched to float64"
    if context.plan.host is None and any(cell.device.name != "cpu" for cell in cells):
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
    inputs: dict[tuple[bytes, int], Path] = {}
    answered: dict[bytes, _Answered] = {}
    waiting = list(wanted.items())
    while waiting:
        now, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        context.check_cancelled()
        workers: list[CellWorker] = []
        try:
            begun: list[tuple[bytes, CellWorker, Path]] = []
            for key, plan in now:
                destination = scratch / str(len(answered) + len(begun))
                destination.mkdir()
                work = (encode((plan.workload.spec, plan.workload.layers)), plan.seed)
                try:
                    if work not in inputs:
                        inputs[work] = context.scratch("check-inputs-")
                        write_check_inputs(plan.workload, plan.seed, inputs[work])
                except FwprofError as error:
                    del inputs[work]
                    answered[key] = _Answered(failure=": ".join(filter(None, (error.what, error.cause))))
                    continue
                worker = context.open_verifier(plan, plan.precision + _suffix(plan))
                workers.append(worker)
                worker.tell(
                    frames.Verify(
                        cell=plan,
                        inputs=str(inputs[work]),
                        cache=str(context.cache()),
                        destination=str(destination),
                    )
                )
                begun.append((key, worker, destination))
            for key, worker, destination in begun:
                answered[key] = _hear(worker, destination)
        finally:
            context.close(workers)
    return answered


def _suffix(plan: CellPlan) -> str:
    return "" if plan.precision == "float64" else f".{plan.settings_preset}"


def _hear(worker: CellWorker, destination: Path) -> _Answered:
    answer = worker.hear(frames.Answered)
    if answer is None:
        failure = worker.failure
        return _Answered(failure=failure.message if failure else "the worker gave no answer")
    worker.finish()
    described = worker.description
    return _Answered(
        answers=load_answers(destination),
        verified_with=described.description.verified_with if described else (),
    )


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
