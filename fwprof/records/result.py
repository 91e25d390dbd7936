"""What a run found: stored as run.json, and what is derived from it for people and tools."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record, Scalar
from fwprof.records.batches import BatchSearch
from fwprof.records.checkpoint import Checkpoint, CheckpointPart, StoredWeights
from fwprof.records.layer_times import LayerRun, LayerTable
from fwprof.records.measurement import (
    Check,
    Description,
    EpochTimes,
    Failure,
    Fate,
    LibraryLimits,
    Measurement,
    PipelineRun,
    Reading,
    TrainingPoint,
)
from fwprof.records.metric_value import MetricValue
from fwprof.records.plan import RunPlan

SCHEMA_VERSION = 1

LABELS = {
    "contended": "processes outside the run used more than 10 % of the granted CPU, or p50/p10 > 1.25",
    "shared_device": "processes of others computed on the device: before, after, or in an untimed pass",
    "unsteady": "the step time still drifted when the warm-up ended, or between the first and last third",
    "recompiled": "the framework compiled again while blocks were timed",
    "page_faults": "each step maps memory that the allocator gave back: processes differ by luck",
    "interval_wide": "the time ran out before the interval was as narrow as asked",
    "warm_cache": "compiled code came from a cache on disk: first-step figures are not cold",
    "synthetic_data": "the data is made from the seed, not real",
    "in_process": "measured inside the caller's process, without isolation",
    "above_best": "a share of the machine's best or of a datasheet's peak is above 100 %: see docs on limits",
    "slower_machine": "the machine's best product is below 80 % of what this machine gave before",
    "incomplete": "the worker ended early; the rounds before are kept",
    "checkpoint_differs": "a restored checkpoint that holds all that training moves gave other next losses",
    "checkpoint_failed": "a format of checkpoints raised while it was saved or restored",
    "resumed": "its sessions are of several runs: between them the machine may have changed",
    "not_equivalent": "does not compute the same as the reference: timed, never ranked",
    "whole_graph": "the framework compiles each program as one graph: its phases are no pieces of its step",
    "copies_inputs": "each step copies its batch from the host (feed_dict): the copy is a part of the step",
    "few_sessions": "fewer than five sessions: the interval is shown, and no verdict is given",
    "floor_unknown": "fewer than 20 stored A/A ratios: the noise floor of this machine is not known yet",
}
"""Every label a cell or a comparison may carry."""


class MachineFacts(Record, frozen=True, kw_only=True):
    """The machine a run was measured on. None: not readable here."""

    system: str
    kernel: str
    machine: str
    python: str
    processor: str
    cores: int
    """Physical cores granted to this process (affinity and cgroup quota)."""
    logical_cpus: int
    memory_bytes: int | None = None
    virtualised: str | None = None
    governor: str | None = None
    boot_id: str | None = None
    fingerprint: str
    """Hash of what makes two measurements comparable: processor, cores, memory, system."""


class TensorError(Record, frozen=True, kw_only=True):
    """How far one tensor of a cell is from the reference's: largest difference over largest value."""

    name: str
    """`outputs`, `loss`, `0.kernel`, `loss_curve`."""
    kind: Literal["outputs", "loss", "gradient", "parameter", "loss_curve"]
    """`parameter`: after 3 steps. `loss_curve`: the losses of 20 steps, shown and not judged."""
    passed: bool
    function_error: float | None = None
    """In float64, of the cell to the reference. None: missing, of another shape, or not finite."""
    precision_error: float | None = None
    """In the cell's own precision, of the cell to itself in float64. None: not compared."""
    precision_bound: float | None = None
    """What `precision_error` may be at most: 10 × the reference's own, or a floor."""


class Equivalence(Record, frozen=True, kw_only=True):
    """Whether a cell computes the same as the others of its group (docs/reference/equivalence.md)."""

    status: Literal["reference", "equivalent", "not_equivalent", "not_checked"] = "not_checked"
    max_error: float | None = None
    """Largest `function_error` of outputs, loss and gradients."""
    first_difference: str | None = None
    """The first tensor, in order of computation, that differs."""
    reason: str = ""
    """Why it was not checked."""
    reference: str | None = None
    """Id of the cell it was compared with."""
    verified_with: tuple[str, ...] = ()
    """How the verified program differs from the timed one."""
    tensors: tuple[TensorError, ...] = ()


