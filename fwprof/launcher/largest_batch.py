"""The largest batch that trains in a given memory: fresh processes, doubling, then halving the gap.

Owns which size is tried next. What a process may take is the request's; what it took, its meters say.
"""

from __future__ import annotations

import shutil

import msgspec

from fwprof import workloads
from fwprof.launcher.context import RunContext
from fwprof.records import HOST, BatchSearch, CellPlan, Reading, TriedBatch, frames
from fwprof.records.workload import SyntheticData
from fwprof.store.layout import LARGEST_BATCH

FINE = 16
"""The gap between what fits and what does not ends at a sixteenth of the batch."""
HOST_SHARE = 0.8
"""Of the host's memory, a batch that is expected to take more is not tried: it would end other programs."""
SAMPLE_HZ = 10.0
TOO_LARGE = frozenset({"out_of_memory", "killed"})
"""Fates that say of a batch that it is too large; others end the search."""


def find_largest_batch(context: RunContext, cell: CellPlan) -> None:
    """Search the largest batch of one cell, and keep every size that was tried.

    Args:
        context: the run; its request says how much memory is given.
        cell: of a neutral workload.
    """
    budget = context.plan.request.find_max_batch
    assert budget is not None
    journal = context.folder.journal(cell.id, LARGEST_BATCH)
    try:
        search = BatchSearch()
        while not search.ended and (size := next_size(search, cell, _host_limit(cell))) is not None:
            context.check_cancelled()
            tried = _try(context, cell, size, budget)
            journal.append(frames.BatchTried(tried=tried))
            search = msgspec.structs.replace(search, tried=(*search.tried, tried), ended=_end(tried))
        journal.append(frames.BatchesTried(ended=search.ended or _why_no_larger(search, cell)))
        journal.append(frames.Finished())
    finally:
        journal.close()


def next_size(search: BatchSearch, cell: CellPlan, host_bytes: float | None = None) -> int | None:
    """Return which batch to try next; None: the search is over.

    Args:
        search: what was tried so far.
        cell: its batch size is the first to be tried; its workload says which sizes there can be.
        host_bytes: memory that no batch may be expected to take; None: there is no such limit.
    """
    unit, most = _unit(cell), _most(cell)
    fits, too_large = search.largest, search.too_large
    if fits is None and too_large is None:
        return min(cell.batch_size or unit, most or cell.batch_size or unit)
    if fits is None:
        assert too_large is not None
        return None if too_large <= unit else max(unit, too_large // 2 // unit * unit)
    if too_large is None:
        size = 2 * fits if most is None else min(2 * fits, most)
        if host_bytes is not None:
            size = min(size, _affordable(search, host_bytes) // unit * unit)
        return size if size >= fits + max(unit, fits // FINE) else None
    middle = (fits + too_large) // 2 // unit * unit
    return middle if too_large - fits > max(unit, fits // FINE) and middle > fits else None


def with_batch(cell: CellPlan, size: int) -> CellPlan:
    """Return a cell with batches of another size, and synthetic data enough for one."""
    spec = cell.workload.spec
    assert spec is not None
    if isinstance(spec.data, SyntheticData) and spec.data.samples < size:
        spec = msgspec.structs.replace(spec, data=msgspec.structs.replace(spec.data, samples=size))
    plan = workloads.plan_workload(spec, size)
    return msgspec.structs.replace(cell, batch_size=size, workload=plan)


def _try(context: RunContext, cell: CellPlan, size: int, budget: int) -> TriedBatch:
    """Train a few steps with one batch of that size, and read the memory."""
    worker = context.open_beside(with_batch(cell, size), f"{LARGEST_BATCH}/{size}")
    readings: frames.Readings | None = None
    try:
        inputs = context.begin_to_open(worker, ("memory",), batches=1)
        if worker.hear(frames.Ready) is not None:
            order = frames.TakeReadings(pass_name="memory", seconds=0.0, rate_hz=SAMPLE_HZ)
            readings = worker.ask(order, frames.Readings)
        worker.finish()
    finally:
        context.close([worker])
    if inputs is not None:
        # Of a large batch gigabytes, that no other worker reads.
        shutil.rmtree(inputs, ignore_errors=True)
    peak = readings.readings.get(_counter(cell)) if readings is not None else None
    if worker.failure is not None:
        return TriedBatch(
            batch_size=size,
            fits=False,
            peak=peak,
            fate=worker.failure.fate,
            reason=worker.failure.message,
        )
    return TriedBatch(
        batch_size=size,
        fits=peak is not None and peak.value is not None and peak.value <= budget,
        peak=peak,
        reason=_why_unread(cell, peak),
    )


def _counter(cell: CellPlan) -> str:
    """Name the reading that decides: the device's own memory, or on the host that of the process."""
    return "host_peak" if cell.device.name == HOST else "device_process_memory"


def _why_unread(cell: CellPlan, peak: Reading | None) -> str:
    if peak is None:
        return f"no meter here reads {_counter(cell)}"
    return peak.reason if peak.value is None else ""


def _end(tried: TriedBatch) -> str:
    """Say why the search cannot go on after this; empty: it can."""
    if tried.fits or tried.fate in TOO_LARGE or (tried.fate == "ok" and not tried.reason):
        return ""
    return f"a batch of {tried.batch_size} says nothing of the memory: {tried.reason}"


def _why_no_larger(search: BatchSearch, cell: CellPlan) -> str:
    if search.too_large is not None or search.largest is None:
        return ""
    if search.largest == _most(cell):
        return "the data set has no more samples"
    return f"a larger one is expected to take more than {HOST_SHARE:.0%} of this machine's memory"


def _unit(cell: CellPlan) -> int:
    """Return what batch sizes are multiples of."""
    return cell.workload.spec.accumulate if cell.workload.spec is not None else 1


def _most(cell: CellPlan) -> int | None:
    """Return the largest batch that the data allow; None: synthetic data are made for any."""
    spec = cell.workload.spec
    if spec is None or isinstance(spec.data, SyntheticData) or cell.workload.data_size is None:
        return None
    return cell.workload.data_size // _unit(cell) * _unit(cell)


def _host_limit(cell: CellPlan) -> float | None:
    import psutil

    return HOST_SHARE * psutil.virtual_memory().total if cell.device.name == HOST else None


def _affordable(search: BatchSearch, host_bytes: float) -> int:
    """Return the batch that is expected to take so much, by a line through the two largest that fit."""
    known = sorted(
        (one.batch_size, one.peak.value) for one in search.tried if one.fits and one.peak and one.peak.value
    )
    size, taken = known[-1]
    before, less = known[-2] if len(known) > 1 else (0, 0.0)
    each = max((taken - less) / (size - before), 1.0)
    return int(size + (host_bytes - taken) / each)
