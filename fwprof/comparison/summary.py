"""One cell in figures: what `--json` prints of it, derived from its raw blocks.

Owns the estimators (docs/reference/protocol.md) and every reason a metric has no value. Knows no
other cell: pairs are judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import msgspec

from fwprof.comparison.batches import LARGEST_BATCH, largest_batch_metric
from fwprof.comparison.checkpoints import checkpoint_metrics, judge_checkpoints
from fwprof.comparison.layers import layer_table
from fwprof.comparison.limits import bound_of, limit_labels, limit_metrics, limits_of, slower_than_known
from fwprof.comparison.pipeline import pipeline_metrics
from fwprof.comparison.series import (
    FIRST_RESULT,
    SPREAD,
    SPREAD_ROUNDS,
    STARTUP,
    TERMS,
    Session,
    batch_size,
    session_values,
    sessions_of,
)
from fwprof.comparison.training import target_accuracy, targets_of, training_metrics
from fwprof.metrics import METRICS, metric_of
from fwprof.records import CellPlan, CellResult, CellSummary, MetricValue, ProgramName, Reading, RunResult
from fwprof.statistics import (
    count_outliers,
    geometric_mean,
    mean_interval,
    median,
    percentile_interval,
    resampled_medians,
)
from fwprof.workloads.data.sources import data_name


@dataclass(frozen=True)
class Subject:
    """One cell with its plan, its run and its sessions, as the metrics below read it."""

    cell: CellResult
    plan: CellPlan
    limits: Mapping[str, Reading]
    sessions: Mapping[int, Session]


def summarize_cell(
    cell: CellResult, plan: CellPlan, result: RunResult, labels: tuple[str, ...]
) -> CellSummary:
    """Return one cell as `--json` prints it."""
    limits = limits_of(result, plan)
    subject = Subject(cell=cell, plan=plan, limits=limits, sessions=sessions_of(cell))
    request = result.plan.request
    # What is there already keeps its place in the order of the common table.
    metrics = {**metrics_of(subject), **training_metrics(cell, plan, request)}
    description = cell.description
    split = _split(cell)
    return CellSummary(
        id=cell.id,
        framework=plan.framework.name,
        mode=description.mode if description else None,
        backend=description.backend if description else None,
        device=plan.device.name,
        workload=plan.workload.name,
        data=data_name(plan.workload),
        data_size=plan.workload.data_size,
        batch_size=batch_size(cell, plan),
        precision=plan.precision,
        settings_preset=plan.settings_preset,
        fate=cell.fate,
        labels=(*labels, *limit_labels(metrics, limits)),
        reason=cell.failure.message if cell.failure else None,
        sessions=len(subject.sessions),
        threads=plan.threads,
        environment=plan.environment,
        world_size=plan.world_size,
        data_pipeline=plan.data_pipeline,
        trainable=plan.trainable,
        bound=bound_of(metrics),
        limits=limits,
        slower_machine=slower_than_known(limits),
        training=cell.training,
        checkpoints=judge_checkpoints(cell, plan),
        weights=cell.weights,
        versions=description.versions if description else {},
        settings=description.settings if description else {},
        notable=description.notable if description else (),
        equivalence=cell.equivalence,
        metrics=metrics,
        split=split,
        split_disagreement=_disagreement(split, metrics),
        target_accuracy=target_accuracy(plan, request) if cell.training else None,
        targets=targets_of(cell, plan, request),
        pipeline=cell.pipeline,
        layers=layer_table(cell, plan, is_asked=request.layers),
        largest_batch=cell.largest_batch,
        checks=tuple(
            check
            for measurement in cell.measurements
            if not measurement.replica
            for check in measurement.checks
        ),
    )


def _split(cell: CellResult) -> dict[str, MetricValue]:
    """Return the phases by marks inside the step, over all sessions."""
    found: dict[str, list[int]] = {}
    for measurement in cell.measurements:
        if not measurement.replica:
            for phase, values in measurement.split.items():
                found.setdefault(f"{phase}_time", []).extend(values)
    return {
        name: MetricValue(unit="ns", p50=median(values), count=len(values)) for name, values in found.items()
    }


def _disagreement(split: Mapping[str, MetricValue], metrics: Mapping[str, MetricValue]) -> float | None:
    step = metrics["step_time"].p50
    differences = [
        abs(marked.p50 - programs)
        for name, marked in split.items()
        if marked.p50 is not None and (programs := metrics[name].p50) is not None
    ]
    # Of the step, not of the phase: an update that hides behind the passes leaves nothing to be a share of.
    return max(differences) / step if differences and step else None


def metrics_of(subject: Subject) -> dict[str, MetricValue]:
    """Return every metric of the common table, null with its reason where it has no value."""
    metrics = {name: _with_outliers(value, name, subject) for name, value in times_of(subject).items()}
    metrics["throughput"] = _throughput(subject, metrics["pipelined_step_time"])
    for name in (*STARTUP, "compile_time", "compilations"):
        values = session_values(subject.cell, subject.plan, name, subject.sessions)
        metrics[name] = _single(name, median(values.values()) if values else None, _why_no_time(subject))
    metrics[FIRST_RESULT] = _repeated(FIRST_RESULT, subject, _null(FIRST_RESULT, _why_no_time(subject)))
    few = f"fewer than {SPREAD_ROUNDS} rounds were measured" if subject.sessions else _why_no_time(subject)
    metrics[SPREAD] = _repeated(SPREAD, subject, _null(SPREAD, few))
    for name in ("host_peak", "host_import"):
        metrics[name] = _read(name, subject)
    difference = _difference("host_work", metrics["host_peak"], metrics["host_import"])
    metrics["host_work"] = _repeated("host_work", subject, difference)
    step = metrics["step_time"].p50
    metrics |= limit_metrics(subject.plan, step, subject.limits, _why_no_time(subject))
    metrics["energy_per_sample"] = _energy_per_sample(subject)
    metrics[LARGEST_BATCH] = largest_batch_metric(subject.cell)
    metrics |= pipeline_metrics(subject.cell, subject.plan, batch_size(subject.cell, subject.plan))
    named = _api_times(subject) | checkpoint_metrics(subject.cell)
    order = [each for name in METRICS for each in _entries(name, named)]
    order += sorted(set(subject.cell.readings) - set(METRICS))
    metrics |= named
    for name in set(order) - set(metrics):
        metrics[name] = _read(name, subject)
    return {name: metrics[name] for name in order}


def _entries(name: str, named: Mapping[str, MetricValue]) -> Sequence[str]:
    """Return `api_time.fit`, … of `api_time`; a metric of which there is one stands for itself."""
    return [each for each in named if each.partition(".")[0] == name] or [name]


def _api_times(subject: Subject) -> dict[str, MetricValue]:
    """Return `api_time.<loop>` of each training loop of the framework's own; else why there is none."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for measurement in subject.cell.measurements:
        if not measurement.replica:
            for loop, values in measurement.api.items():
                found.setdefault(f"api_time.{loop}", []).append(values)
    times = {}
    for name, sessions in found.items():
        p50s = [median(values) for values in sessions]
        interval = _interval([log(value) for value in p50s])
        spread = (exp(interval[0]), exp(interval[1])) if interval else None
        times[name] = _series(name, geometric_mean(p50s), None, spread, sum(map(len, sessions)))
    return times or {"api_time": _null("api_time", "the framework offers no training loop of its own")}


