"""The table of layers of one cell: what each counts for, and what it took alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fwprof.records import CellPlan, CellResult, LayerProgram, LayerRow, LayerRun, LayerTable, MetricValue
from fwprof.statistics import median, percentile_interval, resampled_medians
from fwprof.workloads.language import is_trimmed
from fwprof.workloads.layer_analysis import LayerCounts, layer_counts

WHOLE = None
"""In the place of a layer's path: the whole model."""
OWN_MODEL = "its factory gives a whole model, in which no layer has a name"
NO_GRADIENTS = "nothing in it or before it is trained: a step has no backward pass here"
CHANGING = "batches change their length: a layer has no shape of its own"

Values = Mapping[tuple[str | None, LayerProgram], Sequence[float]]
"""Layer and program → the median call of each round, ns a step."""


def layer_table(cell: CellResult, plan: CellPlan, *, is_asked: bool) -> LayerTable | None:
    """Return the layers of a cell; None where nobody asked, or the cell did not come that far.

    All figures are of a step: where gradients are accumulated, of all its parts.

    Args:
        cell: what was measured.
        plan: of the same cell.
        is_asked: whether the request asks for layers; a cell that has none by name then says why.
    """
    run, spec = cell.layers, plan.workload.spec
    if spec is None or plan.batch_size is None or is_trimmed(spec):
        return _without_layers(OWN_MODEL if spec is None else CHANGING) if is_asked else None
    if run is None:
        return None
    values = _values(run)
    counts = layer_counts(plan.workload.layers, plan.batch_size, spec.optimizer, plan.precision)
    rows = tuple(_row(each, run, values, cell.fate) for each in counts)
    forward, both = _sum(rows, "forward"), _sum(rows, "forward_backward")
    whole = _time(values, WHOLE, {"forward_backward": 1}, run.reason or f"the cell is {cell.fate}")
    ratio = both.p50 / whole.p50 if both.p50 and whole.p50 else None
    return LayerTable(
        rows=rows,
        fused_by=run.fused_by,
        reason=run.reason,
        sum_forward=forward,
        sum_forward_backward=both,
        whole_forward=_time(values, WHOLE, {"forward": 1}, run.reason or f"the cell is {cell.fate}"),
        whole_forward_backward=whole,
        alone_over_inside=ratio,
    )


def _without_layers(reason: str) -> LayerTable:
    return LayerTable(
        rows=(),
        reason=reason,
        sum_forward=_null(reason, "derived"),
        sum_forward_backward=_null(reason, "derived"),
        whole_forward=_null(reason, "measured"),
        whole_forward_backward=_null(reason, "measured"),
    )


def _values(run: LayerRun) -> Values:
    found: dict[tuple[str | None, LayerProgram], list[float]] = {}
    for block in sorted(run.blocks, key=lambda block: block.round):
        # The whole model takes its parts by itself.
        times = run.parts if block.layer is not WHOLE else 1
        found.setdefault((block.layer, block.program), []).append(times * median(block.call_ns))
    return found


def _row(counts: LayerCounts, run: LayerRun, values: Values, fate: str) -> LayerRow:
    path = counts.layer.path
    reason = run.refused.get(path) or run.reason or f"the cell is {fate}"
    forward = _time(values, path, {"forward": 1}, reason)
    if counts.has_gradients or forward.p50 is None:
        backward = _time(values, path, {"forward_backward": 1, "forward": -1}, reason)
        both = _time(values, path, {"forward_backward": 1}, reason)
    else:
        backward, both = _null(NO_GRADIENTS, "marginal"), forward
    return LayerRow(
        path=path,
        kind=counts.kind,
        output_shape=counts.layer.output_shape,
        parameters=counts.parameters,
        parameter_bytes=counts.parameter_bytes,
        activation_bytes=counts.activation_bytes,
        forward_flops=counts.forward_flops,
        flops=counts.flops,
        traffic_bytes=counts.traffic_bytes,
        is_fusible=counts.is_fusible,
        forward=forward,
        backward=backward,
        forward_backward=both,
    )


def _time(values: Values, layer: str | None, terms: Mapping[LayerProgram, int], reason: str) -> MetricValue:
    """Return a sum or difference of a layer's programs, with the interval of rounds resampled together."""
    series = [values.get((layer, program), ()) for program in terms]
    rounds = min(map(len, series))
    if not rounds:
        return _null(reason, "marginal" if len(terms) > 1 else "measured")
    columns = [list(each[:rounds]) for each in series]
    p50 = sum(sign * median(column) for sign, column in zip(terms.values(), columns, strict=True))
    resampled = resampled_medians(columns) @ list(terms.values())
    return MetricValue(
        unit="ns",
        kind="marginal" if len(terms) > 1 else "measured",
        p50=p50,
        ci95=percentile_interval(resampled) if rounds > 1 else None,
        count=rounds,
    )


def _sum(rows: Iterable[LayerRow], name: str) -> MetricValue:
    """Add up what the layers took; null where one of them is missing."""
    times = {row.path: getattr(row, name) for row in rows}
    missing = [path for path, time in times.items() if time.p50 is None]
    if missing:
        return _null(f"layer {missing[0]} was not timed: {times[missing[0]].reason}", "derived")
    return MetricValue(unit="ns", kind="derived", p50=sum(time.p50 for time in times.values()))


def _null(reason: str, kind: str) -> MetricValue:
    return MetricValue(unit="ns", kind=kind, reason=reason)  # type: ignore[arg-type]  # one of its kinds
