"""What a run found, as sections: heading, settings, figures, quality, what failed.

Owns the wording. Derives nothing: every figure comes from the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from fwprof.records.result import LABELS
from fwprof.report import figures
from fwprof.report.batches import batch_sections
from fwprof.report.checkpoints import checkpoint_sections, weights_rows
from fwprof.report.compiled import compiled_rows
from fwprof.report.equivalence import equivalence_table
from fwprof.report.layers import layer_sections
from fwprof.report.layout import Facts, Line, Section
from fwprof.report.limits import limits_rows
from fwprof.report.memory import memory_sections
from fwprof.report.names import CellNames, chosen_name, data_text
from fwprof.report.origin import origin_rows
from fwprof.report.pipeline import pipeline_sections
from fwprof.report.ranking import comparison_sections
from fwprof.report.resources import resource_sections
from fwprof.report.settings import presets_rows, same_as, settings_rows
from fwprof.report.steps import p50_of, step_table
from fwprof.report.training import training_rows, training_tables

if TYPE_CHECKING:
    from fwprof.records import CellResult, CellSummary, RunResult, RunSummary

_SESSIONS_FOR_VERDICTS = 5
_OWN_ERRORS = "each metric is judged as a table of its own, held to 4 % false verdicts"


def report(result: RunResult, summary: RunSummary, *, has_blocks: bool = True) -> list[Section]:
    """Say everything a person should read of a run, in the order they read it.

    Args:
        result: the run.
        summary: what was derived from it.
        has_blocks: whether block characters can be shown: else curves are left out.
    """
    # A cell that stands under another preset's name is no row of its own.
    cells = [cell for cell in summary.cells if not same_as(result, cell)]
    names = CellNames(result, cells)
    if result.plan.schedule.sessions == 0:
        return [
            Line(heading(result, summary), is_heading=True),
            *equivalence_table(summary.cells, names),
            Facts(tuple(_failures(result, summary.cells))),
        ]
    facts = [
        ("plan", _plan(result)),
        *_data(cells),
        *origin_rows(result),
        *settings_rows(cells, names),
        *presets_rows(result, cells, names),
    ]
    return [
        Line(heading(result, summary), is_heading=True),
        Facts(tuple(facts)),
        *step_table(cells, names),
        *resource_sections(cells, names),
        *memory_sections(cells, names),
        *pipeline_sections(cells, names),
        *batch_sections(cells, names, result.plan.request.find_max_batch),
        *comparison_sections(msgspec.structs.replace(summary, cells=tuple(cells)), names),
        *training_tables(cells, names, has_blocks=has_blocks),
        *checkpoint_sections(cells, names),
        *layer_sections(cells, names),
        Facts(
            (
                *_own_loops(cells, names),
                *compiled_rows(result, cells, names),
                *limits_rows(result, cells, names),
                *training_rows(result, summary, cells, names),
                *weights_rows(cells, names),
                *_quality(result, cells, names),
                *_missing(result, cells),
                *_failures(result, cells),
                *_recommendations(summary, names),
            )
        ),
    ]


def heading(result: RunResult, summary: RunSummary) -> str:
    """Say what was compared with what, on which hardware."""
    versions: dict[str, str] = {}
    modes: dict[str, list[str]] = {}
    for cell in summary.cells:
        known = modes.setdefault(cell.framework, [])
        mode = ":".join(filter(None, (cell.backend, cell.mode)))
        if mode and mode not in known:
            known.append(mode)
        if cell.framework in cell.versions:
            versions[cell.framework] = cell.versions[cell.framework]
    said = [
        f"{name} {versions.get(name, '')}".strip() + (f", {figures.listed(known)}" if known else "")
        for name, known in modes.items()
    ]
    devices = {cell.device.name: cell.device.title for cell in result.plan.cells()}
    said += [f"{name} = {title}" if title else name for name, title in devices.items()]
    return "   ".join((f"fwprof {result.plan.fwprof_version}", *said))


def _plan(result: RunResult) -> str:
    twice = {cell.id for cell in result.cells if cell.failure is not None and cell.failure.same_as}
    cells = [cell for cell in result.plan.cells() if cell.id not in twice]
    schedule = result.plan.schedule
    workloads = list(dict.fromkeys(cell.workload.name for cell in cells))
    each = " each" if len(cells) > 1 else ""
    parts = [
        ", ".join(workloads) or "nothing that can run here",
        f"{figures.plural(len(cells), 'cell')}, {figures.plural(schedule.sessions, 'process')}{each}",
    ]
    if len(cells) > 1:
        parts.append(schedule.kind)
    took = figures.wait(result.duration_ns / 1e9)
    parts.append(f"interrupted after {took}" if result.is_interrupted else f"took {took}")
    return "   ".join((parts[0], ", ".join(parts[1:])))


def _data(cells: Sequence[CellSummary]) -> list[tuple[str, str]]:
    """Say what the workloads were trained on."""
    trained: dict[str, dict[str, None]] = {}
    for cell in cells:
        if said := data_text(cell.data, cell.data_size):
            trained.setdefault(said, {})[cell.workload] = None
    if len({tuple(names) for names in trained.values()}) < 2:
        rows = ["; ".join(trained)] if trained else []
    else:
        rows = [f"{', '.join(names)}: {said}" for said, names in trained.items()]
    return [("data" if place == 0 else "", text) for place, text in enumerate(rows)]


def _title(key: str) -> str:
    return key.replace("_", " ")


def _own_loops(cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    """Say what a framework's own training loops cost, beside the step of the table."""
    rows: list[tuple[str, str]] = []
    for cell in cells:
        step = p50_of(cell, "step_time")
        said = [
            f"{name.partition('.')[2]} {figures.ratio(metric.p50 / step)}"
            for name, metric in cell.metrics.items()
            if name.startswith("api_time.") and metric.p50 and step
        ]
        if said:
            text = f"{names.short(cell.id)}: {figures.listed(said)} the step"
            rows.append(("" if rows else "own loop", text))
    return rows


