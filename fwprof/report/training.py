"""What training gave, as tables and words: curves beside each other, times, the way to the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from fwprof.report import figures
from fwprof.report.layout import Line, Section
from fwprof.report.table import Column, Table

if TYPE_CHECKING:
    from fwprof.records import CellSummary, RunResult, RunSummary, TrainingPoint
    from fwprof.report.names import CellNames

_LEVELS = "▁▂▃▄▅▆▇█"
_MOST_LEVELS = 24
"""Epochs that a curve shows at most, evenly spaced: the first and the last among them."""
_SPLITS = ("train", "validation")
_TIMES = {
    "epoch": "epoch_time",
    "first epoch": "first_epoch_time",
    "evaluate": "evaluate_time",
    "predict a batch": "predict_time",
}


class _Measure(NamedTuple):
    """What one curve shows, and how its values are written."""

    title: str
    value: Callable[[TrainingPoint], float | None]
    text: Callable[[float], str]
    best: Callable[[Iterable[float]], float]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _loss(value: float) -> str:
    return f"{value:#.3g}"


_MEASURES = (
    _Measure("accuracy", lambda point: point.accuracy, _share, max),
    _Measure("loss", lambda point: point.loss, _loss, min),
)


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw values as blocks, one a value, on a scale that runs from low to high."""
    if len(values) > _MOST_LEVELS:
        step = (len(values) - 1) / (_MOST_LEVELS - 1)
        values = [values[round(place * step)] for place in range(_MOST_LEVELS)]
    span = high - low
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[round(top * (value - low) / span) if span > 0 else 0] for value in values)


def training_tables(cells: Sequence[CellSummary], names: CellNames, *, has_blocks: bool) -> list[Section]:
    """Lay curves of all cells and splits over one scale a workload, and times beside each other."""
    trained = [cell for cell in cells if cell.training]
    if not trained:
        return []
    keys = [title for title in names.TITLES if title in names.varying and title != "batch"] or ["workload"]
    measures = [
        measure
        for measure in _MEASURES
        if any(measure.value(point) is not None for cell in trained for point in cell.training)
    ]
    scales = {
        (cell.workload, measure.title): _scale(trained, cell.workload, measure)
        for cell in trained
        for measure in measures
    }
    columns = [Column(key, "left", is_key=True) for key in keys] + [Column("split", "left", is_key=True)]
    for measure in measures:
        columns += [Column(f"{measure.title} first", starts_part=True), Column("last"), Column("best")]
        columns += [Column("curve", "left")] if has_blocks else []
    is_scored = measures[0].title == "accuracy"
    columns += [Column("precision", starts_part=True), Column("recall"), Column("F1")] if is_scored else []
    rows = []
    # Curves that are to be compared stand below each other.
    for workload, split in product(dict.fromkeys(cell.workload for cell in trained), _SPLITS):
        for cell in (cell for cell in trained if cell.workload == workload):
            row = [*(names.part(cell.id, key) for key in keys), split]
            for measure in measures:
                scale = scales[cell.workload, measure.title] if has_blocks else None
                row += _curve(_means(cell, split, measure.value), measure, scale)
            row += _last_scores(cell, split) if is_scored else []
            rows.append(tuple(row))
    sections: list[Section] = [
        Table(columns=tuple(columns), rows=tuple(rows), gutter=" "),
        Line(_note(trained, measures, scales if has_blocks else {})),
    ]
    return [*sections, *_times(trained, keys, names), Line("")]


def _means(cell: CellSummary, split: str, value: Callable[[TrainingPoint], float | None]) -> Sequence[float]:
    """Return one value an epoch: the mean over the seeds that were trained so far."""
    epochs: dict[int, list[float]] = {}
    for point in cell.training:
        if point.split == split and (known := value(point)) is not None:
            epochs.setdefault(point.epoch, []).append(known)
    return [sum(column) / len(column) for _, column in sorted(epochs.items())]


def _scale(cells: Sequence[CellSummary], workload: str, measure: _Measure) -> tuple[float, float]:
    values = [
        value
        for cell in cells
        for split in _SPLITS
        if cell.workload == workload
        for value in _means(cell, split, measure.value)
    ]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _curve(values: Sequence[float], measure: _Measure, scale: tuple[float, float] | None) -> list[str]:
    if not values:
        return ["–"] * (3 if scale is None else 4)
    figures_of = [measure.text(value) for value in (values[0], values[-1], measure.best(values))]
    return figures_of if scale is None else [*figures_of, sparkline(values, *scale)]


def _last_scores(cell: CellSummary, split: str) -> list[str]:
    getters: tuple[Callable[[TrainingPoint], float | None], ...] = (
        lambda point: point.precision,
        lambda point: point.recall,
        lambda point: point.f1,
    )
    columns = [_means(cell, split, get) for get in getters]
    return [_share(values[-1]) if values else "–" for values in columns]


