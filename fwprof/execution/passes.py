"""The untimed passes of one worker: meters over program S, and training for its results.

They run in fresh processes, apart from timing, since every one of them slows the step down.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

from fwprof.contracts import Batch, Meter, Model, Programs, Staged
from fwprof.execution.session import InvalidResultError
from fwprof.records import Reading, TrainingPoint
from fwprof.workloads.scores import score

if TYPE_CHECKING:
    from fwprof.workloads.data import DataSet

MIN_STEPS = 5
ENERGY_WINDOW = "energy_window"
"""A meter's reading of this name is divided by the steps of the window: `energy`, uJ/step."""


def take_readings(
    programs: Programs, staged: Sequence[Staged], meters: Sequence[Meter], seconds: float, rate_hz: float
) -> dict[str, Reading]:
    """Run program S for `seconds` (at least 5 steps) with the meters on.

    Where no meter can read anything, the window is not run: the reasons are the answer.
    """
    trial = _window(meters)
    if all(reading.value is None for reading in trial.values()):
        return trial
    steps = 0
    for meter in meters:
        meter.start()
    with _sampling(meters, rate_hz):
        end = time.monotonic() + seconds
        for batch in cycle(staged):
            programs.wait(programs.run(batch))
            steps += 1
            if steps >= MIN_STEPS and time.monotonic() >= end:
                break
    readings = {name: reading for meter in meters for name, reading in meter.stop().items()}
    return _per_step(readings, steps)


def _window(meters: Sequence[Meter]) -> dict[str, Reading]:
    """Open and close an empty window: what cannot be read says so at once."""
    for meter in meters:
        meter.start()
    return _per_step({name: reading for meter in meters for name, reading in meter.stop().items()}, 1)


def _per_step(readings: dict[str, Reading], steps: int) -> dict[str, Reading]:
    if (window := readings.pop(ENERGY_WINDOW, None)) is not None:
        value = None if window.value is None else window.value / steps
        readings["energy"] = Reading(
            value=value,
            unit="uJ/step",
            reason=window.reason,
            basis=f"{window.basis}; {steps} steps" if value is not None else window.basis,
            samples=window.samples,
        )
    return readings


@contextmanager
def _sampling(meters: Sequence[Meter], rate_hz: float) -> Iterator[None]:
    """Let every meter take a sample at a steady rate, from a thread."""
    over = threading.Event()

    def sample() -> None:
        while not over.wait(1 / rate_hz):
            for meter in meters:
                meter.sample()

    thread = threading.Thread(target=sample, name="fwprof-sampler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def train(
    model: Model,
    programs: Programs,
    data: DataSet,
    batch_size: int,
    epochs: int,
    seed: int,
    report: Callable[[tuple[TrainingPoint, ...]], None],
) -> None:
    """Train from the canonical start and report loss and accuracy of both splits every epoch.

    The training loss is the mean over the epoch's steps, as they were taken; the other figures
    are those of the model as it stands after the epoch.

    Raises:
        InvalidResultError: the loss is not a finite number; names the epoch.
    """
    model.reset()
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in data.epoch(epoch, batch_size, seed):
            result = programs.run(model.stage(batch))
            programs.wait(result)
            losses.append(programs.read(result)[0])
            if not math.isfinite(losses[-1]):
                raise InvalidResultError(f"the loss became {losses[-1]} in epoch {epoch}")
        _, train_accuracy = _evaluate(model, data.training_batches(batch_size))
        loss, accuracy = _evaluate(model, data.validation_batches(batch_size))
        mean = sum(losses) / len(losses)
        report(
            (
                TrainingPoint(epoch=epoch, split="train", loss=mean, accuracy=train_accuracy),
                TrainingPoint(epoch=epoch, split="validation", loss=loss, accuracy=accuracy),
            )
        )


def _evaluate(model: Model, batches: Iterable[Batch]) -> tuple[float, float]:
    """Return mean loss and accuracy over the batches."""
    import numpy as np

    scores = [score(model.predict(model.stage(batch)), batch.targets) for batch in batches]
    losses, hits = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    return float(losses.mean()), float(hits.mean())
