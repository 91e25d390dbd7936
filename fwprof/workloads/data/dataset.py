"""Samples and labels in memory, and the order of their batches. Knows no source of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fwprof.contracts import Batch
from fwprof.errors import RequestError
from fwprof.records import Workload
from fwprof.workloads.text import PADDING
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[Any]


SORTED_TOGETHER = 8
"""Batches whose sequences are sorted by length together."""


@dataclass(frozen=True)
class DataSet:
    """Samples and labels, split for training and validation.

    Args:
        train_inputs: `(samples, *input.shape)`; float32, int64, or the uint8 of images, which take a
            quarter of the memory: batches, and files for workers, hold them as float32 from 0 to 1. So
            is `validation_inputs`.
        train_targets: `(samples,)` int64 class labels, or `(samples, classes)` float32, as the loss
            takes them; so is `validation_targets`.
        is_synthetic: made from the seed, so that its accuracy says nothing about a real task.
        is_trimmed: a batch of sequences loses the padding in front that all of it have. Training
            batches are then of sequences of about one length, as loaders that sort by length make
            them.
    """

    name: str
    train_inputs: Array
    train_targets: Array
    validation_inputs: Array
    validation_targets: Array
    is_synthetic: bool
    is_trimmed: bool = False

    def first(self, samples: int, seed: int) -> DataSet:
        """Return the first training samples of a shuffle: a larger number holds those of a smaller one.

        Raises:
            RequestError: there are not so many.
        """
        check_size(self.name, samples, len(self.train_targets))
        chosen = generator(seed, "data size").permutation(len(self.train_targets))[:samples]
        return replace(self, train_inputs=self.train_inputs[chosen], train_targets=self.train_targets[chosen])

    def batches(self, count: int, batch_size: int) -> list[Batch]:
        """Return the first `count` training batches, starting over where the samples end.

        Raises:
            RequestError: there are fewer samples than one batch holds.
        """
        import numpy as np

        self._check(batch_size)
        order = np.arange(count * batch_size) % len(self.train_targets)
        return [self._train_batch(chosen) for chosen in self._cut(order, batch_size, generator(0, "cut"))]

    def epoch(self, number: int, batch_size: int, seed: int) -> Iterator[Batch]:
        """Yield every training sample once, shuffled anew each epoch; a partial batch is dropped.

        Raises:
            RequestError: there are fewer samples than one batch holds.
        """
        self._check(batch_size)
        random = generator(seed, f"epoch {number}")
        order = random.permutation(len(self.train_targets))
        for chosen in self._cut(order, batch_size, random):
            yield self._train_batch(chosen)

    def training_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the training samples in their fixed order; the last batch may be smaller."""
        return self._in_order(self.train_inputs, self.train_targets, batch_size)

    def validation_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield the validation samples in their fixed order; the last batch may be smaller."""
        return self._in_order(self.validation_inputs, self.validation_targets, batch_size)

    def _cut(self, order: Array, batch_size: int, random: Generator) -> list[Array]:
        """Cut samples into whole batches; what is left over is dropped."""
        parts = [order[at : at + batch_size] for at in range(0, len(order) - batch_size + 1, batch_size)]
        if not self.is_trimmed:
            return parts
        cut: list[Array] = []
        for first in range(0, len(parts), SORTED_TOGETHER):
            together = parts[first : first + SORTED_TOGETHER]
            cut += self._sort_by_length(together, random)
        return cut

    def _sort_by_length(self, parts: list[Array], random: Generator) -> list[Array]:
        import numpy as np

        samples = np.concatenate(parts)
        # Padding stands in front: the longer a sequence, the earlier its first id.
        starts = (np.asarray(self.train_inputs)[samples] != PADDING).argmax(axis=1)
        samples = samples[starts.argsort(kind="stable")]
        size = len(parts[0])
        return [samples[size * number : size * (number + 1)] for number in random.permutation(len(parts))]

    def _train_batch(self, chosen: Array) -> Batch:
        import numpy as np

        # Plain arrays: a memory-mapped one would hand frameworks a subclass that they do not know.
        inputs = as_numbers(np.asarray(self.train_inputs)[chosen])
        return Batch(self._trim(inputs), np.asarray(self.train_targets)[chosen])

    def _in_order(self, inputs: Array, targets: Array, batch_size: int) -> Iterator[Batch]:
        import numpy as np

        for start in range(0, len(targets), batch_size):
            part = slice(start, start + batch_size)
            # Copies: a memory-mapped part would hand frameworks a subclass that they do not know.
            yield Batch(self._trim(as_numbers(np.array(inputs[part]))), np.array(targets[part]))

    def _trim(self, inputs: Array) -> Array:
        """Leave out the positions that are padding in all sequences of the batch."""
        import numpy as np

        if not self.is_trimmed:
            return inputs
        is_used = (inputs != PADDING).any(axis=0)
        trimmed: Array = np.ascontiguousarray(inputs[:, is_used.argmax() :])
        return trimmed

    def _check(self, batch_size: int) -> None:
        count = len(self.train_targets)
        check_batch(self.name, batch_size, count, None if self.is_synthetic else count)


def as_numbers(inputs: Array) -> Array:
    """Return what a model takes: the bytes of images as float32 from 0 to 1, everything else as it is."""
    import numpy as np

    return np.divide(inputs, 255, dtype=np.float32) if inputs.dtype == np.uint8 else inputs


def check_size(name: str, samples: int, there: int) -> None:
    """Refuse to use more training samples than there are.

    Raises:
        RequestError: there are not so many.
    """
    if samples > there:
        raise RequestError(
            f"the data set {name} has {there} training samples, not {samples}",
            cause="--data-size, or data.samples of the workload, asks for more than there are",
            next=f"choose {there} or fewer, or leave it out for all",
        )


def check_batch(name: str, batch_size: int, samples: int, there: int | None) -> None:
    """Refuse a batch that is larger than the training samples that are used.

    Args:
        name: of the data set.
        batch_size: what one step takes.
        samples: how many are used.
        there: how many could be; None: any number.

    Raises:
        RequestError: it is.
    """
    if batch_size > samples:
        raise RequestError(
            f"a batch of {batch_size} is larger than the data set {name} ({samples} samples)",
            next=f"use {batch_size} samples or more (--data-size), or a smaller batch"
            if there is None or there >= batch_size
            else "choose a smaller batch size",
        )


def held_out_count(count: int, test_fraction: float) -> int:
    """Return how many of some samples validate: never all, never none."""
    return max(1, min(count - 1, round(count * test_fraction)))


def split(count: int, test_fraction: float, random: Generator) -> tuple[Array, Array]:
    """Return the numbers held out for validation, and the others; neither is empty."""
    order = random.permutation(count)
    held_out = held_out_count(count, test_fraction)
    return order[:held_out], order[held_out:]


def check_targets(data: DataSet, workload: Workload) -> DataSet:
    """Return the data set, whose targets fit the loss and the classes of the workload.

    Raises:
        RequestError: a label is outside the classes, is neither 0 nor 1, or is not finite.
    """
    import numpy as np

    loss: str = workload.loss
    for targets in (data.train_targets, data.validation_targets):
        low, high = targets.min(), targets.max()
        if loss == "cross_entropy":
            is_right = low >= 0 and high < workload.classes
            expected = f"0 to {workload.classes - 1}"
        elif loss == "binary_cross_entropy":
            is_right = bool(((targets == 0) | (targets == 1)).all())
            expected = "0 and 1"
        else:
            is_right = bool(np.isfinite(low) and np.isfinite(high))
            expected = "finite numbers"
        if not is_right:
            raise RequestError(
                f"labels of the data set {data.name} are outside the classes of workload {workload.name}",
                cause=f"its labels lie between {low} and {high}; the loss {loss} takes {expected}",
                next="correct the labels, or classes in the workload",
            )
    return data


def misfit(workload: Workload, needs: str) -> RequestError:
    """Return the refusal of a data set that does not fit the workload."""
    name = workload.data.__struct_config__.tag
    return RequestError(
        f"workload {workload.name} does not fit the data set {name}",
        cause=f"its input is {workload.input.dtype} {workload.input.shape}, its classes are "
        f"{workload.classes}, its loss is {workload.loss}",
        next=needs,
    )
