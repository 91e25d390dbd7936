"""What launcher and worker say to each other: one JSON object a frame, checked by type.

Orders go to the worker, reports come back. A worker serves one order at a time.
"""

from __future__ import annotations

import msgspec

from fwprof.records.base import OrderBase as OrderBase
from fwprof.records.base import ReportBase, Scalar
from fwprof.records.batches import TriedBatch
from fwprof.records.checkpoint import RestoredCheckpoint, SavedCheckpoint, StoredWeights
from fwprof.records.conformance import CheckOutcome
from fwprof.records.layer_times import LayersOpened as LayersOpened
from fwprof.records.layer_times import LayersTimed as LayersTimed
from fwprof.records.layer_times import MeasureLayers as MeasureLayers
from fwprof.records.measurement import (
    Block,
    Check,
    DataLoop,
    Description,
    EpochTimes,
    Failure,
    LibraryLimits,
    PipelineRun,
    ProgramName,
    Reading,
    Startup,
    TrainingPoint,
)
from fwprof.records.plan import CellPlan, Device, PluginRef, Schedule
from fwprof.records.request import StageName


class Open(OrderBase, frozen=True, kw_only=True, tag="open"):
    """First order of a cell's worker: import, build and take the first steps."""

    cell: CellPlan
    schedule: Schedule
    inputs: str
    """Folder with the workload's weights and batches as .npy files; empty for a native model."""
    cache: str
    """Empty folder of this worker's own, for what the framework caches on disk."""
    passes: tuple[str, ...] = ("timing",)
    """Which meters take part."""


class WarmUp(OrderBase, frozen=True, kw_only=True, tag="warm_up"):
    """Run one program until it is steady, within `cap_ns`."""

    program: ProgramName
    cap_ns: int


class RunBlock(OrderBase, frozen=True, kw_only=True, tag="run_block"):
    """Lead in, then time one block. `reset` first restores the canonical start, untimed."""

    round: int
    order: int
    program: ProgramName
    reset: bool = False


class CheckAnswers(OrderBase, frozen=True, kw_only=True, tag="check_answers"):
    """After the last round: guard against wrong answers."""


class Verify(OrderBase, frozen=True, kw_only=True, tag="verify"):
    """Only order of a worker that verifies: build, and write what the model answers to a folder."""

    cell: CellPlan
    inputs: str
    cache: str
    destination: str
    rounding: float = 0.0


class TakeReadings(OrderBase, frozen=True, kw_only=True, tag="take_readings"):
    """Run program S for `seconds` with the meters of `pass_name` on."""

    pass_name: str
    seconds: float
    rate_hz: float
    by_category: bool = False
    """Afterwards also what the memory is made of, for which the framework may run further programs."""


class Train(OrderBase, frozen=True, kw_only=True, tag="train"):
    """Train on the whole data set, one report an epoch."""

    epochs: int


class SaveCheckpoints(OrderBase, frozen=True, kw_only=True, tag="save_checkpoints"):
    """Train some steps, save a checkpoint in each format, and take the next steps."""

    folder: str
    """An empty one, which keeps one checkpoint a format."""


class RestoreCheckpoints(OrderBase, frozen=True, kw_only=True, tag="restore_checkpoints"):
    """In a fresh process: restore each of these formats, and take the next steps."""

    folder: str
    formats: tuple[str, ...]


class SaveWeights(OrderBase, frozen=True, kw_only=True, tag="save_weights"):
    """Write the parameters as they stand to an .npz file, by canonical name."""

    path: str
    stored_as: str
    """Its path within the run's folder."""
    trained: str
    """How long they were trained, in words."""


CheckpointOrder = SaveCheckpoints | RestoreCheckpoints | SaveWeights


class RunPipeline(OrderBase, frozen=True, kw_only=True, tag="run_pipeline"):
    """Train through the framework's own data pipeline, one report a loop, for about `seconds`."""

    seconds: float
    rate_hz: float
    """How often memory is looked at, in loops that are not timed."""


class MeasureLimits(OrderBase, frozen=True, kw_only=True, tag="measure_limits"):
    """Time the largest matrix products and copies of the machine, for `seconds`."""

    cell: CellPlan
    seconds: float
    cache: str


class ListDevices(OrderBase, frozen=True, kw_only=True, tag="list_devices"):
    """Ask one device plugin what it finds (a probe child)."""

    plugin: PluginRef


class Export(OrderBase, frozen=True, kw_only=True, tag="export"):
    """Let one exporter write one stored run."""

    plugin: PluginRef
    run: str
    destination: str


class OpenChecks(OrderBase, frozen=True, kw_only=True, tag="open_checks"):
    """First order of a child that checks one plugin: say which checks there are."""

    plugin: PluginRef
    device: Device
    folder: str
    """An empty one, for what is written."""
    variant: str | None = None
    options: dict[str, Scalar] = {}


class RunCheck(OrderBase, frozen=True, kw_only=True, tag="run_check"):
    """Run one check."""

    check: str


class Finish(OrderBase, frozen=True, kw_only=True, tag="finish"):
    """Leave."""


Order = (
    Open
    | WarmUp
    | RunBlock
    | CheckAnswers
    | Verify
    | TakeReadings
    | Train
    | SaveCheckpoints
    | RestoreCheckpoints
    | SaveWeights
    | RunPipeline
    | MeasureLayers
    | MeasureLimits
    | ListDevices
    | Export
    | OpenChecks
    | RunCheck
    | Finish
)


