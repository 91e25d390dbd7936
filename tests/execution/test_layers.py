"""The layer pass: every layer in known time, beside the whole; a layer that raises has a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwprof.contracts import Options
from fwprof.execution.layers import (
    MAX_CALLS,
    MAX_ROUNDS,
    MIN_CALLS,
    MIN_ROUNDS,
    NO_LAYERS,
    layer_cases,
    measure_layers,
)
from fwprof.plugin import LayerCase, LoadedWorkload, layers
from fwprof.records.frames import LayersOpened, LayersTimed, MeasureLayers
from fwprof.testing.clock import FakeClock
from fwprof.testing.conformance.cases import load_case, plan_of
from fwprof.testing.fake_framework import FakeFramework, FakeModel
from fwprof.testing.samples import sample_cell
from fwprof.testing.small import make_workload

FORWARD_NS, BACKWARD_NS = 200_000, 300_000


@pytest.fixture
def measured(clock: FakeClock, tmp_path: Path) -> Callable[..., tuple[Any, list[Any], list[Any]]]:
    def measure(
        model_class: type[FakeModel] = FakeModel,
        loaded: LoadedWorkload | None = None,
        seconds: float = 0.001,
        forward_ns: int = FORWARD_NS,
    ) -> tuple[Any, list[Any], list[Any]]:
        loaded = loaded or load_case("plain")
        options = {"forward_us": forward_ns / 1000, "backward_us": BACKWARD_NS / 1000}
        cell = sample_cell(workload=plan_of(loaded), options=options)
        framework = FakeFramework(clock, model_class)
        model: Any = framework.build_model(loaded, cell.device, Options(cell=cell, cache=tmp_path))
        staged = [model.stage(batch) for batch in loaded.batches]
        sent: list[Any] = []
        programs = framework.train_step(model)
        measure_layers(
            model, programs, staged, loaded, clock, MeasureLayers(seconds=seconds), sent.append, seed=1
        )
        opened = [report for report in sent if isinstance(report, LayersOpened)]
        rounds = [report.blocks for report in sent if isinstance(report, LayersTimed)]
        assert len(opened) == 1
        assert sent[0] is opened[0]
        return opened[0].run, rounds, model

    return measure


def test_every_layer_and_the_whole_are_timed_in_every_round(measured: Any) -> None:
    run, rounds, _ = measured()
    assert (run.samples, run.parts, run.reason, run.refused) == (16, 1, "", {})
    assert len(rounds) == MIN_ROUNDS
    for number, blocks in enumerate(rounds):
        assert Counter((block.layer, block.program) for block in blocks) == Counter(
            (layer, program) for layer in ("0", "1", None) for program in ("forward", "forward_backward")
        )
        assert [block.order for block in blocks] == list(range(len(blocks)))
        for block in blocks:
            both = block.program == "forward_backward"
            assert set(block.call_ns) == {FORWARD_NS + BACKWARD_NS * both}
            assert block.round == number


def test_the_order_changes_from_round_to_round(measured: Any) -> None:
    _, rounds, _ = measured()
    assert len({tuple((block.layer, block.program) for block in blocks) for blocks in rounds}) > 1


@pytest.mark.parametrize(("forward_ns", "calls"), [(1_000, MAX_CALLS), (50_000_000, MIN_CALLS)])
def test_a_block_has_as_many_calls_as_fit_it(measured: Any, forward_ns: int, calls: int) -> None:
    _, rounds, _ = measured(forward_ns=forward_ns)
    (block,) = [one for one in rounds[0] if (one.layer, one.program) == ("0", "forward")]
    assert len(block.call_ns) == calls


def test_rounds_fill_the_time_and_end(measured: Any) -> None:
    _, few, _ = measured(seconds=0.3)
    _, most, _ = measured(seconds=3600)
    assert MIN_ROUNDS < len(few) < MAX_ROUNDS
    assert len(most) == MAX_ROUNDS


def test_a_layer_that_raises_is_left_out_with_its_reason(measured: Any) -> None:
    class Model(FakeModel):
        def open_layer(self, case: LayerCase) -> Any:
            if case.layer.path == "1":
                raise RuntimeError("no such kernel\nat all")
            return super().open_layer(case)

    run, rounds, _ = measured(Model)
    assert run.refused == {"1": "RuntimeError: no such kernel"}
    assert run.reason == ""
    assert {block.layer for block in rounds[0]} == {"0", None}


def test_a_layer_that_raises_only_when_it_is_called_is_left_out_too(measured: Any) -> None:
    class Model(FakeModel):
        def open_layer(self, case: LayerCase) -> Any:
            opened = super().open_layer(case)
            if case.layer.path == "0":
                opened.case = None  # type: ignore[assignment]  # breaks F
            return opened

    run, rounds, _ = measured(Model)
    assert "AttributeError" in run.refused["0"]
    assert {block.layer for block in rounds[0]} == {"1", None}


def test_where_no_layer_can_be_run_nothing_is_timed(measured: Any) -> None:
    class Nothing(FakeModel):
        open_layer = None  # type: ignore[assignment]  # a plugin without it

    class Refuses(FakeModel):
        def open_layer(self, case: LayerCase) -> Any:
            raise ValueError(f"not {case.layer.path}")

    assert measured(Nothing)[:2] == (measured(Nothing)[0], [])
    assert measured(Nothing)[0].reason == NO_LAYERS
    run, rounds, _ = measured(Refuses)
    assert rounds == []
    assert run.reason == "ValueError: not 0"


def test_parameters_are_what_they_were(measured: Any) -> None:
    _, _, model = measured()
    for name, value in model.parameters().items():
        assert (value == model.initial[name]).all()


def test_the_first_layer_takes_the_batch_and_the_others_random_numbers() -> None:
    loaded = load_case("plain")
    (first, first_has), (second, second_has) = layer_cases(loaded, 16, seed=3)
    assert (first.inputs == loaded.batches[0].inputs).all()
    assert (first.has_input_gradient, second.has_input_gradient) == (False, True)
    assert first_has
    assert second_has
    assert second.inputs.shape == (16, 16)
    assert second.inputs.dtype == second.upstream.dtype == np.float32
    assert second.upstream.shape == (16, 5)
    again = layer_cases(loaded, 16, seed=3)[1][0]
    assert (again.inputs == second.inputs).all()


def test_ids_go_as_they_are_into_what_takes_ids() -> None:
    loaded = load_case("sequence")
    cases = [case for case, _ in layer_cases(loaded, 16, seed=3)]
    assert cases[0].inputs.dtype == np.int64
    assert {case.inputs.dtype for case in cases[1:]} == {np.dtype("float32")}


def test_a_layer_before_all_parameters_has_no_backward_pass(measured: Any) -> None:
    loaded = load_case("image")
    (flatten, has_gradients), *_ = layer_cases(loaded, 16, seed=3)
    assert not has_gradients
    assert not flatten.has_input_gradient
    _, rounds, _ = measured(loaded=loaded)
    assert {block.program for block in rounds[0] if block.layer == "0"} == {"forward"}


def test_of_a_batch_in_parts_a_layer_takes_one(measured: Any) -> None:
    loaded = make_workload((layers.Dense(units=3),), (6,), classes=3, batch=8, accumulate=4)
    run, rounds, _ = measured(loaded=loaded)
    assert (run.samples, run.parts) == (2, 4)
    assert {block.layer for block in rounds[0]} == {"0", None}
