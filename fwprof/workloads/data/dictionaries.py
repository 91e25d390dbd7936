"""Passages of two satirical dictionaries as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fwprof.records import Workload
from fwprof.workloads import text
from fwprof.workloads.data.dataset import DataSet, misfit, split
from fwprof.workloads.language import first_vocabulary
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def load_dictionaries(workload: Workload, test_fraction: float, seed: int) -> DataSet:
    """Return the passages, by entry on one side of the split.

    Raises:
        RequestError: the workload does not fit them.
    """
    import numpy as np

    shape, vocabulary = workload.input.shape, first_vocabulary(workload.layers)
    is_text = len(shape) == 1 and workload.input.dtype == "int64" and vocabulary > text.FIRST_WORD
    if not is_text or workload.classes != 1 or workload.loss != "binary_cross_entropy":
        raise misfit(workload, "dictionaries need int64 input of shape [length], classes: 1 and binary loss")
    books = [text.read_book(name) for name in text.BOOKS]
    entries = [(words, label) for label, book in enumerate(books) for words in book]
    # Entry by entry: two passages of one entry share what they are about.
    parts = split(len(entries), test_fraction, generator(seed, "dictionaries split"))
    validation, train = ([entries[index] for index in part] for part in parts)
    ids = text.number_words((words for words, _ in train), vocabulary)

    def arrays(part: Sequence[tuple[Sequence[str], int]]) -> tuple[Array, Array]:
        rows = [(row, label) for words, label in part for row in text.passages(words, ids, shape[0])]
        targets = np.array([[label] for _, label in rows], np.float32)
        return np.array([row for row, _ in rows], np.int64), targets

    train_inputs, train_targets = arrays(train)
    validation_inputs, validation_targets = arrays(validation)
    return DataSet(
        name="dictionaries",
        train_inputs=train_inputs,
        train_targets=train_targets,
        validation_inputs=validation_inputs,
        validation_targets=validation_targets,
        is_synthetic=False,
    )
