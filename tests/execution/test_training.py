"""Training for its results: what is scored, what is timed, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwprof.contracts import Batch
from fwprof.execution.session import InvalidResultError, Session
from fwprof.execution.training import train
from fwprof.records import EpochTimes, TrainingPoint
from fwprof.testing.clock import FakeClock
from fwprof.testing.fake_framework import FakeModel, FakePrograms

Built = Callable[..., Session]
SAMPLES = 64


class TwoClasses:
    """Points left and right of zero: what any model learns."""

    def __init__(self, held_out: int = SAMPLES) -> None:
        import numpy as np

        random = np.random.default_rng(0)
        self.targets = random.integers(0, 2, SAMPLES)
        self.inputs = random.normal(size=(SAMPLES, 12)).astype("float32")
        self.inputs[:, 0] = self.targets * 6 - 3
        self.held_out = held_out
        self.epochs: list[tuple[int, int, int]] = []

    def epoch(self, epoch: int, batch_size: int, seed: int) -> Any:
        self.epochs.append((epoch, batch_size, seed))
        return self._batches(SAMPLES, batch_size)

    def training_batches(self, batch_size: int) -> Any:
        return self._batches(SAMPLES, batch_size)

    def validation_batches(self, batch_size: int) -> Any:
        return self._batches(self.held_out, batch_size)

    def _batches(self, count: int, batch_size: int) -> Any:
        for at in range(0, count, batch_size):
            part = slice(at, min(at + batch_size, count))
            yield Batch(self.inputs[part], self.targets[part])


def trained(
    session: Session, data: Any, epochs: int = 4, clock: FakeClock | None = None
) -> tuple[list[tuple[TrainingPoint, ...]], list[EpochTimes]]:
    points: list[tuple[TrainingPoint, ...]] = []
    times: list[EpochTimes] = []

    def report(pair: tuple[TrainingPoint, ...], one: EpochTimes) -> None:
        points.append(pair)
        times.append(one)

    train(
        session.model,
        session.programs,
        data,
        clock or FakeClock(1_000),
        report,
        loss="cross_entropy",
        batch_size=16,
        epochs=epochs,
        seed=5,
    )
    return points, times


def test_training_tells_both_splits_every_epoch(built: Built) -> None:
    data = TwoClasses()
    points, _ = trained(built(), data)
    assert [[(p.epoch, p.split, p.seed) for p in pair] for pair in points] == [
        [(epoch, "train", 5), (epoch, "validation", 5)] for epoch in (1, 2, 3, 4)
    ]
    assert data.epochs == [(1, 16, 5), (2, 16, 5), (3, 16, 5), (4, 16, 5)]


def test_what_can_be_learnt_is_learnt(built: Built) -> None:
    points, _ = trained(built(), TwoClasses(), epochs=8)
    last = points[-1][1]
    assert (last.accuracy, last.precision, last.recall, last.f1) == (1.0, 1.0, 1.0, 1.0)
    assert last.loss < points[0][1].loss
    # The training loss is the mean over the epoch, the validation loss that of its end.
    assert points[0][1].loss < points[0][0].loss


def test_the_loss_of_the_first_step_is_that_of_the_canonical_start(built: Built) -> None:
    session, data = built(), TwoClasses()
    points, _ = trained(session, data, epochs=2)
    session.model.reset()
    first = next(data.training_batches(16))
    loss, _ = session.programs.read(session.programs.forward(session.model.stage(first)))
    assert points[0][0].first_loss == loss
    assert points[0][1].first_loss is None
    assert (points[1][0].first_loss or loss) < loss


def test_training_begins_at_the_canonical_start(built: Built) -> None:
    session = built()
    assert trained(session, TwoClasses()) == trained(session, TwoClasses())


def test_an_epoch_takes_what_its_steps_take_and_evaluation_stands_apart(
    built: Built, clock: FakeClock
) -> None:
    class Slow(FakeModel):
        def stage(self, batch: Any) -> Any:
            clock.advance(7)
            return super().stage(batch)

        def predict(self, staged: Any) -> Any:
            clock.advance(1_000)
            return super().predict(staged)

    class Late(FakePrograms):
        def wait(self, result: Any) -> None:
            clock.advance(100)

        def read(self, result: Any) -> Any:
            clock.advance(10**9)
            return super().read(result)

    class Drawn(TwoClasses):
        def _batches(self, count: int, batch_size: int) -> Any:
            for batch in super()._batches(count, batch_size):
                clock.advance(10**8)
                yield batch

    session = built(model_class=Slow, programs_class=Late, forward_us=2, backward_us=3, update_us=4)
    _, times = trained(session, Drawn(held_out=40), epochs=2, clock=clock)
    step_ns = 7 + 2_000 + 3_000 + 4_000 + 100
    assert [one.train_ns for one in times] == [4 * step_ns] * 2
    assert [one.predict_ns for one in times] == [(1_007,) * 3] * 2
    assert [(one.epoch, one.seed, one.full_batch_count) for one in times] == [(1, 5, 2), (2, 5, 2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_its_epoch_and_keeps_those_before(built: Built, value: float) -> None:
    class Lost(FakePrograms):
        reads = 0

        def read(self, result: Any) -> Any:
            Lost.reads += 1
            return (value if Lost.reads > 9 else 1.0), None

    seen: list[int] = []
    session = built(programs_class=Lost)
    with pytest.raises(InvalidResultError, match=rf"the loss became {value} in epoch 3 \(seed 5\)") as caught:
        train(
            session.model, session.programs, TwoClasses(), FakeClock(0),  # type: ignore[arg-type]  # stands in for a DataSet
            lambda points, _: seen.append(points[0].epoch),
            loss="cross_entropy", batch_size=16, epochs=4, seed=5,
        )  # fmt: skip
    assert seen == [1, 2]
    assert "learning rate" in caught.value.next


def test_a_validation_loss_that_is_no_number_is_none_either(built: Built) -> None:
    class Overflown(FakeModel):
        def predict(self, staged: Any) -> Any:
            return super().predict(staged) * float("inf")

    with pytest.raises(InvalidResultError, match="the validation loss became nan in epoch 1"):
        trained(built(model_class=Overflown), TwoClasses())


def test_scores_are_those_of_the_predicted_outputs(built: Built) -> None:
    import numpy as np

    class Certain(FakeModel):
        def predict(self, staged: Any) -> Any:
            return np.tile([0.0, 100.0], (len(staged.inputs), 1))

    data = TwoClasses()
    (((_, validation),), _) = trained(built(model_class=Certain), data, epochs=1)
    wrong = float((data.targets == 0).mean())
    assert validation.accuracy == 1 - wrong
    assert validation.loss == pytest.approx(100 * wrong)
    # The class that is never predicted has precision, recall and F1 of 0.
    assert validation.precision == pytest.approx((1 - wrong) / 2)
    assert validation.recall == 0.5
    assert validation.f1 == pytest.approx((1 - wrong) / (2 - wrong))
