"""Figures of layers timed alone: from raw calls to a table, and why a figure is missing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fwprof.comparison.layers import CHANGING, NO_GRADIENTS, OWN_MODEL, layer_table
from fwprof.records import CellPlan, CellResult, LayerBlock, LayerRun, Workload
from fwprof.records.workload import Activation, Dense, InputSpec, Sgd, SyntheticData
from fwprof.testing.samples import sample_cell
from fwprof.workloads import plan_workload

SPEC = Workload(
    name="three",
    input=InputSpec(shape=(6,)),
    layers=(Activation(function="relu"), Dense(units=5), Dense(units=3)),
    classes=3,
    optimizer=Sgd(learning_rate=0.1),
)


def planned(**fields: Any) -> CellPlan:
    return sample_cell(workload=plan_workload(SPEC, 8), batch_size=8, **fields)


def block(round_: int, layer: str | None, program: Any, *call_ns: int) -> LayerBlock:
    return LayerBlock(round=round_, order=0, layer=layer, program=program, call_ns=call_ns)


def blocks(rounds: int = 3, left_out: tuple[str, ...] = ()) -> tuple[LayerBlock, ...]:
    """Three rounds in which layer 1 takes 100 + 200 ns, layer 2 50 + 70, the whole 130 + 230."""
    found = []
    for number in range(rounds):
        found += [block(number, "0", "forward", 10, 10, 10)]
        for layer, ahead, both in (("1", 100, 300), ("2", 50, 120), (None, 140, 360)):
            found += [
                block(number, layer, "forward", ahead, ahead + number, ahead * 9),
                block(number, layer, "forward_backward", both, both, both),
            ]
    return tuple(one for one in found if one.layer not in left_out)


def table_of(run: LayerRun, plan: CellPlan | None = None) -> Any:
    plan = plan or planned()
    return layer_table(CellResult(id=plan.id, fate="ok", layers=run), plan, is_asked=True)


def test_a_value_is_the_median_of_rounds_of_the_median_call() -> None:
    table = table_of(LayerRun(samples=8, blocks=blocks()))
    first, second, third = table.rows
    assert (second.forward.p50, second.forward_backward.p50, second.backward.p50) == (101, 300, 199)
    assert second.forward.count == 3
    assert second.forward.ci95[0] >= 100
    assert second.forward.ci95[1] <= 102
    assert second.backward.kind == "marginal"
    assert (third.forward.p50, third.backward.p50) == (51, 69)
    # A layer before all that is trained has no backward pass: its step is its forward pass.
    assert first.backward.p50 is None
    assert first.backward.reason == NO_GRADIENTS
    assert first.forward_backward == first.forward
    assert table.sum_forward.p50 == 10 + 101 + 51
    assert table.sum_forward_backward.p50 == 10 + 300 + 120
    assert (table.whole_forward.p50, table.whole_forward_backward.p50) == (141, 360)
    assert table.alone_over_inside == pytest.approx(430 / 360)


def test_where_gradients_are_accumulated_figures_are_of_a_whole_step() -> None:
    table = table_of(LayerRun(samples=2, parts=4, blocks=blocks()))
    assert table.rows[1].forward_backward.p50 == 4 * 300
    assert table.whole_forward_backward.p50 == 360


def test_a_layer_that_was_refused_has_its_reason_and_there_is_no_sum() -> None:
    table = table_of(LayerRun(samples=8, refused={"1": "no kernel"}, blocks=blocks(left_out=("1",))))
    assert table.rows[1].forward.p50 is None
    assert table.rows[1].forward.reason == "no kernel"
    assert table.rows[1].flops > 0
    assert table.sum_forward_backward.p50 is None
    assert table.sum_forward_backward.reason == "layer 1 was not timed: no kernel"
    assert table.alone_over_inside is None
    assert table.whole_forward.p50 == 141


def test_where_nothing_was_timed_every_row_says_so() -> None:
    table = table_of(LayerRun(samples=8, reason="the plugin cannot"))
    assert {row.forward.reason for row in table.rows} == {"the plugin cannot"}
    assert table.reason == table.whole_forward.reason == "the plugin cannot"


def test_a_single_round_has_no_interval() -> None:
    table = table_of(LayerRun(samples=8, blocks=blocks(rounds=1)))
    assert table.rows[1].forward.p50 == 100
    assert table.rows[1].forward.ci95 is None


def test_nobody_asked_or_the_cell_did_not_come_that_far() -> None:
    plan = planned()
    for is_asked in (False, True):
        assert layer_table(CellResult(id="a", fate="failed"), plan, is_asked=is_asked) is None


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (None, OWN_MODEL),
        (msgspec.structs.replace(SPEC, data=SyntheticData(min_length=1, is_trimmed=True)), CHANGING),
    ],
)
def test_a_cell_without_layers_by_name_says_why_where_somebody_asked(
    spec: Workload | None, reason: str
) -> None:
    plan = planned()
    plan = msgspec.structs.replace(plan, workload=msgspec.structs.replace(plan.workload, spec=spec))
    cell = CellResult(id="a", fate="ok")
    assert layer_table(cell, plan, is_asked=False) is None
    table = layer_table(cell, plan, is_asked=True)
    assert table is not None
    assert (table.rows, table.reason, table.whole_forward.reason) == ((), reason, reason)
