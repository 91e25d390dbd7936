"""What the core and plugins expect of each other at run time: the Protocols.

Plugins return objects with these methods; they need not inherit from anything. Everything here
lives inside one worker process. Shapes leave out nothing: `(batch, …)` is written where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fwprof.records import CheckpointPart, Description, Pipeline, ResolvedLayer, Scalar, Workload
from fwprof.records.measurement import Reading
from fwprof.records.plan import CellPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "Batch",
    "Clock",
    "DataPipeline",
    "Format",
    "Gradients",
    "LayerCase",
    "LayerPrograms",
    "LoadedWorkload",
    "Meter",
    "Model",
    "Options",
    "PipelineData",
    "Programs",
    "Result",
    "Staged",
    "Versions",
]

Staged = Any
"""A batch on the device, in the framework's own types: opaque to the core."""
Result = Any
"""What a program returned: opaque to the core."""
Versions = Mapping[str, str]
"""Package name → version, of what a framework plugin runs on."""
Gradients = Mapping[str, "Array"]
"""Canonical parameter name → gradient, in the canonical layout."""


@dataclass(frozen=True)
class Batch:
    """One batch of a neutral workload, on the host.

    Args:
        inputs: `(batch, *input.shape)`, float32 or int64 as the workload says.
        targets: `(batch,)` int64 class labels; for binary cross-entropy `(batch, classes)` float32.
    """

    inputs: Array
    targets: Array


@dataclass(frozen=True)
class LoadedWorkload:
    """A workload with its numbers loaded: what `build_model` builds from.

    For the user's own model `native` holds what the factory returned (docs/reference/native.md)
    and `spec` is None; else `native` is None.

    Args:
        spec: the neutral workload.
        layers: its layers with shapes and parameter names, `repeat` already expanded.
        weights: canonical parameter name → float32 array in canonical layout.
        batches: the batches that are cycled while timing (8 of them); of a native model, the
            first 8 items of its own `batches`, as they came.
        native: what the user's factory returned.
    """

    name: str
    spec: Workload | None = None
    layers: tuple[ResolvedLayer, ...] = ()
    weights: Mapping[str, Array] = field(default_factory=dict)
    batches: Sequence[Any] = ()
    native: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PipelineData:
    """The training samples that a data pipeline reads: files, since its workers map them themselves.

    A worker process that was handed an array would hold a copy of all samples; this can be pickled.

    Args:
        inputs: `.npy` file of `(samples, *stored shape)`, float32 or int64.
        targets: `.npy` file of `(samples, …)`, as a `Batch` has them.
        batch_size: samples in a batch; what is left over at the end of an epoch is dropped.
        pipeline: workers, order and transforms; it fits the samples and the workload's input.
        seed: of order and transforms.
    """

    inputs: Path
    targets: Path
    batch_size: int
    pipeline: Pipeline
    seed: int = 0

    def open(self) -> tuple[Array, Array]:
        """Return inputs and targets as read-only arrays, memory-mapped by the calling process."""
        import numpy as np

        # Plain arrays: frameworks do not know the subclass of a memory-mapped one.
        mapped = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (self.inputs, self.targets))
        inputs, targets = (np.asarray(array) for array in mapped)
        return inputs, targets


