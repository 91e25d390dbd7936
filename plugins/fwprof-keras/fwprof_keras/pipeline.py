"""The data pipeline as a keras user writes it: a PyDataset whose items are NumPy batches.

`Model.fit` draws from a PyDataset through keras's adapter; here the same adapter is iterated, and
each batch put on the device as the backend does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from fwprof.plugin import Batch, PipelineData, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwprof_keras.backends import Staged


class SamplesDataset(keras.utils.PyDataset):  # type: ignore[misc]  # untyped in keras
    """Batches of the samples, in an order of its own each epoch.

    Args:
        data: the samples, and how they become batches.
        has_processes: whether its workers are processes and not threads.
    """

    def __init__(self, data: PipelineData, *, has_processes: bool) -> None:
        asked = data.pipeline
        super().__init__(
            workers=max(1, asked.workers),
            use_multiprocessing=has_processes and asked.workers > 0,
            max_queue_size=asked.prefetch,
        )
        self._samples = Samples(data)
        self._epoch = 0
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        batch = self._samples.batch(self._order[index], self._epoch)
        return batch.inputs, batch.targets

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._epoch += 1
        self._order = self._samples.epoch(self._epoch)


class DatasetPipeline:
    """Epochs of a PyDataset, drawn as `Model.fit` draws them.

    Args:
        data: the samples, and how they become batches.
        has_processes: whether its workers are processes and not threads.
        send: begins to copy a batch to the device, and waits for nothing.
    """

    def __init__(self, data: PipelineData, *, has_processes: bool, send: Callable[[Batch], Staged]) -> None:
        self._dataset = SamplesDataset(data, has_processes=has_processes)
        self._send = send
        # Of threads keras starts two or more: with one it makes batches where it trains.
        count, kind = data.pipeline.workers, "processes" if has_processes else "threads"
        is_beside = count > 1 or (count == 1 and has_processes)
        self.basis = f"PyDataset, {count} {kind}" if is_beside else "PyDataset, no workers"

    def __iter__(self) -> Iterator[Staged]:
        # One for each epoch: what workers made ahead of an epoch that was left would begin the next.
        adapter = PyDatasetAdapter(self._dataset, shuffle=False)
        adapter.on_epoch_begin()
        try:
            for inputs, targets in adapter.get_numpy_iterator():
                yield self._send(Batch(inputs, targets))
        finally:
            adapter.on_epoch_end()

    def close(self) -> None:
        """Do nothing: workers end with their epoch."""
