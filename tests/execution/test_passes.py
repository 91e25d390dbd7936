"""Passes that are not timed: meters over training steps, and training for its results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from fwprof.contracts import Batch
from fwprof.execution.passes import ENERGY_WINDOW, take_readings, train
from fwprof.execution.session import InvalidResultError, Session
from fwprof.records import Reading, TrainingPoint
from fwprof.testing.fake_framework import FakeModel, FakePrograms
from fwprof.testing.fake_meter import CountingMeter

Built = Callable[..., Session]


class Counting:
    """A meter that writes down what is asked of it."""

    passes: Sequence[str] = ("energy",)

    def __init__(self, name: str, value: float | None, enough: int = 0) -> None:
        self.calls: list[str] = []
        self.sampled = threading.Event()
        self._name, self._value, self._enough = name, value, enough

    def start(self) -> None:
        self.calls.append("start")

    def sample(self) -> None:
        self.calls.append("sample")
        if self.calls.count("sample") >= self._enough:
            self.sampled.set()

    def stop(self) -> Mapping[str, Reading]:
        self.calls.append("stop")
        return {self._name: Reading(value=self._value, unit="uJ", basis="a counter", reason="no counter")}


def read(session: Session, *meters: Any, seconds: float = 0.0, rate_hz: float = 1000.0) -> Any:
    batch = Batch(*([[0.0] * 12], [0]))  # type: ignore[arg-type]  # staged by the model
    return take_readings(session.programs, [session.model.stage(batch)], meters, seconds, rate_hz)


def test_meters_see_at_least_five_steps(built: Built) -> None:
    steps: list[int] = []

    class Counted(FakePrograms):
        def run(self, staged: Any) -> Any:
            steps.append(1)
            return super().run(staged)

    session = built(programs_class=Counted)
    readings = read(session, CountingMeter("fake.bytes", "bytes", 7))
    assert readings == {"fake.bytes": Reading(value=7, unit="bytes")}
    assert len(steps) == 5


def test_energy_is_told_by_the_step(built: Built) -> None:
    readings = read(built(), Counting(ENERGY_WINDOW, 1000))
    assert readings == {
        "energy": Reading(value=200, unit="uJ/step", basis="a counter; 5 steps", reason="no counter")
    }


def test_a_window_is_opened_once_to_see_whether_it_can_be_read(built: Built) -> None:
    meter = Counting(ENERGY_WINDOW, 1000)
    read(built(), meter, rate_hz=0.001)
    assert meter.calls == ["start", "stop", "start", "stop"]


def test_where_nothing_can_be_read_nothing_is_run(built: Built) -> None:
    class Refusing(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise AssertionError("no step is needed")

    readings = read(
        built(programs_class=Refusing),
        Counting(ENERGY_WINDOW, None),
        CountingMeter("fake.power", "mW", None, "no sensor"),
        seconds=60.0,
    )
    assert {name: (each.value, each.reason) for name, each in readings.items()} == {
        "energy": (None, "no counter"),
        "fake.power": (None, "no sensor"),
    }


def test_without_a_meter_nothing_is_run(built: Built) -> None:
    class Refusing(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise AssertionError("no step is needed")

    assert read(built(programs_class=Refusing), seconds=60.0) == {}


def test_meters_are_sampled_while_steps_run_and_the_thread_is_gone(built: Built) -> None:
    meter = Counting("fake.samples", 1, enough=3)

    class Waiting(FakePrograms):
        def run(self, staged: Any) -> Any:
            assert meter.sampled.wait(60)
            return super().run(staged)

    before = threading.active_count()
    read(built(programs_class=Waiting), meter)
    assert meter.calls[:3] == ["start", "stop", "start"]
    assert meter.calls[-1] == "stop"
    assert threading.active_count() == before


def test_the_thread_is_gone_where_a_step_raises_too(built: Built) -> None:
    class Broken(FakePrograms):
        def run(self, staged: Any) -> Any:
            raise RuntimeError("a step failed")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="a step failed"):
        read(built(programs_class=Broken), Counting("fake.samples", 1))
    assert threading.active_count() == before


class TwoClasses:
    """Points left and right of zero: what any model learns."""

    def __init__(self) -> None:
        import numpy as np

        random = np.random.default_rng(0)
        self.targets = random.integers(0, 2, 64)
        self.inputs = random.normal(size=(64, 12)).astype("float32")
        self.inputs[:, 0] = self.targets * 6 - 3
        self.epochs: list[tuple[int, int, int]] = []

    def epoch(self, epoch: int, batch_size: int, seed: int) -> Any:
        self.epochs.append((epoch, batch_size, seed))
        return self.training_batches(batch_size)

    def training_batches(self, batch_size: int) -> Any:
        for at in range(0, 64, batch_size):
            yield Batch(self.inputs[at : at + batch_size], self.targets[at : at + batch_size])

    validation_batches = training_batches


def trained(session: Session, data: Any, epochs: int = 4) -> list[tuple[TrainingPoint, ...]]:
    points: list[tuple[TrainingPoint, ...]] = []
    train(session.model, session.programs, data, 16, epochs, 5, points.append)
    return points


def test_training_tells_both_splits_every_epoch(built: Built) -> None:
    data = TwoClasses()
    points = trained(built(), data)
    assert [[(p.epoch, p.split) for p in pair] for pair in points] == [
        [(epoch, "train"), (epoch, "validation")] for epoch in (1, 2, 3, 4)
    ]
    assert data.epochs == [(1, 16, 5), (2, 16, 5), (3, 16, 5), (4, 16, 5)]


def test_what_can_be_learnt_is_learnt(built: Built) -> None:
    points = trained(built(), TwoClasses(), epochs=8)
    assert points[-1][1].accuracy == 1.0
    assert points[-1][1].loss < points[0][1].loss
    # The training loss is the mean over the epoch, the validation loss that of its end.
    assert points[0][1].loss < points[0][0].loss


def test_training_begins_at_the_canonical_start(built: Built) -> None:
    session = built()
    assert trained(session, TwoClasses()) == trained(session, TwoClasses())


def test_a_loss_that_is_no_number_names_its_epoch(built: Built) -> None:
    class Lost(FakePrograms):
        def read(self, result: Any) -> Any:
            return float("nan"), None

    with pytest.raises(InvalidResultError, match="the loss became nan in epoch 1"):
        trained(built(programs_class=Lost), TwoClasses())


def test_accuracy_is_the_share_of_right_answers(built: Built) -> None:
    import numpy as np

    class Certain(FakeModel):
        def predict(self, staged: Any) -> Any:
            return np.tile([0.0, 100.0], (len(staged.inputs), 1))

    data = TwoClasses()
    ((_, validation),) = trained(built(model_class=Certain), data, epochs=1)
    wrong = float((data.targets == 0).mean())
    assert validation.accuracy == 1 - wrong
    assert validation.loss == pytest.approx(100 * wrong)
