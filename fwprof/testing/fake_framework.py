"""An honest small framework: NumPy, in canonical layout, with phases of known length.

Owns the hooks, options and settings of the framework that tests use as `fake`. The mathematics
is `numpy_network`, time is `clock`, misbehaviour on request is `faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fwprof.errors import UnsupportedError
from fwprof.plugin import (
    Batch,
    CellPlan,
    DataPipeline,
    Description,
    Device,
    Format,
    Gradients,
    LayerCase,
    LayerPrograms,
    LoadedWorkload,
    Meter,
    Model,
    Options,
    PeakKernels,
    PipelineData,
    Programs,
    Reading,
    Versions,
    hookimpl,
)
from fwprof.records import Record, Scalar, StageName
from fwprof.testing import faults
from fwprof.testing.clock import FakeClock, Phases
from fwprof.testing.fake_formats import formats_of, restore_state, save_state
from fwprof.testing.fake_kernels import FakeKernels
from fwprof.testing.fake_layers import FakeLayer
from fwprof.testing.fake_memory import FirstStep, read_memory
from fwprof.testing.fake_meter import CountingMeter
from fwprof.testing.fake_pipeline import FakePipeline
from fwprof.testing.fake_runtime import runtime
from fwprof.testing.native_network import make_native_workload
from fwprof.testing.numpy_network import Network, Update, without_dropout

if TYPE_CHECKING:
    from fwprof.testing.numpy_network import Array

NAME = "fake"
VARIANTS = ("eager", "graph")
"""`graph` counts one compilation for each program and batch shape, and may take time for it."""


class FakeOptions(Record, frozen=True, kw_only=True):
    """What `--plugin fake,key=value` understands. Lengths are microseconds, 0 as it comes."""

    forward_us: float = 0
    backward_us: float = 0
    update_us: float = 0
    data_us: float = 0
    compile_us: float = 0
    loop_us: float | None = None
    """What its own training loop `fit` adds to each step; None: it has no loop."""
    hold_bytes: int = 0
    """Memory that the model takes besides its values."""
    first_step_bytes: int = 0
    """Memory that the first step takes and gives back."""
    slow: float = 1.0
    """Factor on every phase."""
    jitter: float = 0.0
    """Standard deviation of the logarithm of each phase's length."""
    jitter_seed: int | None = None
    fault: faults.FaultName | None = None
    stage: StageName | None = None
    """Where the fault strikes; None: for lasting faults everywhere, else in `block`."""
    after: int = 0
    """Orders of that stage that pass before the fault strikes; in `train`, which is one order, steps."""
    size: int = 0
    """Bytes, for the faults that print or leak; 0: their default."""
    pid_file: str = ""
    """Where the fault `orphan` writes the process id of the child it leaves."""


@dataclass
class Outcome:
    """What a program returned."""

    loss: float
    gradients: dict[str, Array] | None = None


