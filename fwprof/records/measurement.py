"""Raw numbers, as they were measured. Means and intervals are derived elsewhere, never stored."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record, Scalar
from fwprof.records.request import StageName

ProgramName = Literal["forward", "forward_backward", "run", "pipelined", "next_batch"]
"""The timed programs F, G, S, P, D."""

Fate = Literal[
    "ok", "failed", "timeout", "out_of_memory", "killed", "unsupported", "skipped", "interrupted", "invalid"
]


class HostCounters(Record, frozen=True, kw_only=True):
    """What the host did while a block ran, lead-in included. None: not readable here."""

    window_ns: int
    cpu_ns: int | None = None
    """CPU time of the worker's process."""
    run_delay_ns: int | None = None
    """Time its threads were runnable and waited for a core."""
    involuntary_switches: int | None = None
    minor_faults: int | None = None
    """Pages that the kernel had to map: an allocator that gives memory back pays for it each step."""
    steal_ns: int | None = None
    """Time the hypervisor ran something else; whole machine."""
    pressure_ns: int | None = None
    """Time some task of the machine waited for a core (PSI `some`)."""
    other_cpu_ns: int | None = None
    """CPU time used by processes outside the run; whole machine."""


class Block(Record, frozen=True, kw_only=True):
    """The steps of one program timed in one go."""

    round: int
    """Counted from 0; warm-up blocks count apart."""
    order: int
    """Position within the round."""
    program: ProgramName
    start_ns: int
    """On the host's monotonic clock: comparable between workers of one machine and boot."""
    step_ns: tuple[int, ...]
    """One value a step; for `pipelined` one value for `steps_per_value` steps."""
    steps_per_value: int = 1
    lead_in_count: int = 0
    compilations: int = 0
    """Compilations that the framework did during the block."""
    loss: float | None = None
    """Loss of the last step (program S)."""
    counters: HostCounters | None = None


class Reading(Record, frozen=True, kw_only=True):
    """One number of a meter. `value` None: not measured, and `reason` says why."""

    value: float | int | None
    unit: str
    reason: str = ""
    basis: str = ""
    """What exactly was counted, where that differs between sources."""
    samples: tuple[tuple[int, float], ...] = ()
    """(ns since the pass began, value), where it was sampled."""


class LibraryLimits(Record, frozen=True, kw_only=True):
    """The best matrix product and the best copy of one library, with the threads and format of a cell."""

    library: str
    readings: dict[str, Reading]
    """`best_gemm` (FLOP/s) and `best_copy` (bytes/s); `basis` says of which size."""
    run: str = ""
    """The earlier run that measured them; empty: this one."""


class Startup(Record, frozen=True, kw_only=True):
    """How long it took until the first results, with cold caches unless labelled."""

    import_ns: int
    build_ns: int
    first_step_ns: int
    second_step_ns: int
    compilations: int = 0
    """Compilations or traces during the two steps."""


class Description(Record, frozen=True, kw_only=True):
    """What only the framework can say, read back after the model was built."""

    mode: str
    backend: str | None = None
    native_device: str
    settings: dict[str, Scalar]
    """In force, read back: never an echo of what was asked."""
    versions: dict[str, str]
    parameter_count: int
    batch_size: int
    labels: tuple[str, ...] = ()
    notable: tuple[str, ...] = ()
    """Settings that a reader wants to see first; empty: all of them."""
    verified_with: tuple[str, ...] = ()
    """Of a cell that is verified: how its program differs from the timed one, in words."""


class Check(Record, frozen=True, kw_only=True):
    """One guard against a wrong answer."""

    name: str
    passed: bool
    detail: str = ""


class Failure(Record, frozen=True, kw_only=True):
    """Why a cell has no result, or only part of one."""

    fate: Fate
    stage: StageName
    plugin: str = ""
    """Whose code it was, as `distribution version`, where that is known."""
    message: str
    next: str = ""
    traceback: str = ""
    same_as: str = ""
    """Of a cell that was skipped: the cell that was measured in its place."""


class TrainingPoint(Record, frozen=True, kw_only=True):
    """One epoch of the training pass on one split (docs/reference/protocol.md, Training).

    Scores are shares, 1 = all; None where the loss has none (a regression) or nothing defines them.
    """

    epoch: int
    """Counted from 1."""
    split: Literal["train", "validation"]
    loss: float
    """`train`: mean over the epoch's steps, as they were taken; `validation`: after the epoch."""
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    seed: int = 0
    """Of weights, order of batches and dropout."""
    first_loss: float | None = None
    """`train`: the loss of the epoch's first step, before its update."""


class EpochTimes(Record, frozen=True, kw_only=True):
    """How long one epoch of the training pass took, on the worker's clock."""

    epoch: int
    seed: int
    train_ns: int
    """Each batch staged, stepped (program S) and waited for. Making the batch on the host, reading the
    loss and every evaluation are not in it."""
    predict_ns: tuple[int, ...]
    """Each batch of the validation split staged and predicted, until its outputs are on the host."""
    full_batch_count: int
    """How many of these batches, from the first on, are full: the last one may be smaller."""


class DataLoop(Record, frozen=True, kw_only=True):
    """Training steps through the data pipeline, one wait at the end, and as many on staged batches."""

    number: int
    """0: the warm one, with nothing beside it."""
    steps: int
    """Batches that were taken and trained on."""
    start_ns: int
    """From asking for an epoch until its first batch is there."""
    loop_ns: int
    """From asking for an epoch until the last step is finished."""
    staged_ns: int | None = None
    """As many steps on staged batches, one wait at the end; right before this loop or right after it."""


class PipelineRun(Record, frozen=True, kw_only=True):
    """The pipeline pass of one worker: loops over the data through the framework's own pipeline."""

    basis: str
    """What the pipeline is made of, in the plugin's words: read back, where it can be."""
    sample_count: int
    """Training samples in the data set."""
    data_bytes: int
    """Of their inputs and targets, as they are stored."""
    epoch_steps: int
    """Full batches in an epoch. Loops of fewer steps were cut short, and figures say what an epoch
    of them would take."""
    loops: tuple[DataLoop, ...] = ()


class Measurement(Record, frozen=True, kw_only=True):
    """One worker's timing pass: one cell (or its replica) in one session."""

    session: int
    replica: bool = False
    fate: Fate = "ok"
    failure: Failure | None = None
    startup: Startup | None = None
    warm_up: tuple[Block, ...] = ()
    blocks: tuple[Block, ...] = ()
    steady: dict[ProgramName, bool] = {}
    checks: tuple[Check, ...] = ()
    split: dict[str, tuple[int, ...]] = {}
    """Phase (forward, backward, optimizer) → ns by marks inside the step, one value a step: a
    diagnostic beside the programs, of frameworks that can mark."""
    api: dict[str, tuple[int, ...]] = {}
    """The framework's own training loop (`fit`) → ns a step, one value a call."""
    device_shared_with: tuple[str, ...] = ()
    """Processes of others that were seen on the device before the session or after it."""