def times_of(subject: Subject) -> dict[str, MetricValue]:
    """Return the metrics that are made of timed programs."""
    if len(subject.sessions) == 1:
        (session,) = subject.sessions.values()
        return _times_of_one(session, _why_no_time(subject))
    return {name: _time_of_several(name, subject) for name in TERMS}


def _with_outliers(value: MetricValue, name: str, subject: Subject) -> MetricValue:
    """Count the outliers of a time that is one program's; a difference has none of its own."""
    terms = list(TERMS[name])
    if value.p50 is None or len(terms) > 1:
        return value
    counts = [
        count_outliers(session.column(terms[0], session.rounds()))
        for session in subject.sessions.values()
        if terms[0] in session.programs and session.rounds()
    ]
    return msgspec.structs.replace(value, outliers=sum(counts))


def _times_of_one(session: Session, reason: str) -> dict[str, MetricValue]:
    """Return the times of one session: all programs resampled over the same rounds."""
    rounds, programs = session.rounds(), list(session.programs)
    if not rounds:
        return {name: _null(name, reason) for name in TERMS}
    medians = resampled_medians([session.column(name, rounds) for name in programs])
    times = {}
    for name, terms in TERMS.items():
        p50 = session.value(name)
        if p50 is None:
            times[name] = _null(name, _missing(terms, session))
            continue
        resampled = medians @ [terms.get(program, 0) for program in programs]
        times[name] = _series(
            name, p50, session.value(name, 0.1), percentile_interval(resampled), len(rounds)
        )
    return times


