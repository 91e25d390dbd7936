"""The data pipeline of a jax user: NumPy batches, made ahead by threads, and `jax.device_put`.

jax brings no loader of its own, and forbids to fork a process that it runs in; NumPy does most of its
work outside of Python's lock. A loader of another framework would be that framework's to measure.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax

from fwprof.plugin import Batch, PipelineData, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwprof.plugin import Staged


class ThreadPipeline:
    """Epochs of batches that threads make ahead, in order.

    Args:
        data: the samples, and how they become batches.
        convert: returns a batch as the pytree that the loss takes, on the host.
        device: where batches go; nothing waits for the copy.
    """

    def __init__(self, data: PipelineData, convert: Callable[[Batch], Any], device: jax.Device) -> None:
        self._samples = Samples(data)
        self._asked = data.pipeline
        self._convert = convert
        self._device = device
        self._epoch = 0
        count = self._asked.workers
        self._pool = ThreadPoolExecutor(count, "fwprof-data") if count else None
        self.basis = f"NumPy, {count} thread{'s' if count > 1 else ''}" if count else "NumPy, no workers"

    def __iter__(self) -> Iterator[Staged]:
        self._epoch += 1
        for batch in self._batches(self._epoch):
            yield jax.device_put(self._convert(batch), self._device)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        order, samples = iter(self._samples.epoch(epoch)), self._samples
        if self._pool is None:
            yield from (samples.batch(chosen, epoch) for chosen in order)
            return
        ahead: deque[Future[Batch]] = deque()
        try:
            for chosen in order:
                ahead.append(self._pool.submit(samples.batch, chosen, epoch))
                if len(ahead) == self._asked.prefetch:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            # Of an epoch that was left: nothing may run beside what comes next.
            for future in ahead:
                future.cancel()
