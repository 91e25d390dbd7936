"""The data pipeline of the fake framework: plain slices, each of known length in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from fwprof.contracts import DataPipeline, Staged
from fwprof.plugin import Batch, PipelineData
from fwprof.testing.clock import Phases
from fwprof.workloads.pipelines import PlainPipeline


class FakePipeline(PlainPipeline):
    """Slices of the samples, each lasting as long as the phase `data`.

    Args:
        phases: let time pass as work does.
    """

    basis = "slices by NumPy"

    def __init__(self, data: PipelineData, stage: Callable[[Batch], Staged], phases: Phases) -> None:
        super().__init__(data, stage)
        self._phases = phases

    def __iter__(self) -> Iterator[Staged]:
        batches = super().__iter__()
        while True:
            with self._phases.lasting("data"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


class ShortenedPipeline:
    """A pipeline whose epochs end after one batch."""

    def __init__(self, inner: DataPipeline) -> None:
        self._inner = inner
        self.basis = inner.basis

    def __iter__(self) -> Iterator[Staged]:
        return islice(self._inner, 1)

    def close(self) -> None:
        """End the inner one."""
        self._inner.close()
