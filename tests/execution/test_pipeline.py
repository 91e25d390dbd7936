"""The pipeline pass: its loops in known time, their twins, and what each of them may go wrong by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwprof.contracts import PipelineData
from fwprof.errors import PluginContractError
from fwprof.execution.pipeline import MAX_LOOPS, measure_pipeline, run_loops
from fwprof.execution.session import InvalidResultError, Session
from fwprof.records import DataLoop, Pipeline, frames
from fwprof.testing.clock import FakeClock
from fwprof.testing.fake_framework import FakeModel, FakePrograms
from fwprof.testing.fake_meter import CountingMeter

STEP_NS, DATA_NS, START_NS, WAIT_NS = 400_000, 100_000, 1_000_000, 50_000


class Slow:
    """A pipeline whose epochs take a known time to start and a known time a batch."""

    basis = "a script"

    def __init__(self, clock: FakeClock, batches: int = 8) -> None:
        self.clock, self.batches = clock, batches
        self.left = 0

    def __iter__(self) -> Iterator[int]:
        self.clock.advance(START_NS)
        try:
            for number in range(self.batches):
                self.clock.advance(DATA_NS)
                yield number
        finally:
            self.left += 1
            self.clock.advance(10**9)  # what ending an epoch takes is in no figure

    def close(self) -> None:
        pass


@pytest.fixture
def looped(scripted: Callable[..., Any], clock: FakeClock) -> Callable[..., tuple[list[DataLoop], Any]]:
    def loop(
        pipeline: Any, steps: int = 8, seconds: float = 9.0, **lengths: int
    ) -> tuple[list[DataLoop], Any]:
        script, _ = scripted(run=STEP_NS, wait=WAIT_NS, **lengths)
        loops: list[DataLoop] = []
        run_loops(script, script, pipeline, [0, 1], steps, clock, seconds, loops.append)
        return loops, script

    return loop


def test_a_loop_is_an_epoch_with_as_many_staged_steps_beside(looped: Any, clock: FakeClock) -> None:
    loops, _ = looped(Slow(clock), seconds=0.9)
    assert loops[0] == DataLoop(
        number=0, steps=8, start_ns=START_NS + DATA_NS, loop_ns=START_NS + 8 * (STEP_NS + DATA_NS) + WAIT_NS
    )
    for number, loop in enumerate(loops[1:], start=1):
        assert loop == DataLoop(
            number=number,
            steps=8,
            start_ns=START_NS + DATA_NS,
            loop_ns=START_NS + 8 * (STEP_NS + DATA_NS) + WAIT_NS,
            staged_ns=8 * STEP_NS + WAIT_NS,
        )


def test_three_loops_are_made_whatever_they_take_and_ten_at_most(looped: Any, clock: FakeClock) -> None:
    assert len(looped(Slow(clock), seconds=0.01)[0]) == 1 + 3
    assert len(looped(Slow(clock), seconds=1000.0)[0]) == 1 + MAX_LOOPS


def test_loop_and_twin_take_turns_in_coming_first(looped: Any, clock: FakeClock) -> None:
    _, script = looped(Slow(clock), seconds=0.05)
    # The pipeline's batches count up, the staged ones are 0 and 1 in turn.
    runs = [script.batches[at : at + 8] for at in range(0, len(script.batches), 8)]
    through = [batches == list(range(8)) for batches in runs]
    assert through == [True, False, True, True, False, False, True]


def test_a_long_epoch_is_cut_at_what_fits(looped: Any, clock: FakeClock) -> None:
    pipeline = Slow(clock, batches=1000)
    loops, _ = looped(pipeline, steps=1000, seconds=0.045)
    # A share is 5 ms: two of them for the warm loop, and (5 - 1.1) / 0.5 steps in each of the others.
    assert loops[0].steps < 1000
    assert {loop.steps for loop in loops[1:]} == {7}
    assert pipeline.left == len(loops)


def test_an_epoch_that_ends_early_is_refused(looped: Any, clock: FakeClock) -> None:
    with pytest.raises(PluginContractError, match="the data pipeline ended after 5 of 8 batches, in loop 0"):
        looped(Slow(clock, batches=5))
    with pytest.raises(PluginContractError, match="ended after 0 of 8 batches, in loop 0"):
        looped(Slow(clock, batches=0))


def test_a_loss_that_is_no_number_is_noticed(scripted: Any, clock: FakeClock) -> None:
    script, _ = scripted()
    script.loss = float("nan")
    with pytest.raises(InvalidResultError, match="the loss became nan in loop 0 through the data pipeline"):
        run_loops(script, script, Slow(clock), [0], 8, clock, 1.0, lambda _: None)


@pytest.fixture
def data(tmp_path: Path) -> PipelineData:
    random = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", random.normal(size=(70, 12)).astype(np.float32))
    np.save(tmp_path / "y.npy", random.integers(0, 5, 70))
    return PipelineData(tmp_path / "x.npy", tmp_path / "y.npy", 16, Pipeline())


def measured(session: Session, data: PipelineData, clock: FakeClock, *meters: Any) -> list[Any]:
    order = frames.RunPipeline(seconds=0.1, rate_hz=100.0)
    staged = [session.model.stage(batch) for batch in session.model.workload.batches]  # type: ignore[attr-defined]  # of the fake
    reports: list[Any] = []
    measure_pipeline(session.model, session.programs, staged, data, clock, meters, order, reports.append)
    return reports


def test_the_pass_tells_what_it_opened_each_loop_and_the_peak(
    built: Any, data: PipelineData, clock: FakeClock
) -> None:
    opened, *loops, readings = measured(built(), data, clock, CountingMeter("host_peak", "bytes", 7))
    assert opened.run.basis == "slices by NumPy"
    assert (opened.run.sample_count, opened.run.epoch_steps) == (70, 4)
    assert opened.run.data_bytes == 70 * (12 * 4 + 8)
    assert {report.loop.steps for report in loops} == {4}
    assert readings.readings["pipeline_peak"].value == 7


def test_without_a_meter_memory_is_null_with_its_reason(
    built: Any, data: PipelineData, clock: FakeClock
) -> None:
    *_, readings = measured(built(), data, clock)
    assert "caller's process" in readings.readings["pipeline_peak"].reason


def test_a_model_without_a_pipeline_is_fed_by_the_core(
    built: Any, data: PipelineData, clock: FakeClock
) -> None:
    class Plain(FakeModel):
        pipeline = None  # type: ignore[assignment]  # as of a plugin that has none

    opened, *loops, _ = measured(built(model_class=Plain), data, clock)
    assert opened.run.basis.startswith("slices and `stage`, by fwprof")
    assert loops


def test_workers_are_ended_where_a_step_raises_too(built: Any, data: PipelineData, clock: FakeClock) -> None:
    ended: list[bool] = []

    class Closing(Slow):
        def close(self) -> None:
            ended.append(True)

    class Model(FakeModel):
        def pipeline(self, data: PipelineData) -> Any:
            return Closing(clock)

    class Broken(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise RuntimeError("a step failed")

    with pytest.raises(RuntimeError, match="a step failed"):
        measured(built(model_class=Model, programs_class=Broken), data, clock)
    assert ended == [True]