class CellResult(Record, frozen=True, kw_only=True):
    """Everything known of one cell after the run."""

    id: str
    digest: str | None = None
    """SHA-256 of the frozen cell: two equal digests mean the same experiment."""
    fate: Fate
    failure: Failure | None = None
    description: Description | None = None
    measurements: tuple[Measurement, ...] = ()
    readings: dict[str, Reading] = {}
    """Of the untimed passes; where memory was measured in several processes, of the first."""
    further_readings: tuple[dict[str, Reading], ...] = ()
    """Of the second memory process, the third, and so on: one a session."""
    training: tuple[TrainingPoint, ...] = ()
    epoch_times: tuple[EpochTimes, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    """One a format of the framework; empty: not asked for."""
    weights: StoredWeights | None = None
    """The trained parameters, where they were to be kept."""
    pipeline: PipelineRun | None = None
    layers: LayerRun | None = None
    """Null: not asked for."""
    largest_batch: BatchSearch | None = None
    """Null: not asked for."""
    equivalence: Equivalence = Equivalence()
    labels: tuple[str, ...] = ()


class MeasuredSession(Record, frozen=True, kw_only=True):
    """One group that was measured in one session, to the end of it."""

    group: str
    session: int
    run: str
    """Id of the run that measured it: an earlier one, where this run took it over."""
    finished: str
    """UTC, ISO 8601."""


class Measured(Record, frozen=True, kw_only=True):
    """What of a plan an earlier run has measured already (docs/decisions/014-resuming.md)."""

    run: str = ""
    """Id of that run; empty: nothing is measured."""
    sessions: tuple[MeasuredSession, ...] = ()
    verified: frozenset[str] = frozenset()
    """Groups whose cells were compared."""
    skipped: frozenset[str] = frozenset()
    """Cells that were found to be another one under another preset."""
    failed: frozenset[str] = frozenset()
    """Cells whose worker failed in one of the sessions."""
    passes: dict[str, frozenset[str]] = {}
    """Cell → its passes after the timing: `memory`, `memory.1`, `training`."""
    limits: frozenset[str] = frozenset()
    """Which of the machine's limits were measured."""

    def has(self, group: str, session: int) -> bool:
        """Whether a group was measured in a session."""
        return any(each.group == group and each.session == session for each in self.sessions)

    def has_pass(self, cell: str, name: str) -> bool:
        """Whether a pass after the timing was measured of a cell."""
        return name in self.passes.get(cell, ())


class RunResult(Record, frozen=True, kw_only=True):
    """One run, as stored. Figures are derived from `cells[].measurements`."""

    schema_version: int = SCHEMA_VERSION
    plan: RunPlan
    machine: MachineFacts
    finished: str
    """UTC, ISO 8601."""
    duration_ns: int
    is_interrupted: bool = False
    limits: dict[str, dict[str, Reading]] = {}
    """Device, threads and precision (`cpu/2/float32`, `cpu/2/float32/equal`) → measured peaks (`best_gemm`,
    `best_copy`), and the best of earlier sessions on this machine (`known_gemm`, `known_copy`)."""
    limits_by_library: dict[str, tuple[LibraryLimits, ...]] = {}
    """The same keys → what each library reached."""
    sessions: tuple[MeasuredSession, ...] = ()
    """Which groups were measured in which sessions to their end, when, and by which run."""
    cells: tuple[CellResult, ...]


class TargetTime(Record, frozen=True, kw_only=True):
    """When the training of one seed first reached the target accuracy."""

    seed: int
    epoch: int | None
    """At the end of which; null: it did not."""
    duration_ns: int | None
    """The training parts of the epochs up to there (`EpochTimes.train_ns`)."""
    reason: str = ""
    """Why there is no time."""


class CheckpointSummary(Record, frozen=True, kw_only=True):
    """What one format of a cell is good for; its times and size are among the metrics."""

    format: str
    holds: tuple[CheckpointPart, ...]
    lacks: tuple[CheckpointPart, ...]
    """What training of this workload moves and the format does not hold."""
    next_losses: Literal["bit-equal", "within rounding", "differ", "not compared"]
    """Of the restored checkpoint, against the process that went on training."""
    loss_error: float | None = None
    """Largest relative difference of these losses."""
    why: str = ""
    """Why they differ, or were not compared."""
    is_sound: bool = True
    """Whether nothing is wrong: no error, and no difference that is not explained by `lacks`."""
    note: str = ""


class CellSummary(Record, frozen=True, kw_only=True):
    """One cell as `--json` prints it (docs/reference/json.md)."""

    id: str
    framework: str
    mode: str | None
    backend: str | None
    device: str
    workload: str
    data: str | None = None
    """The data set's name; None for a model of the user's own."""
    data_size: int | None = None
    """Training samples that were used."""
    batch_size: int | None
    precision: str
    settings_preset: str
    fate: Fate
    labels: tuple[str, ...]
    reason: str | None
    sessions: int
    threads: int
    environment: str
    world_size: int
    data_pipeline: str
    """Where the timed steps have their batches from; `pipeline` says what fed the loops beside them."""
    trainable: str
    bound: Literal["overhead", "compute", "memory", "data"] | None
    limits: dict[str, Reading] = {}
    """What the shares are of: `best_gemm`, `best_copy`, and `known_…` of earlier sessions on this machine."""
    slower_machine: dict[str, float] = {}
    """`best_gemm` → its share (1 = all) of the best known before, where it is below 0.8."""
    training: tuple[TrainingPoint, ...]
    """Every epoch of every seed, also of a training that ended early."""
    versions: dict[str, str]
    settings: dict[str, Scalar]
    notable: tuple[str, ...] = ()
    """Settings that a reader wants to see first; empty: all of them."""
    equivalence: Equivalence
    metrics: dict[str, MetricValue]
    checkpoints: tuple[CheckpointSummary, ...] = ()
    weights: StoredWeights | None = None
    """The trained parameters; `path` is within the run's folder."""
    checks: tuple[Check, ...] = ()
    split: dict[str, MetricValue] = {}
    """forward_time, backward_time and optimizer_time by marks inside the step: a diagnostic."""
    split_disagreement: float | None = None
    """Largest difference of a marked phase and that of the programs, as share of the step; null: no marks."""
    target_accuracy: float | None = None
    """The validation accuracy that `targets` and `time_to_accuracy` are about; null: none was set."""
    targets: tuple[TargetTime, ...] = ()
    """One a seed, in order."""
    pipeline: PipelineRun | None = None
    """The raw loops through the framework's own data pipeline; null: there was no such pass."""
    layers: LayerTable | None = None
    """Each layer alone; null: not asked for, or a model of the user's own."""
    largest_batch: BatchSearch | None = None
    """Every batch size that was tried in the memory given; null: not asked for."""


Verdict = Literal["faster", "slower", "no difference shown", "not comparable", "one process"]


class Comparison(Record, frozen=True, kw_only=True):
    """Two cells, one metric: `ratio` is b over a."""

    metric: str
    a: str
    b: str
    ratio: float | None
    ci95: tuple[float, float] | None
    noise_floor: float | None
    verdict: Verdict
    why: str
    labels: tuple[str, ...] = ()


class Crossing(Record, frozen=True, kw_only=True):
    """The number of steps from which a cell that starts later, and steps faster, pays."""

    before: str
    """The cell that is done first with fewer steps."""
    after: str
    """The cell that is done first with more."""
    steps: float
    ci95: tuple[float, float]


class Recommendation(Record, frozen=True, kw_only=True):
    """A choice with its evidence.

    Several cells where no difference was shown; none where the scenario was measured and cannot be judged.
    """

    scenario: str
    choice: tuple[str, ...]
    evidence: str
    metrics: tuple[str, ...] = ()
    """The metrics whose comparisons it rests on."""
    among: tuple[str, ...] = ()
    """The cells of the group it is made for, which were shown to do the same work."""
    crossings: tuple[Crossing, ...] = ()
    """Where the choice depends on the number of steps: where it changes, in order."""


class CurveAgreement(Record, frozen=True, kw_only=True):
    """How far the training curves of the cells of one group are apart, from the same starts.

    Only cells that trained every seed to the last epoch are in it.
    """

    cells: tuple[str, ...]
    epochs: int
    seeds: int
    measure: Literal["accuracy", "loss"]
    """Of the validation split; loss where the loss has no accuracy."""
    difference: float
    """Largest difference between two cells after the last epoch, each the mean over its seeds."""
    between: tuple[str, str]
    """These two: the lower first."""
    spread: float | None
    """Largest minus smallest value over the seeds, of that cell of the two where it is larger; null
    with one seed."""
    start_difference: float | None
    """Largest difference between two cells in the loss of the first step of the same seed, relative."""
    conclusion: str


class RunSummary(Record, frozen=True, kw_only=True):
    """What `--json` prints: derived from a RunResult by `fwprof.comparison`."""

    schema_version: int = SCHEMA_VERSION
    run: str
    path: str
    cells: tuple[CellSummary, ...]
    comparisons: tuple[Comparison, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    agreements: tuple[CurveAgreement, ...] = ()
    """One a group whose cells were trained."""
