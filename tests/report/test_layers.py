"""The table of layers: frameworks side by side, what is fused, what is missing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fwprof.records import LayerRow, LayerTable, MetricValue
from fwprof.report.layout import to_text
from fwprof.report.sections import report


def ns(value: float | None, reason: str | None = None) -> MetricValue:
    interval = None if value is None else (value * 0.98, value * 1.02)
    return MetricValue(unit="ns", p50=value, ci95=interval, reason=reason)


def row(path: str, kind: str, forward: float | None, both: float | None, **fields: Any) -> LayerRow:
    reason = None if forward else "no kernel"
    facts = {
        "output_shape": (12, 12, 16),
        "parameters": 50_890,
        "parameter_bytes": 4 * 50_890,
        "activation_bytes": 9_000_000,
        "forward_flops": 10_000_000,
        "flops": 30_000_000,
        "traffic_bytes": 1,
        "is_fusible": False,
        **fields,
    }
    return LayerRow(
        path=path,
        kind=kind,
        forward=ns(forward, reason),
        backward=ns(None if forward is None or both is None else both - forward, reason),
        forward_backward=ns(both, reason),
        **facts,
    )


def table(*rows: LayerRow, **fields: Any) -> LayerTable:
    sums = {
        "sum_forward": ns(1.1e6),
        "sum_forward_backward": ns(3.3e6),
        "whole_forward": ns(1.0e6),
        "whole_forward_backward": ns(3.0e6),
        "alone_over_inside": 1.1,
    }
    return LayerTable(rows=rows, **{**sums, **fields})


CONV = row("0", "conv2d", 1.0e6, 3.0e6)
RELU = row("1", "activation relu", 0.1e6, 0.3e6, parameters=0, flops=0, activation_bytes=0, is_fusible=True)


def told(build: Any, *tables: LayerTable | None, width: int = 160) -> str:
    result, summary = build.comparison()
    cells = [
        msgspec.structs.replace(cell, layers=tables[place] if place < len(tables) else None)
        for place, cell in enumerate(summary.cells)
    ]
    return to_text(report(result, msgspec.structs.replace(summary, cells=tuple(cells))), width)


@pytest.fixture
def lines(build: Any) -> Any:
    def find(*tables: LayerTable | None) -> tuple[str, dict[str, str]]:
        text = told(build, *tables)
        part = text[text.index("layers of ") :]
        return text, {line.strip().split("  ")[0]: line for line in part.splitlines() if line.strip()}

    return find


def test_a_row_says_what_a_layer_counts_for_and_takes_in_each(lines: Any) -> None:
    text, rows = lines(table(CONV, RELU), table(CONV, RELU))
    (conv,) = [line for line in text.splitlines() if " conv2d " in line]
    for part in ("12×12×16", "51 k", "30", "9.0 MB"):
        assert part in conv, conv
    assert conv.count("1.00 + 2.00") == 2
    assert "(" not in next(line for line in text.splitlines() if " activation relu " in line)
    assert rows["sum alone"].count("1.10 + 2.20") == 2
    assert rows["inside"].count("1.00 + 2.00") == 2
    assert rows["alone / inside"].count("1.1 ×") == 2
    assert "Fused" not in text


def test_what_a_mode_fuses_is_said_and_stands_in_brackets(lines: Any) -> None:
    text, _ = lines(table(CONV, RELU), table(CONV, RELU, fused_by="XLA"))
    relu = next(line for line in text.splitlines() if " activation relu " in line)
    assert relu.count("0.100 + 0.200") == 2
    assert relu.count("(0.100 + 0.200)") == 1
    assert "(1.00" not in next(line for line in text.splitlines() if " conv2d " in line)
    assert "Fused: XLA compiles all layers of a step together" in text


def test_what_was_not_timed_says_why(lines: Any) -> None:
    broken = row("0", "conv2d", None, None)
    sums = {
        "sum_forward": ns(None, "no"),
        "sum_forward_backward": ns(None, "no"),
        "alone_over_inside": None,
    }
    text, _ = lines(table(CONV, RELU), table(broken, RELU, **sums), table(CONV, RELU, reason="it has none"))
    assert "layer 0: no kernel" in text
    said = " ".join(text.split())
    assert ": it has none" in said
    conv = next(line for line in text.splitlines() if " conv2d " in line)
    assert conv.count("1.00 + 2.00") == 1
    assert conv.rstrip().endswith("–")


def test_cells_without_layers_by_name_have_a_reason_and_no_table(build: Any) -> None:
    text = told(build, *[table(reason="batches change their length")] * 2)
    assert "\nlayers of mlp:\nnot measured, alpha:eager, alpha:graph: batches change their length\n" in text
    assert "Each layer alone" not in text


def test_without_layers_there_is_no_such_table(build: Any) -> None:
    assert "layers of" not in told(build)