class FakeModel:
    """The model, loss and optimizer of one cell."""

    network_class = Network

    def __init__(self, workload: LoadedWorkload, device: Device, options: Options, phases: Phases) -> None:
        if workload.native is not None:
            workload = make_native_workload(workload)
        if workload.spec is None:
            raise UnsupportedError(f"workload {workload.name} has neither a spec nor a native model")
        self.cell = options.cell
        self.phases = phases
        self.workload = workload
        self.spec = workload.spec
        self.native_device = device.native.get(NAME, "host")
        self.dtype = np.dtype(self.cell.precision)
        self.initial = {name: np.array(value, dtype=self.dtype) for name, value in workload.weights.items()}
        stack = without_dropout(workload.layers) if self.cell.is_verification else workload.layers
        values = {name: value.copy() for name, value in self.initial.items()}
        self.network = self.network_class(stack, values, self.cell.seed, self.spec.loss, self.spec.accumulate)
        self.update = Update(self.spec.optimizer)
        self.compiled: set[tuple[str, tuple[int, ...]]] = set()
        # Ones, since the kernel gives no memory for zeros that nobody wrote.
        self.held = np.ones(read_options(self.cell).hold_bytes, dtype=np.uint8)

    @property
    def variant(self) -> str:
        """The variant in force."""
        return self.cell.choice.variant or VARIANTS[0]

    def stage(self, batch: Any) -> Batch:
        """Copy one batch, so that the host's may change."""
        inputs, targets = (batch.inputs, batch.targets) if isinstance(batch, Batch) else batch
        has_labels = self.spec.loss == "cross_entropy"
        return Batch(
            np.array(inputs, dtype=np.int64 if self.spec.input.dtype == "int64" else self.dtype),
            np.array(targets, dtype=np.int64 if has_labels else self.dtype),
        )

    def pipeline(self, data: PipelineData) -> DataPipeline:
        """Return slices of the samples."""
        return FakePipeline(data, self.stage, self.phases)

    def parameters(self) -> Mapping[str, Array]:
        """Return copies of parameters and statistics."""
        return {name: value.copy() for name, value in self.network.values.items()}

    def load_parameters(self, values: Mapping[str, Array]) -> None:
        """Set parameters and statistics in place; all of them or, on an error, none."""
        for name, value in values.items():
            if name not in self.network.values:
                raise ValueError(f"there is no parameter {name!r}")
            if np.shape(value) != self.network.values[name].shape:
                shape = self.network.values[name].shape
                raise ValueError(f"parameter {name!r} has shape {shape}, not {np.shape(value)}")
        for name, value in values.items():
            self.network.values[name][...] = value

    def reset(self) -> None:
        """Restore weights, statistics, optimizer state and random state."""
        self.load_parameters(self.initial)
        self.update.clear()
        self.network.random = np.random.default_rng(self.cell.seed)

    def predict(self, staged: Batch) -> Array:
        """Return the logits in inference mode."""
        return self.network.outputs(staged.inputs, is_training=False)[0]

    def settings(self) -> Mapping[str, Scalar]:
        """Return the threads of the runtime and how NumPy handles a division by zero."""
        return {"threads": runtime.get_threads(), "divide": np.geterr()["divide"]}

    def describe(self) -> Description:
        """Return mode, place, settings, versions and counts."""
        return Description(
            mode=self.variant,
            native_device=self.native_device,
            settings=dict(self.settings()),
            versions={"numpy": np.__version__},
            parameter_count=sum(self.network.values[name].size for name in self.network.trainable),
            batch_size=len(self.stage(self.workload.batches[0]).inputs),
            verified_with=("float64", "no dropout") if self.dtype == np.float64 else (),
        )

    def compilations(self) -> int:
        """Return how many programs and shapes the variant `graph` has met."""
        return len(self.compiled)

    def compile_for(self, program: str, staged: Batch) -> None:
        """Compile, in the variant `graph`, a program for a shape it has not met."""
        key = (program, staged.inputs.shape)
        if self.variant == "graph" and key not in self.compiled:
            with self.phases.lasting("compile"):
                self.compiled.add(key)

    def save(self, path: Path) -> None:
        """Write one .npz file."""
        save_state(self, path)

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        restore_state(self, path)

    def open_layer(self, case: LayerCase) -> LayerPrograms:
        """Return one layer alone."""
        return FakeLayer(self, case)

    def formats(self) -> Mapping[str, Format]:
        """Return what it writes checkpoints in."""
        return formats_of(self)


class FakePrograms:
    """The timed programs of one model."""

    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self._pipeline = cycle(model.workload.batches)
        self._first_step = FirstStep(read_options(model.cell).first_step_bytes)

    def forward(self, staged: Batch) -> Outcome:
        """F: the loss in training mode."""
        self.model.compile_for("forward", staged)
        with self.model.phases.lasting("forward"):
            return Outcome(self.model.network.loss(staged.inputs, staged.targets))

    def forward_backward(self, staged: Batch) -> Outcome:
        """G: the loss and every gradient."""
        self.model.compile_for("forward_backward", staged)
        return self._differentiate(staged)

    def run(self, staged: Batch) -> Outcome:
        """S: G and the update."""
        self.model.compile_for("run", staged)
        self._first_step.take()
        outcome = self._differentiate(staged)
        with self.model.phases.lasting("update"):
            self.model.update.apply(self.model.network.values, outcome.gradients or {})
        return Outcome(outcome.loss)

    def wait(self, result: Outcome) -> None:
        """Return at once: NumPy has finished when it returns."""

    def read(self, result: Outcome) -> tuple[float, Gradients | None]:
        """Return the loss, and after G the gradients."""
        return result.loss, result.gradients

    def next_batch(self) -> Batch:
        """D: stage the next batch."""
        with self.model.phases.lasting("data"):
            return self.model.stage(next(self._pipeline))

    def api(self) -> Mapping[str, Callable[[int], None]]:
        """Return the training loop, where the option `loop_us` asks for one."""
        return {"fit": self._fit} if read_options(self.model.cell).loop_us is not None else {}

    def memory(self, staged: Batch) -> Mapping[str, Reading]:
        """Return the bytes of the arrays, by what each is for."""
        return read_memory(self.model, self.forward_backward(staged))

    def _fit(self, steps: int) -> None:
        for batch in islice(cycle(self.model.workload.batches), steps):
            with self.model.phases.lasting("loop"):
                pass
            self.run(self.model.stage(batch))

    def _differentiate(self, staged: Batch) -> Outcome:
        network, phases = self.model.network, self.model.phases
        with phases.lasting("forward"):
            loss, pull = network.loss_and_pull(staged.inputs, staged.targets)
        with phases.lasting("backward"):
            return Outcome(loss, pull())


