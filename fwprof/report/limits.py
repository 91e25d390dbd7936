"""What bounds the steps: shares of the machine's best and of a datasheet's peak, and what explains them.

Owns the wording. Derives nothing: every figure comes from the summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fwprof.records import workload as kinds
from fwprof.report import figures
from fwprof.report.steps import value_of
from fwprof.workloads.language import walk

if TYPE_CHECKING:
    from fwprof.records import CellPlan, CellSummary, RunResult
    from fwprof.report.names import CellNames

Rows = list[tuple[str, str]]

_BOUNDS = {
    "overhead": "launching, or slow kernels",
    "compute": "compute",
    "memory": "memory bandwidth",
    "data": "data",
}
_CALLED = {"best_gemm": "matrix product"}
_FEWER = "convolutions by Winograd's method or FFT do fewer multiplications than the 2 FLOP a pair counted"
_OTHER_SHAPES = "its products are of shapes that run faster than the square ones that were tried"
_CACHED = "bytes are counted as if nothing stayed in a cache, and a model that fits one moves fewer"
_PROMISE = "its products are computed in a shorter format than asked (see the settings), or at a higher clock"


def limits_rows(result: RunResult, cells: Sequence[CellSummary], names: CellNames) -> Rows:
    """Say what bounds which cells, what they are held against, and what is out of the ordinary."""
    plans = {plan.id: plan for plan in result.plan.cells()}
    rows = {
        "what bounds it": _bounds(cells, names),
        "machine's best": _bests(cells, plans),
        "intensity": _intensities(cells, plans),
        "mfu": _utilisations(cells, plans, names),
        "above 100 %": _above(cells, plans, names),
        "slower machine": _slower(cells),
    }
    return [
        (title if place == 0 else "", text)
        for title, texts in rows.items()
        for place, text in enumerate(texts)
    ]


def _bounds(cells: Sequence[CellSummary], names: CellNames) -> list[str]:
    """Say what bounds which cells, each beside its share of the machine's best."""
    bounded: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        gemm, copy = value_of(cell, "share_of_best_gemm"), value_of(cell, "share_of_copy")
        shares = {"matrix product": gemm, "copy": copy}
        if cell.bound is not None:
            peak = "copy" if cell.bound == "memory" else "matrix product"
            shares = {peak: shares[peak]}
        elif gemm is None:
            continue
        what = _BOUNDS[cell.bound] if cell.bound else "nothing alone"
        for peak, share in shares.items():
            name = names.short(cell.id)
            if share is not None:
                of = f" of the best {peak} here"
                bounded.setdefault(what, {}).setdefault(of, []).append(f"{name} {_percent(share)}")
            elif cell.bound is not None:
                bounded.setdefault(what, {}).setdefault("", []).append(name)
    return [
        f"{what}: " + "; ".join(", ".join(owners) + of for of, owners in by.items())
        for what, by in bounded.items()
    ]


def _bests(cells: Sequence[CellSummary], plans: Mapping[str, CellPlan]) -> list[str]:
    """Say what the shares are of: once for each device, number of threads, precision and preset."""
    said: dict[str, str] = {}
    for cell in cells:
        gemm, copy = cell.limits.get("best_gemm"), cell.limits.get("best_copy")
        parts = []
        if gemm and gemm.value:
            parts.append(f"{figures.count(gemm.value)}FLOP/s ({gemm.basis})")
        if copy and copy.value:
            parts.append(f"{figures.size(copy.value)}/s copied ({copy.basis})")
        if parts and cell.id in plans:
            said.setdefault(plans[cell.id].limits_key, " and ".join(parts))
    if len(said) < 2:
        return list(said.values())
    return [f"{key}: {text}" for key, text in said.items()]


def _intensities(cells: Sequence[CellSummary], plans: Mapping[str, CellPlan]) -> list[str]:
    """Say how many FLOP each workload does a byte, where that is told by what the machine does a byte."""
    sizes: dict[str, set[int | None]] = {}
    for cell in cells:
        sizes.setdefault(cell.workload, set()).add(cell.batch_size)
    found: dict[str, dict[str, None]] = {}
    balances: dict[str, str] = {}
    for cell in cells:
        gemm, copy = cell.limits.get("best_gemm"), cell.limits.get("best_copy")
        intensity = value_of(cell, "arithmetic_intensity")
        if intensity is None or cell.id not in plans or not (gemm and copy and gemm.value and copy.value):
            continue
        key = plans[cell.id].limits_key
        balances.setdefault(key, figures.number(gemm.value / copy.value))
        batch = f" batch {cell.batch_size}" if len(sizes[cell.workload]) > 1 else ""
        found.setdefault(key, {})[f"{cell.workload}{batch} {figures.number(intensity)}"] = None
    return [
        (f"{key}: " if len(found) > 1 else "") + f"{figures.listed(list(texts))} FLOP/byte; "
        f"below {balances[key]} bytes take this machine longer than products"
        for key, texts in found.items()
    ]


def _utilisations(cells: Sequence[CellSummary], plans: Mapping[str, CellPlan], names: CellNames) -> list[str]:
    by_peak: dict[str, list[str]] = {}
    for cell in cells:
        device = plans[cell.id].device if cell.id in plans else None
        share = value_of(cell, "mfu")
        if device is None:
            continue
        if share is not None:
            peak = device.peaks[cell.precision]
            of = f" of {figures.count(peak.flops_per_s)}FLOP/s in {cell.precision} ({peak.source})"
            by_peak.setdefault(of, []).append(f"{names.short(cell.id)} {_percent(share)}")
        elif device.no_peaks:
            by_peak.setdefault(f"{figures.NOT_MEASURED}: {device.no_peaks}", [])
    return [figures.listed(owners) + of for of, owners in by_peak.items()]


def _above(cells: Sequence[CellSummary], plans: Mapping[str, CellPlan], names: CellNames) -> list[str]:
    """Explain the shares above 100 %: none is cut."""
    rows = []
    for cell in cells:
        convolves = cell.id in plans and _convolves(plans[cell.id])
        reasons = {
            "share_of_best_gemm": ("best matrix product", _FEWER if convolves else _OTHER_SHAPES),
            "share_of_copy": ("best copy", _CACHED),
            "mfu": ("peak of the datasheet", f"{_FEWER}; or {_PROMISE}" if convolves else _PROMISE),
        }
        for metric, (of, why) in reasons.items():
            share = value_of(cell, metric)
            if share is not None and share > 100:
                rows.append(f"{names.short(cell.id)}, {_percent(share)} of the {of}: {why}")
    return rows


def _convolves(plan: CellPlan) -> bool:
    return any(isinstance(each.layer, kinds.Conv1d | kinds.Conv2d) for each in walk(plan.workload.layers))


def _slower(cells: Sequence[CellSummary]) -> list[str]:
    """Say where this session's best are far below what the machine gave before."""
    rows: dict[str, None] = {}
    for cell in cells:
        for name, share in cell.slower_machine.items():
            known = cell.limits[name.replace("best_", "known_")]
            text = (
                f"{cell.device} gives {figures.percent(share)} of the best {_CALLED[name]} it gave before "
                f"({known.basis}): it is shared, or throttled"
            )
            rows[text] = None
    return list(rows)


def _percent(share: float) -> str:
    return figures.percent(share / 100)