class Entered(ReportBase, frozen=True, kw_only=True, tag="entered"):
    """The worker begins a stage: what is blamed if nothing more is heard, and whose limit runs."""

    stage: StageName


class Described(ReportBase, frozen=True, kw_only=True, tag="described"):
    """What the framework says of itself, once the model is built."""

    description: Description


class Ready(ReportBase, frozen=True, kw_only=True, tag="ready"):
    """Built, and the first steps taken."""

    startup: Startup


class Warm(ReportBase, frozen=True, kw_only=True, tag="warm"):
    """One program is warm, or its cap ended (`steady` false)."""

    program: ProgramName
    blocks: tuple[Block, ...]
    steady: bool


class BlockDone(ReportBase, frozen=True, kw_only=True, tag="block_done"):
    """One block is measured."""

    block: Block


class Checked(ReportBase, frozen=True, kw_only=True, tag="checked"):
    """The guards and what they found."""

    checks: tuple[Check, ...]


class Answered(ReportBase, frozen=True, kw_only=True, tag="answered"):
    """The answers are in the folder that the order named."""


class Split(ReportBase, frozen=True, kw_only=True, tag="split"):
    """The phases of some steps by direct marks."""

    phases: dict[str, tuple[int, ...]]


class ApiTimed(ReportBase, frozen=True, kw_only=True, tag="api_timed"):
    """What the framework's own training loops cost: name → ns a step, one value a call."""

    times: dict[str, tuple[int, ...]]


class Readings(ReportBase, frozen=True, kw_only=True, tag="readings"):
    """What the meters read in one pass."""

    pass_name: str
    readings: dict[str, Reading]


class EpochDone(ReportBase, frozen=True, kw_only=True, tag="epoch_done"):
    """One epoch of the training pass."""

    points: tuple[TrainingPoint, ...]
    times: EpochTimes | None = None


class CheckpointSaved(ReportBase, frozen=True, kw_only=True, tag="checkpoint_saved"):
    """One format was saved, or not."""

    checkpoint: SavedCheckpoint


class WentOn(ReportBase, frozen=True, kw_only=True, tag="went_on"):
    """All formats were saved, and training went on."""

    losses: tuple[float, ...]
    outputs: tuple[float, ...] = ()
    """The first ones in inference mode, at the moment of saving."""


class CheckpointRestored(ReportBase, frozen=True, kw_only=True, tag="checkpoint_restored"):
    """One format was restored, or not."""

    checkpoint: RestoredCheckpoint


class WeightsSaved(ReportBase, frozen=True, kw_only=True, tag="weights_saved"):
    """The parameters are in their file."""

    weights: StoredWeights


class PipelineOpened(ReportBase, frozen=True, kw_only=True, tag="pipeline_opened"):
    """The data pipeline is there; its loops follow."""

    run: PipelineRun


class LoopDone(ReportBase, frozen=True, kw_only=True, tag="loop_done"):
    """One loop through the data pipeline."""

    loop: DataLoop


class BatchTried(ReportBase, frozen=True, kw_only=True, tag="batch_tried"):
    """One batch size was tried; kept by the launcher, which starts a process for each."""

    tried: TriedBatch


class BatchesTried(ReportBase, frozen=True, kw_only=True, tag="batches_tried"):
    """The search for the largest batch is over."""

    ended: str
    """Why no larger one was tried; empty: one was too large."""


class DeviceShared(ReportBase, frozen=True, kw_only=True, tag="device_shared"):
    """Others computed on the device before the session or after it; kept by the launcher."""

    processes: tuple[str, ...]


class LimitsMeasured(ReportBase, frozen=True, kw_only=True, tag="limits_measured"):
    """The best matrix product and copy of each library."""

    libraries: tuple[LibraryLimits, ...]


class DevicesListed(ReportBase, frozen=True, kw_only=True, tag="devices_listed"):
    """What a device plugin found."""

    devices: tuple[Device, ...]


class Exported(ReportBase, frozen=True, kw_only=True, tag="exported"):
    """What an exporter wrote."""

    paths: tuple[str, ...]


class ChecksListed(ReportBase, frozen=True, kw_only=True, tag="checks_listed"):
    """The names of a plugin's checks, in order."""

    checks: tuple[str, ...]


class CheckDone(ReportBase, frozen=True, kw_only=True, tag="check_done"):
    """What one check found."""

    outcome: CheckOutcome


class Failed(ReportBase, frozen=True, kw_only=True, tag="failed"):
    """The last thing a worker says when something raised."""

    failure: Failure
    error: str = ""
    """Name of the exception's class."""
    refusal: tuple[str, ...] = ()
    """What, cause, kept and next of a FwprofError; empty: somebody else's exception."""


class Finished(ReportBase, frozen=True, kw_only=True, tag="finished"):
    """The order is done and has nothing else to say."""

    facts: dict[str, Scalar] = {}


Report = (
    Entered
    | Described
    | Ready
    | Warm
    | BlockDone
    | Checked
    | Answered
    | Split
    | ApiTimed
    | Readings
    | EpochDone
    | CheckpointSaved
    | WentOn
    | CheckpointRestored
    | WeightsSaved
    | PipelineOpened
    | LoopDone
    | LayersOpened
    | LayersTimed
    | BatchTried
    | BatchesTried
    | DeviceShared
    | LimitsMeasured
    | DevicesListed
    | Exported
    | ChecksListed
    | CheckDone
    | Failed
    | Finished
)

order_decoder: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
report_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