class FakeFramework:
    """The plugin: `fwprof.testing.fake_framework:plugin` is the installed one.

    Args:
        clock: the fake clock that its programs move; None: real time.
        model_class: another model, e.g. one that does something wrong.
        programs_class: other programs.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        model_class: type[FakeModel] = FakeModel,
        programs_class: type[FakePrograms] = FakePrograms,
    ) -> None:
        self.clock = clock
        self.model_class = model_class
        self.programs_class = programs_class

    @hookimpl
    def prepare(self, plan: CellPlan) -> Versions:
        """Set the threads of the runtime."""
        faults.strike("import", read_options(plan))
        runtime.set_threads(plan.threads)
        return {"numpy": np.__version__}

    @hookimpl
    def build_model(self, workload: LoadedWorkload, device: Device, options: Options) -> Model:
        """Build the network of `workload`."""
        asked = read_options(options.cell)
        faults.strike("build", asked)
        _refuse_unsupported(options.cell)
        phases = self._make_phases(asked)
        model = self.model_class(workload, device, options, phases)
        if asked.fault is not None:
            return faults.FaultyModel(model, asked, {"threads": options.cell.threads}, phases)
        return model

    @hookimpl
    def train_step(self, model: FakeModel | faults.FaultyModel) -> Programs:
        """Return the programs, with the fault that was asked for."""
        if isinstance(model, FakeModel):
            return self.programs_class(model)
        programs = self.programs_class(model.inner)
        return faults.FaultyPrograms(programs, model, read_options(programs.model.cell))

    @hookimpl
    def measure(self, model: FakeModel | None) -> Sequence[Meter]:
        """Return a meter that reads how many values the model holds."""
        values = model.network.values.values() if model is not None else ()
        return [CountingMeter("fake.values_bytes", "bytes", sum(value.nbytes for value in values))]

    @hookimpl
    def peak_kernels(self) -> PeakKernels:
        """Return NumPy's kernels."""
        return FakeKernels()

    @hookimpl
    def is_out_of_memory(self, error: BaseException) -> bool:
        """Recognise NumPy's allocation error, a MemoryError."""
        return isinstance(error, MemoryError)

    def _make_phases(self, asked: FakeOptions) -> Phases:
        return Phases(
            {
                "forward": round(asked.forward_us * 1000),
                "backward": round(asked.backward_us * 1000),
                "update": round(asked.update_us * 1000),
                "data": round(asked.data_us * 1000),
                "compile": round(asked.compile_us * 1000),
                "loop": round((asked.loop_us or 0) * 1000),
            },
            slow=asked.slow,
            jitter=asked.jitter,
            jitter_seed=asked.jitter_seed,
            clock=self.clock,
        )


def read_options(plan: CellPlan) -> FakeOptions:
    """Return the options of a cell, checked.

    Raises:
        UnsupportedError: one is unknown, or of a wrong type; names it.
    """
    try:
        return msgspec.convert(plan.choice.options, FakeOptions, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(FakeOptions.__struct_fields__)
        raise UnsupportedError(
            f"the fake framework cannot take its options: {error}", next=f"it knows {known}"[:90]
        ) from error


def _refuse_unsupported(plan: CellPlan) -> None:
    variant = plan.choice.variant
    if variant is not None and variant not in VARIANTS:
        raise UnsupportedError(
            f"the fake framework has no variant {variant!r}", next=f"it has {' and '.join(VARIANTS)}"
        )
    if plan.precision not in ("float32", "float64"):
        raise UnsupportedError(f"the fake framework cannot compute in {plan.precision}")


faults.strike_at_start()
plugin = FakeFramework()