def _time_of_several(name: str, subject: Subject) -> MetricValue:
    """Return one time over sessions: geometric mean and t; a marginal one may be ≤ 0, so its mean."""
    found = {
        number: value
        for number, session in subject.sessions.items()
        if (value := session.value(name)) is not None
    }
    if not found:
        sessions = list(subject.sessions.values())
        return _null(name, _missing(TERMS[name], sessions[0]) if sessions else _why_no_time(subject))
    p50s = list(found.values())
    p10s = [value for number in found if (value := subject.sessions[number].value(name, 0.1)) is not None]
    count = sum(len(subject.sessions[number].rounds()) for number in found)
    if METRICS[name].kind == "marginal":
        return _series(name, sum(p50s) / len(p50s), sum(p10s) / len(p10s), _interval(p50s), count)
    interval = _interval([log(value) for value in p50s])
    spread = (exp(interval[0]), exp(interval[1])) if interval else None
    return _series(name, geometric_mean(p50s), geometric_mean(p10s), spread, count)


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    return mean_interval(values)[1:] if len(values) > 1 else None


def _throughput(subject: Subject, step: MetricValue) -> MetricValue:
    batch = batch_size(subject.cell, subject.plan)
    if step.p50 is None or batch is None:
        return _null("throughput", step.reason or "the batch size is not known")
    samples = batch * 1e9
    interval = (samples / step.ci95[1], samples / step.ci95[0]) if step.ci95 else None
    return _series("throughput", samples / step.p50, None, interval, step.count)


def _energy_per_sample(subject: Subject) -> MetricValue:
    batch, energy = batch_size(subject.cell, subject.plan), _read("energy", subject)
    if energy.value is None or batch is None:
        return _null("energy_per_sample", energy.reason or "the batch size is not known")
    return _single("energy_per_sample", energy.value / batch)


def _difference(name: str, whole: MetricValue, part: MetricValue) -> MetricValue:
    if whole.value is None or part.value is None:
        return _null(name, whole.reason or part.reason or "")
    return _single(name, whole.value - part.value)


def _read(name: str, subject: Subject) -> MetricValue:
    """Return what a pass of its own read, in one process or in several."""
    return _repeated(name, subject, _reading(name, subject.cell.readings.get(name)))


def _repeated(name: str, subject: Subject, single: MetricValue) -> MetricValue:
    """Return a metric of which each process has one value: over processes, where there are several.

    Args:
        name: of the metric.
        subject: the cell.
        single: what stands for one process, or for none.
    """
    values = list(session_values(subject.cell, subject.plan, name, subject.sessions).values())
    if len(values) < 2 or min(values) <= 0:
        return msgspec.structs.replace(single, value=median(values), reason=None) if values else single
    low, high = mean_interval([log(value) for value in values])[1:]
    middle = geometric_mean(values)
    return msgspec.structs.replace(
        single, value=middle, p50=middle, ci95=(exp(low), exp(high)), count=len(values), reason=None
    )


def _reading(name: str, reading: Reading | None) -> MetricValue:
    if reading is None:
        return _null(name, "not measured in this run")
    basis = reading.basis or None
    if reading.value is None:
        return MetricValue(unit=reading.unit, reason=reading.reason or "not measured", basis=basis)
    return MetricValue(unit=reading.unit, value=reading.value, basis=basis)


def _series(
    name: str, p50: float, p10: float | None, ci95: tuple[float, float] | None, count: int | None
) -> MetricValue:
    metric = metric_of(name)
    return MetricValue(unit=metric.unit, kind=metric.kind, p50=p50, p10=p10, ci95=ci95, count=count)


def _single(name: str, value: float | int | None, reason: str = "") -> MetricValue:
    if value is None:
        return _null(name, reason)
    return MetricValue(unit=METRICS[name].unit, kind=METRICS[name].kind, value=value)


def _null(name: str, reason: str) -> MetricValue:
    return MetricValue(unit=METRICS[name].unit, kind=METRICS[name].kind, reason=reason)


def _missing(terms: Mapping[ProgramName, int], session: Session) -> str:
    names = [name for name in terms if name not in session.programs]
    return f"program {' and '.join(names)} was not timed" if names else "no round is complete"


def _why_no_time(subject: Subject) -> str:
    return f"the cell is {subject.cell.fate}" if subject.cell.fate != "ok" else "no round was measured"
