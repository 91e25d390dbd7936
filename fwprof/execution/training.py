"""Trains a model for its results: scores and times of every epoch, from the canonical start.

A pass of its own in a fresh process. Owns what is timed of an epoch, and what is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from fwprof.contracts import Batch, Clock, Model, Programs
from fwprof.execution.session import InvalidResultError
from fwprof.records import EpochTimes, TrainingPoint
from fwprof.workloads.scores import Scores, Tally

if TYPE_CHECKING:
    from fwprof.workloads.data import DataSet

Report = Callable[[tuple[TrainingPoint, ...], EpochTimes], None]


def train(
    model: Model,
    programs: Programs,
    data: DataSet,
    clock: Clock,
    report: Report,
    *,
    loss: str,
    batch_size: int,
    epochs: int,
    seed: int,
) -> None:
    """Train from the canonical start, and report both splits every epoch.

    The training loss is the mean over the epoch's steps, as they were taken; the other scores are
    those of the model as it stands after the epoch.

    Args:
        model: what `build_model` returned, of the cell's seed.
        programs: what `train_step` returned.
        data: samples in memory; a batch that is not full is left out of training, not of scores.
        clock: of the times.
        report: takes the two points and the times of each epoch.
        loss: of the workload.
        batch_size: samples of a step.
        epochs: how often all training samples are seen.
        seed: of the order of the batches.

    Raises:
        InvalidResultError: a loss is not a finite number; names the epoch.
    """
    model.reset()
    for epoch in range(1, epochs + 1):
        losses, train_ns = [], 0
        for batch in data.epoch(epoch, batch_size, seed):
            start = clock.now_ns()
            result = programs.run(model.stage(batch))
            programs.wait(result)
            train_ns += clock.now_ns() - start
            losses.append(programs.read(result)[0])
            _require_finite(losses[-1], "loss", epoch, seed)
        train, _, _ = _evaluate(model, data.training_batches(batch_size), loss, clock)
        held_out, predict_ns, sizes = _evaluate(model, data.validation_batches(batch_size), loss, clock)
        _require_finite(held_out.loss, "validation loss", epoch, seed)
        report(
            (
                _point(train, "train", epoch, seed, loss=sum(losses) / len(losses), first_loss=losses[0]),
                _point(held_out, "validation", epoch, seed),
            ),
            EpochTimes(
                epoch=epoch,
                seed=seed,
                train_ns=train_ns,
                predict_ns=predict_ns,
                full_batch_count=sizes.count(batch_size),
            ),
        )


def _evaluate(
    model: Model, batches: Iterable[Batch], loss: str, clock: Clock
) -> tuple[Scores, tuple[int, ...], tuple[int, ...]]:
    """Return the scores over the batches, and what predicting each of them took, ns, and its size."""
    tally, times, sizes = Tally(loss), [], []
    for batch in batches:
        start = clock.now_ns()
        outputs = model.predict(model.stage(batch))
        times.append(clock.now_ns() - start)
        sizes.append(len(batch.targets))
        tally.add(outputs, batch.targets)
    return tally.scores(), tuple(times), tuple(sizes)


def _point(
    scores: Scores,
    split: Literal["train", "validation"],
    epoch: int,
    seed: int,
    *,
    loss: float | None = None,
    first_loss: float | None = None,
) -> TrainingPoint:
    return TrainingPoint(
        epoch=epoch,
        split=split,
        seed=seed,
        loss=scores.loss if loss is None else loss,
        first_loss=first_loss,
        accuracy=scores.accuracy,
        precision=scores.precision,
        recall=scores.recall,
        f1=scores.f1,
    )


def _require_finite(loss: float, what: str, epoch: int, seed: int) -> None:
    if not math.isfinite(loss):
        raise InvalidResultError(
            f"the {what} became {loss} in epoch {epoch} (seed {seed})",
            next="lower the learning rate: --set optimizer.learning_rate=VALUE",
        )