def _note(
    cells: Sequence[CellSummary],
    measures: Sequence[_Measure],
    scales: Mapping[tuple[str, str], tuple[float, float]],
) -> str:
    epochs = max(point.epoch for cell in cells for point in cell.training)
    seeds = max(len({point.seed for point in cell.training}) for cell in cells)
    workloads = list(dict.fromkeys(cell.workload for cell in cells))
    of = f" of {workloads[0]}" if len(workloads) == 1 else ""
    said = [figures.plural(epochs, "epoch") + of + (f", means of {seeds} seeds" if seeds > 1 else "")]
    if measures[0].title == "accuracy":
        said.append("precision, recall and F1 after the last, macro-averaged")
    for workload in workloads if scales else ():
        of_workload = [cell for cell in cells if cell.workload == workload]
        ends = (
            f"{measure.title} {measure.text(low)} ({_LEVELS[0]}) to {measure.text(high)} ({_LEVELS[-1]})"
            for measure in measures
            for low, high in (scales[workload, measure.title],)
            # Of numbers that are predicted there is no accuracy.
            if any(_means(cell, split, measure.value) for cell in of_workload for split in _SPLITS)
        )
        name = f" of {workload}" if len(workloads) > 1 else ""
        said.append(f"curves{name} on one scale: {', '.join(ends)}")
    return "; ".join(said) + "."


def _times(cells: Sequence[CellSummary], keys: Sequence[str], names: CellNames) -> list[Section]:
    columns = [Column(key, "left", is_key=True) for key in keys]
    columns += [Column(title) for title in _TIMES]
    rows = [
        (
            *(names.part(cell.id, key) for key in keys),
            *(_duration(cell, name) for name in _TIMES.values()),
        )
        for cell in cells
    ]
    return [
        Table(columns=tuple(columns), rows=tuple(rows), gutter=" "),
        Line("Medians of the epochs after the first. Trained one after another: no ranking is claimed."),
    ]


def _duration(cell: CellSummary, name: str) -> str:
    metric = cell.metrics.get(name)
    return "–" if metric is None or metric.p50 is None else figures.duration(metric.p50)


def training_rows(
    result: RunResult, summary: RunSummary, cells: Sequence[CellSummary], names: CellNames
) -> list[tuple[str, str]]:
    """Say whether curves coincide, when cells reached the target, and what could not be trained."""
    shown = {cell.id: cell for cell in cells}
    texts = []
    for one in summary.agreements:
        # A group whose cells are not shown (those of a preset that reads back the same) says nothing new.
        if sum(cell in shown for cell in one.cells) > 1:
            workload = shown[next(cell for cell in one.cells if cell in shown)].workload
            prefix = f"{workload}: " if "workload" in names.varying else ""
            texts.append(prefix + names.in_words(one.conclusion))
    texts += _untrained(result, cells, names)
    rows = [("training" if place == 0 else "", text) for place, text in enumerate(texts)]
    return rows + _targets(cells, names)


def _untrained(result: RunResult, cells: Sequence[CellSummary], names: CellNames) -> list[str]:
    """Name the models of the user's own, which --epochs passes over."""
    natives = {plan.id for plan in result.plan.cells() if plan.workload.native is not None}
    own = [cell for cell in cells if cell.id in natives]
    if not (result.plan.request.epochs and own):
        return []
    who = figures.listed([names.short(cell.id) for cell in own])
    return [f"{who}: not trained, a model of your own brings no data set (--epochs is for workloads)"]


def _targets(cells: Sequence[CellSummary], names: CellNames) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    said = ""
    for cell in cells:
        if not cell.targets or cell.target_accuracy is None:
            continue
        label = f"{100 * cell.target_accuracy:.4g} % accuracy"
        name = cell.workload if len(cells) == 1 else names.short(cell.id)
        rows.append(("" if label == said else label, f"{name}: {_to_target(cell)}"))
        said = label
    return rows


def _to_target(cell: CellSummary) -> str:
    metric = cell.metrics.get("time_to_accuracy")
    reached = [one for one in cell.targets if one.duration_ns is not None and one.epoch is not None]
    if metric is None or metric.p50 is None:
        why = metric.reason if metric is not None and metric.reason else "not measured"
        others = [one.duration_ns for one in reached if one.duration_ns is not None]
        if not others:
            return why
        who = "the other" if len(others) == 1 else "the others"
        return f"{why}; {who} took {_range(others, figures.duration)}"
    epochs = _range([one.epoch or 0 for one in reached], lambda value: f"{value:g}")
    noun = "epoch" if epochs == "1" else "epochs"
    text = f"after {figures.duration(metric.p50)} of training, {epochs} {noun}"
    if len(reached) == 1:
        return text
    spread = _range([one.duration_ns or 0 for one in reached], figures.duration)
    return f"{text} (median; {spread} over {len(reached)} seeds)"


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    low, high = text(min(values)), text(max(values))
    return low if low == high else f"{low} to {high}"
