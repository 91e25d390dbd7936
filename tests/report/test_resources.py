"""The table of what meters read of a device."""

from __future__ import annotations

from typing import Any

import msgspec

from fwprof.records import MetricValue
from fwprof.report.layout import to_text
from fwprof.report.sections import report


def told(build: Any, *read: dict[str, MetricValue]) -> list[list[str]]:
    result, summary = build.quick_set()
    cells = tuple(
        msgspec.structs.replace(cell, metrics={**cell.metrics, **metrics})
        for cell, metrics in zip(summary.cells, read, strict=True)
    )
    text = to_text(report(result, msgspec.structs.replace(summary, cells=cells)), 140)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    start = next(
        (place for place, line in enumerate(lines) if "energy a step" in line or "busy" in line), None
    )
    return [] if start is None else [line.split() for line in lines[start : lines.index("", start)]]


def value(unit: str, number: float | None, reason: str | None = None) -> MetricValue:
    return MetricValue(unit=unit, value=number, reason=reason)


def test_only_what_was_read_anywhere_has_a_column_and_only_cells_with_a_value_a_row(build: Any) -> None:
    heading, row, *_ = told(
        build,
        {
            "energy": value("uJ/step", 2_500_000.0),
            "energy_per_sample": value("uJ/sample", 39_062.5),
            "power": value("mW", None, "Not Supported"),
            "utilisation": value("percent", 43.0),
            "card.clock": value("MHz", 1410.0),
        },
        {"energy": value("uJ/step", None, "no counter")},
    )
    assert " ".join(heading) == "workload energy a step a sample busy card.clock"
    assert " ".join(row) == "mlp 2.5 J 39 mJ 43 % 1,410 MHz"


def test_a_cell_without_one_of_the_figures_has_a_dash(build: Any) -> None:
    table = told(build, {"utilisation": value("percent", 43.0)}, {"temperature": value("degC", 61.0)})
    assert [" ".join(row) for row in table[:3]] == ["workload busy warmest", "mlp 43 % –", "lenet – 61 °C"]


def test_where_nothing_was_read_there_is_no_table(build: Any) -> None:
    assert told(build, {"utilisation": value("percent", None, "no card")}, {}) == []


def test_memory_of_a_plugin_s_own_and_times_of_loops_are_no_columns_of_it(build: Any) -> None:
    own = {"card.reserved": value("bytes", 5.0), "api_time.fit": MetricValue(unit="ns", p50=5.0)}
    table = told(build, {"utilisation": value("percent", 43.0), **own}, {})
    assert " ".join(table[0]) == "workload busy"
