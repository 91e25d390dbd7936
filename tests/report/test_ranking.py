"""Comparisons in words."""

from __future__ import annotations

from itertools import combinations
from types import ModuleType

import pytest
from msgspec.structs import replace

from fwprof.records import Comparison, MetricValue
from fwprof.report.layout import to_text
from fwprof.report.names import CellNames
from fwprof.report.ranking import comparison_sections, comparison_table, tied_groups
from fwprof.report.table import Table


def compared(a: str, b: str, verdict: str) -> Comparison:
    return Comparison(
        metric="step_time", a=a, b=b, ratio=1.0, ci95=(0.9, 1.1), noise_floor=None, verdict=verdict, why=""
    )


def test_ties_are_grouped_only_where_all_pairs_tie() -> None:
    ties = [compared("a", "b", "no difference shown"), compared("b", "c", "no difference shown")]
    assert tied_groups([*ties, compared("a", "c", "faster")]) == [("a", "b"), ("b", "c")]
    assert tied_groups([*ties, compared("a", "c", "no difference shown")]) == [("a", "b", "c")]


def test_many_ties_make_one_group() -> None:
    cells = "abcdefgh"
    comparisons = [compared(a, b, "no difference shown") for a, b in combinations(cells, 2)]
    assert tied_groups(comparisons) == [tuple(cells)]


def test_no_ties_make_no_group() -> None:
    assert tied_groups([compared("a", "b", "slower")]) == []


def test_a_pair_without_a_ratio_says_so() -> None:
    one = Comparison(
        metric="step_time", a="a", b="b", ratio=None, ci95=None, noise_floor=None,
        verdict="not comparable", why="b failed",
    )  # fmt: skip
    (row,) = comparison_table([one], str).rows
    assert row == ("b", "a", "–", "–", "not comparable", "unknown")


def test_one_process_gives_no_verdict() -> None:
    (row,) = comparison_table([compared("a", "b", "one process")], str).rows
    assert row[-2] == "no verdict"


@pytest.mark.parametrize(
    ("metric", "verdict", "said"),
    [
        ("host_peak", "slower", "larger"),
        ("host_peak", "faster", "smaller"),
        ("step_spread", "faster", "better"),
        ("energy", "slower", "worse"),
        ("power", "slower", "worse"),
        ("throughput", "faster", "faster"),
        ("host_peak", "no difference shown", "no difference shown"),
    ],
)
def test_a_verdict_is_said_in_words_that_fit_the_metric(metric: str, verdict: str, said: str) -> None:
    one = replace(compared("a", "b", verdict), metric=metric)
    (row,) = comparison_table([one], str).rows
    assert row[-2] == said


def test_fewer_than_five_processes_give_neither_verdict_nor_tie() -> None:
    one = replace(compared("a", "b", "no difference shown"), labels=("few_sessions",))
    (row,) = comparison_table([one], str).rows
    assert row[-2] == "no verdict"
    assert tied_groups([one]) == []


def test_phases_are_shown_for_a_single_pair_alone(build: ModuleType) -> None:
    result, summary = build.comparison()
    names = CellNames(result, summary.cells)
    pair = [compared("a", "c", "slower"), replace(compared("a", "c", "slower"), metric="forward_time")]
    one = replace(summary, comparisons=tuple(pair))
    several = replace(summary, comparisons=(*pair, compared("a", "d", "slower")))
    assert "forward time" in to_text(comparison_sections(one, names), 140)
    assert "forward time" not in to_text(comparison_sections(several, names), 140)


def test_of_many_cells_each_is_shown_over_the_fastest(build: ModuleType) -> None:
    result, summary = build.comparison()
    names = CellNames(result, summary.cells)
    first, second, third = (
        replace(cell, id=name, metrics={"step_time": MetricValue(unit="ns", p50=p50)})
        for cell, name, p50 in zip(summary.cells, "abc", (3e6, 1e6, 2e6), strict=False)
    )
    pairs = (
        replace(compared("a", "b", "faster"), ratio=1 / 3, ci95=(0.25, 0.5)),
        replace(compared("a", "c", "faster"), ratio=2 / 3),
        replace(compared("b", "c", "slower"), ratio=2.0, ci95=(1.5, 2.5)),
        replace(compared("a", "d", "not comparable"), ratio=None, ci95=None, why="d failed"),
    )
    table, facts = comparison_sections(
        replace(summary, cells=(first, second, third), comparisons=pairs), names
    )
    assert isinstance(table, Table)
    assert [(*row[:2], row[3], row[4]) for row in table.rows] == [
        (names.short("c"), names.short("b"), "1.5–2.5", "slower"),
        (names.short("a"), names.short("b"), "2–4", "slower"),
    ]
    assert f"not comparable: {names.short('d')} failed" in to_text([facts], 140)


def test_models_of_ones_own_are_told_apart_in_one_table(build: ModuleType) -> None:
    plans = [build.cell_plan("a", "old", "alpha"), build.cell_plan("b", "new", "alpha")]
    result = build.run_result(*[(plan, build.cell_result(plan.id)) for plan in plans])
    cells = [build.cell_summary(plan.id, plan.workload.name, "alpha", "eager") for plan in plans]
    compared_ones = build.summary(*cells, comparisons=(compared("a", "b", "slower"),))
    table, _ = comparison_sections(compared_ones, CellNames(result, cells))
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [("new", "old")]


def test_a_cell_that_differs_by_having_no_environment_of_its_own_is_called_by_its_framework(
    build: ModuleType,
) -> None:
    plans = [build.cell_plan("a", "mlp", "alpha"), build.cell_plan("b", "mlp", "alpha@old")]
    result = build.run_result(*[(plan, build.cell_result(plan.id)) for plan in plans])
    cells = [
        build.cell_summary(name, "mlp", "alpha", "eager", environment=environment)
        for name, environment in (("a", "alpha"), ("b", "old"))
    ]
    names = CellNames(result, cells)
    assert [names.short(name) for name in "ab"] == ["alpha:eager", "old"]
