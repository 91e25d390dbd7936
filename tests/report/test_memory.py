"""The table of memory."""

from __future__ import annotations

from typing import Any

import msgspec

from fwprof.records import MetricValue
from fwprof.report.layout import to_text
from fwprof.report.sections import report

WIDTH = 110
READ = {
    "host_first_step_peak": 345_000_000,
    "host_steady_peak": 321_000_000,
    "tensor_first_step_peak": 52_000,
    "tensor_peak": 41_000,
    "parameter_memory": 11_000,
    "gradient_memory": 12_000,
    "optimizer_memory": 23_000,
    "activation_memory": 7_900,
}
BASIS = {"tensor_peak": "what the profiler saw", "activation_memory": "what is kept"}


def told(build: Any, *changes: dict[str, MetricValue] | None) -> str:
    """Return the report of the quick set, whose cells have these metrics besides."""
    result, summary = build.quick_set()
    cells = tuple(
        msgspec.structs.replace(cell, metrics={**cell.metrics, **(found or {})})
        for cell, found in zip(summary.cells, changes, strict=True)
    )
    return to_text(report(result, msgspec.structs.replace(summary, cells=cells)), WIDTH)


def metrics(*names: str, basis: bool = True) -> dict[str, MetricValue]:
    return {
        name: MetricValue(unit="bytes", value=READ[name], basis=BASIS.get(name) if basis else None)
        for name in names or READ
    }


def lines_after(text: str, title: str) -> list[str]:
    """Return the lines of the table that has this title, to the next empty one."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if title in line)
    return lines[start : lines.index("", start)]


def test_a_row_has_peaks_and_categories_and_the_total(build: Any) -> None:
    text = told(build, metrics(), None)
    heading, row = lines_after(text, "first steps")
    assert heading.split("  ")[0].strip() == "workload"
    assert "342 = 301 + 41 MB" in row
    assert "345 MB" in row
    assert "321 MB" in row
    parts = lines_after(text, "parameters  ")
    shown = " ".join(parts[1].split())
    assert shown.endswith("11 kB 12 kB 23 kB 7.9 kB")
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_the_basis_of_what_is_never_compared_stands_below(build: Any) -> None:
    text = told(build, metrics(), None)
    assert "* tensors" in text
    assert "what the profiler saw" in text
    assert "what is kept" in text


def test_two_bases_name_the_cells_that_they_are_of(build: Any) -> None:
    other = MetricValue(unit="bytes", value=1, basis="what the allocator counted")
    text = told(build, metrics("tensor_peak"), {"tensor_peak": other})
    assert "mlp: what the profiler saw" in text
    assert "lenet: what the allocator counted" in text


def test_a_column_that_nobody_read_is_left_out(build: Any) -> None:
    text = told(build, metrics("parameter_memory"), metrics("parameter_memory"))
    (heading, *rows) = lines_after(text, "parameters")
    assert "gradients" not in heading
    assert "steady" not in heading
    assert len(rows) == 2


def test_without_any_of_it_there_is_no_table(build: Any) -> None:
    nothing = MetricValue(unit="bytes", reason="not measured in this run")
    text = told(build, None, {"parameter_memory": nothing})
    assert "parameters" not in text
    assert "first steps" not in text