class DataPipeline(Protocol):
    """Optional, returned by a model's `pipeline(data)`: the framework's own way to make batches.

    Each `iter()` is one epoch of staged batches. An epoch may be left before its end, and the next
    one begins at its own first batch all the same. `basis` says in a few words what it is made of.
    """

    @property
    def basis(self) -> str:
        """Return what it is made of, in a few words: `DataLoader, 2 workers (fork)`."""
        ...

    def __iter__(self) -> Iterator[Staged]:
        """Begin an epoch: staged batches, each with its copy to the device at least begun."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


@dataclass(frozen=True)
class Options:
    """What `build_model` may need besides the workload.

    Args:
        cell: the plan of the cell: variant, options, threads, precision, settings preset, seed.
        cache: empty folder of this worker's own, for what the framework caches on disk.
    """

    cell: CellPlan
    cache: Path


@dataclass(frozen=True)
class Format:
    """One way of a framework to write checkpoints: an entry of a model's optional `formats()`.

    Args:
        holds: what `restore` brings back, and nothing that it does not.
        save: write a checkpoint. Takes a path without an ending in an empty folder; may add the
            ending that the framework wants, and write several files.
        restore: read what `save` wrote at the same path into the built model, and return once it
            is on the device. Raises nothing that was not wrong.
        note: what a user should know of it, in a line; e.g. that a part is written and not read back.

    Raises:
        UnsupportedError: by `save`, where this cell's mode has no such format; says why.
    """

    holds: tuple[CheckpointPart, ...]
    save: Callable[[Path], None]
    restore: Callable[[Path], None]
    note: str = ""


@dataclass(frozen=True)
class LayerCase:
    """One layer of a neutral workload to be run alone, and what goes into it, in canonical layout.

    Args:
        layer: one of the workload's own layers, a block with all that is inside.
        inputs: `(batch, *layer.input_shape)`, float32 or int64; a float of the first layer aside, the
            plugin turns it into the type that flows there.
        upstream: `(batch, *layer.output_shape)`, float32: the gradient of the loss by the outputs.
        has_input_gradient: whether G computes the gradient by the inputs too, as it does in a step
            where something before the layer is trained.
    """

    layer: ResolvedLayer
    inputs: Array
    upstream: Array
    has_input_gradient: bool


class LayerPrograms(Protocol):
    """Optional, returned by a model's `open_layer(case)`: F and G of one layer alone.

    What they need of the case is on the device before the first call. They leave parameters as they
    were; they may change statistics and random state. A result stays valid until the next call.
    """

    def forward(self) -> Result:
        """F: the outputs, in training mode, with what a backward pass needs where the step keeps it."""
        ...

    def forward_backward(self) -> Result:
        """G: the outputs, and the gradients by the layer's trained parameters and, if asked, its inputs.

        Called only where there is something to compute a gradient by.
        """
        ...

    def wait(self, result: Result) -> None:
        """Return when that result is finished."""
        ...

    def read(self, result: Result) -> tuple[Array, Gradients]:
        """Return the outputs in canonical layout, and after G the canonical gradients. Never timed.

        That by the inputs is named `inputs`; after F there are none.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """Model, loss and optimizer on the device. Returned by `build_model`.

    It may also have `formats()`, which returns name → `Format`: the ways in which users of the
    framework write checkpoints. Names are of a-z, 0-9 and _. Without it `save` and `restore` are
    the only one, called `default`.

    And `pipeline(data)`, which takes a `PipelineData` and returns a `DataPipeline`: batches
    as a good user of the framework makes them. Without it the core slices the samples and stages them.

    And, of a neutral workload, `open_layer(case)`, which takes a `LayerCase` and returns the
    `LayerPrograms` of that layer alone: with the parameters of the model, executed and in the precision
    as the model is. It raises `UnsupportedError` where that cannot be. With it `fused_by`, a string:
    the name of what compiles the layers of a program together; without it nothing does.
    """

    def stage(self, batch: Any) -> Staged:
        """Put one batch on the device and wait until it is there.

        Args:
            batch: a `Batch`; for a native model one item of its `batches`.
        """
        ...

    def parameters(self) -> Mapping[str, Array]:
        """Return copies of the trainable parameters, and of batch statistics, by canonical name."""
        ...

    def load_parameters(self, values: Mapping[str, Array]) -> None:
        """Set parameters and batch statistics from canonical arrays, in place.

        Raises:
            ValueError: a name is unknown or a shape is wrong; the message names it.
        """
        ...

    def reset(self) -> None:
        """Restore the canonical start in place: parameters, optimizer state, statistics, random state.

        Must not cause a compilation. For a native model: the state right after the build.
        """
        ...

    def predict(self, staged: Staged) -> Array:
        """Return the outputs `(batch, classes)` in inference mode, on the host, changing nothing.

        The training pass times it (`predict_time`): compile it as a user who predicts again and again
        would, and leave nothing in flight.
        """
        ...

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from the framework, never what was asked."""
        ...

    def describe(self) -> Description:
        """Return mode, backend and native device as resolved, with `settings()` and versions."""
        ...

    def compilations(self) -> int:
        """Return how many compilations or traces the framework did so far in this process."""
        ...

    def save(self, path: Path) -> None:
        """Write parameters and optimizer state in the framework's own format, the default one."""
        ...

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        ...


@runtime_checkable
class Programs(Protocol):
    """The programs that the core times. Returned by `train_step`.

    It may also have `split(staged)`, which runs S once with marks between its phases and returns
    ``{"forward": ns, "backward": ns, "optimizer": ns}``: a diagnostic beside the programs; and
    `api()`, which returns name → callable(steps): trains that many steps by a loop of the
    framework's own, over the workload's batches, and returns when they are finished. The core
    times it apart, as `api_time.<name>`.

    And `memory(staged)`, which returns name → `Reading` in bytes of what a step's memory is made of, after
    training steps were taken: `parameter_memory`, `gradient_memory`, `optimizer_memory` and
    `activation_memory` (docs/reference/memory.md), null with the reason where the framework cannot say;
    and `tensor_peak`, where no meter can read it. It may run any program, and is never timed.

    F and G leave parameters and optimizer state as they were; they may change batch statistics
    and random state. A result stays valid until the next call.
    """

    def forward(self, staged: Staged) -> Result:
        """F: model and loss in training mode; result: the loss."""
        ...

    def forward_backward(self, staged: Staged) -> Result:
        """G: clear gradients, F, every gradient; result: the loss and every gradient."""
        ...

    def run(self, staged: Staged) -> Result:
        """S: the whole training step; result: the loss, once the update is done."""
        ...

    def wait(self, result: Result) -> None:
        """Return when that result, and every update its call made, is finished."""
        ...

    def read(self, result: Result) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the canonical gradients (else None). Never timed."""
        ...

    def next_batch(self) -> Staged:
        """D: fetch one batch from the data pipeline and stage it."""
        ...


@runtime_checkable
class Meter(Protocol):
    """Reads a resource besides time. Returned by `measure`."""

    passes: Sequence[str]
    """Which passes it takes part in: any of `timing`, `memory`, `energy`."""

    def start(self) -> None:
        """Begin a window."""
        ...

    def sample(self) -> None:
        """Take one sample; called by the core at a stated rate, not in timed regions. May do nothing."""
        ...

    def stop(self) -> Mapping[str, Reading]:
        """End the window and return its readings; one that cannot be had is null with its reason."""
        ...


class Clock(Protocol):
    """The clock of the timed loop. The real one is `time.perf_counter_ns`."""

    def now_ns(self) -> int:
        """Return a monotonic time in ns."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait without using the CPU."""
        ...


class PeakKernels(Protocol):
    """Optional, returned by the hook `peak_kernels`: the framework's own matrix product and copy."""

    library: str

    def gemm(self, size: int) -> None:
        """Multiply two size × size matrices and wait for the product (2·size³ FLOP)."""
        ...

    def copy(self, size_bytes: int) -> None:
        """Copy size_bytes to another buffer and wait (2·size_bytes moved)."""
        ...