def _quality(result: RunResult, cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    measured = [cell for cell in cells if p50_of(cell, "step_time") is not None]
    if not measured:
        return []
    carried: dict[str, list[str]] = {}
    for cell in measured:
        for label in cell.labels:
            carried.setdefault(label, []).append(cell.id)
    claims = ["steady"] if "unsteady" not in carried else []
    claims += ["clean"] if "contended" not in carried else []
    said = ", ".join(claims)
    sessions = result.plan.schedule.sessions
    if sessions < _SESSIONS_FOR_VERDICTS:
        few = "one process" if sessions == 1 else f"{sessions} processes a cell"
        said = "; ".join(filter(None, (said, f"{few}: no ranking is claimed")))
    rows = [said] if said else []
    for label, owners in carried.items():
        who = names.which(owners, [cell.id for cell in measured])
        rows.append(f"{label}{who and f' ({who})'}: {LABELS.get(label, 'see the documentation of labels')}")
    rows += _others(result, measured)
    if marked := [cell for cell in measured if cell.split_disagreement is not None]:
        rows.append(_marks(marked, names))
    rows += dict.fromkeys(
        f"check failed, {names.short(cell.id)}: {check.name}" + (f" ({check.detail})" if check.detail else "")
        for cell in measured
        for check in cell.checks
        if not check.passed
    )
    return [("quality" if place == 0 else "", text) for place, text in enumerate(rows)]


def _others(result: RunResult, cells: Sequence[CellSummary]) -> list[str]:
    """Name the processes of others that were seen on a device."""
    devices = {cell.id: cell.device for cell in cells}
    seen: dict[str, dict[str, None]] = {}
    for cell in result.cells:
        for measurement in cell.measurements:
            if cell.id in devices:
                seen.setdefault(devices[cell.id], {}).update(dict.fromkeys(measurement.device_shared_with))
    return [f"others on {device}: {figures.listed(list(names))}" for device, names in seen.items() if names]


def _marks(cells: Sequence[CellSummary], names: CellNames) -> str:
    """Say how far the phases by marks inside the step are from those of the table."""
    apart = [f"{100 * (cell.split_disagreement or 0.0):.0f} % ({names.short(cell.id)})" for cell in cells]
    return f"marks inside the step give the table's phases within {figures.listed(apart)} of the step"


def _missing(result: RunResult, cells: Sequence[CellSummary]) -> list[tuple[str, str]]:
    """Say what a meter was asked for and could not read; what no meter here reads is no news."""
    asked = {cell.id: cell.readings for cell in result.cells}
    reasons: dict[str, dict[str, None]] = {}
    for cell in cells:
        for name, metric in cell.metrics.items():
            if cell.fate == "ok" and metric.reason and name in asked.get(cell.id, {}):
                reasons.setdefault(metric.reason, {})[_title(name)] = None
    rows = [f"{', '.join(metrics)}: {reason}" for reason, metrics in reasons.items()]
    return [(figures.NOT_MEASURED if place == 0 else "", text) for place, text in enumerate(rows)]


def _failures(result: RunResult, cells: Sequence[CellSummary]) -> list[tuple[str, str]]:
    found = {cell.id: cell for cell in result.cells}
    rows = []
    for cell in cells:
        if cell.fate != "ok":
            name = (
                f"{cell.workload} {chosen_name(result, cell)}"
                if len(cells) > 1
                else chosen_name(result, cell)
            )
            rows += failure_lines(name, cell.fate.replace("_", " "), found.get(cell.id), cell.reason)
    for what, why in result.plan.unavailable.items():
        rows.append(f"{what}: {why}")
    return [("not ok" if place == 0 else "", text) for place, text in enumerate(rows)]


def failure_lines(name: str, fate: str, cell: CellResult | None, reason: str | None) -> list[str]:
    """Say why one cell is not ok, and what to do about it."""
    failure = cell.failure if cell else None
    why = reason or (failure.message if failure else "")
    where = f" in stage {failure.stage.replace('_', ' ')}" if failure else ""
    lines = [f"{name}: {fate}{where}" + (f": {why}" if why else "")]
    if failure and failure.next:
        lines.append(f"next: {failure.next}")
    return lines


def _recommendations(summary: RunSummary, names: CellNames) -> list[tuple[str, str]]:
    workloads = {cell.id: cell.workload for cell in summary.cells}
    texts, last = [], ""
    for one in summary.recommendations:
        workload = workloads.get(one.among[0], "") if one.among and "workload" in names.varying else ""
        if workload != last:
            texts.append(workload)
        last, known = workload, ("workload",) if workload else ()
        choice = figures.listed([names.short(cell, without=known) for cell in one.choice])
        evidence = names.in_words(one.evidence, without=known)
        # Which of several cells it is depends on the number of steps: the evidence names each.
        said = f"{choice} ({evidence})" if choice and not one.crossings else evidence
        texts.append(f"{'  ' if workload else ''}{one.scenario}: {said}")
    if not texts and any(
        one.metric == "step_time" and one.verdict in ("faster", "slower") for one in summary.comparisons
    ):
        texts.append("nothing: that is done only among cells shown to do the same work")
    rows = [("recommended" if place == 0 else "", text) for place, text in enumerate(texts)]
    if len({metric for one in summary.recommendations for metric in one.metrics}) > 1:
        rows.append(("", _OWN_ERRORS))
    return rows
