"""Read a run back: run.json, or the plan and journals that an interrupted run left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from fwprof.codec import decode_stored, digest
from fwprof.errors import StoreError
from fwprof.records import (
    BatchSearch,
    Block,
    CellPlan,
    CellResult,
    Check,
    Checkpoint,
    Description,
    EpochTimes,
    Equivalence,
    Failure,
    LayerRun,
    MachineFacts,
    MeasuredSession,
    Measurement,
    PipelineRun,
    ProgramName,
    Reading,
    Record,
    RestoredCheckpoint,
    RunPlan,
    RunResult,
    SavedCheckpoint,
    StoredWeights,
    TrainingPoint,
    frames,
)
from fwprof.records.workload import SyntheticData
from fwprof.store.layout import (
    CELLS,
    EQUIVALENCE,
    LIMITS,
    MACHINE,
    MEMORY,
    PLAN,
    REPLICA,
    RESULT,
    SESSIONS,
    MeasuredLimits,
)

T = TypeVar("T")


def assemble(path: Path, *, duration_ns: int = 0, is_interrupted: bool = True) -> RunResult:
    """Build the result of a run from its plan and journals, complete or not.

    Raises:
        StoreError: the folder holds no readable plan.
    """
    plan = decode_stored(read_bytes(path / PLAN), RunPlan, str(path / PLAN))
    machine = decode_stored(read_bytes(path / MACHINE), MachineFacts, str(path / MACHINE))
    limits = list(read_lines(path / LIMITS, MeasuredLimits))
    return RunResult(
        plan=plan,
        machine=machine,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_ns=duration_ns,
        is_interrupted=is_interrupted,
        limits={line.key: line.readings for line in limits},
        limits_by_library={line.key: line.libraries for line in limits if line.libraries},
        sessions=tuple(read_lines(path / SESSIONS, MeasuredSession)),
        cells=tuple(
            _assemble_cell(
                path / CELLS / cell.id,
                cell,
                is_isolated=plan.is_isolated,
                sessions=plan.schedule.sessions,
            )
            for cell in plan.cells()
        ),
    )


def read_lines(path: Path, type_: type[T]) -> Iterator[T]:
    """Yield the records of a journal; a last line that was cut off is left out.

    Raises:
        StoreError: another line cannot be read; names it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    lines = data.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield decode_stored(line, type_, f"{path}, line {number},")
        except StoreError:
            # A killed writer leaves such a line, and only as the last one.
            if number < len(lines):
                raise


class ReadJournal(Record, frozen=True, kw_only=True):
    """What one journal holds."""

    measurement: Measurement
    is_finished: bool = False
    """Whether its worker did all that it was asked."""
    description: Description | None = None
    readings: dict[str, Reading] = {}
    training: tuple[TrainingPoint, ...] = ()
    epoch_times: tuple[EpochTimes, ...] = ()
    saved: tuple[SavedCheckpoint, ...] = ()
    restored: tuple[RestoredCheckpoint, ...] = ()
    went_on: frames.WentOn = frames.WentOn(losses=())
    weights: StoredWeights | None = None
    pipeline: PipelineRun | None = None
    layers: LayerRun | None = None
    largest_batch: BatchSearch | None = None


def read_journal(path: Path, session: int, *, is_replica: bool = False) -> ReadJournal:
    """Read what one worker, or several in turn, reported.

    Raises:
        StoreError: a line other than the last cannot be read.
    """
    startup, description, failure = None, None, None
    warm_up: list[Block] = []
    blocks: list[Block] = []
    checks: list[Check] = []
    steady: dict[ProgramName, bool] = {}
    readings: dict[str, Reading] = {}
    split: dict[str, tuple[int, ...]] = {}
    api: dict[str, tuple[int, ...]] = {}
    training: list[TrainingPoint] = []
    epoch_times: list[EpochTimes] = []
    saved: list[SavedCheckpoint] = []
    restored: list[RestoredCheckpoint] = []
    went_on = frames.WentOn(losses=())
    weights: StoredWeights | None = None
    pipeline: PipelineRun | None = None
    layers: LayerRun | None = None
    search: BatchSearch | None = None
    shared_with: dict[str, None] = {}
    is_finished = False
    reports: Iterator[frames.Report] = read_lines(path, frames.Report)  # type: ignore[arg-type]  # a union is no type
    for report in reports:
        match report:
            case frames.Described():
                description = report.description
            case frames.Ready():
                startup = startup or report.startup
            case frames.Warm():
                warm_up += report.blocks
                steady[report.program] = report.steady and steady.get(report.program, True)
            case frames.BlockDone():
                blocks.append(report.block)
            case frames.Checked():
                checks += report.checks
            case frames.Split():
                split = report.phases
            case frames.ApiTimed():
                api = report.times
            case frames.Readings():
                readings.update(report.readings)
            case frames.EpochDone():
                training += report.points
                epoch_times += [report.times] if report.times else []
            case frames.CheckpointSaved():
                saved.append(report.checkpoint)
            case frames.WentOn():
                went_on = report
            case frames.CheckpointRestored():
                restored.append(report.checkpoint)
            case frames.WeightsSaved():
                weights = report.weights
            case frames.PipelineOpened():
                pipeline = report.run
            case frames.LoopDone() if pipeline is not None:
                pipeline = msgspec.structs.replace(pipeline, loops=(*pipeline.loops, report.loop))
            case frames.LayersOpened():
                layers = report.run
            case frames.LayersTimed() if layers is not None:
                layers = msgspec.structs.replace(layers, blocks=(*layers.blocks, *report.blocks))
            case frames.BatchTried():
                search = search or BatchSearch()
                search = msgspec.structs.replace(search, tried=(*search.tried, report.tried))
            case frames.BatchesTried() if search is not None:
                search = msgspec.structs.replace(search, ended=report.ended)
            case frames.DeviceShared():
                shared_with |= dict.fromkeys(report.processes)
            case frames.Failed():
                failure = failure or report.failure
            case frames.Finished():
                is_finished = True
            case _:
                pass
    if failure is None and not is_finished:
        failure = Failure(fate="interrupted", stage="finish", message="the run ended before this cell did")
    if failure is None and (wrong := [check for check in checks if not check.passed]):
        failure = Failure(
            fate="invalid",
            stage="check",
            message="; ".join(f"{check.name}: {check.detail}" for check in wrong),
            next="the figures are kept, and count for nothing until this is mended",
        )
    measurement = Measurement(
        session=session,
        replica=is_replica,
        fate=failure.fate if failure else "ok",
        failure=failure,
        startup=startup,
        warm_up=tuple(warm_up),
        blocks=tuple(blocks),
        steady=steady,
        checks=tuple(checks),
        split=split,
        api=api,
        device_shared_with=tuple(shared_with),
    )
    return ReadJournal(
        measurement=measurement,
        is_finished=is_finished,
        description=description,
        readings=readings,
        training=tuple(training),
        epoch_times=tuple(epoch_times),
        saved=tuple(saved),
        restored=tuple(restored),
        went_on=went_on,
        weights=weights,
        pipeline=pipeline,
        layers=layers,
        largest_batch=search,
    )


def _assemble_cell(folder: Path, cell: CellPlan, *, is_isolated: bool, sessions: int) -> CellResult:
    measurements: list[Measurement] = []
    passes: list[ReadJournal] = []
    further: list[ReadJournal] = []
    description = None
    for path in sorted(folder.glob("*.jsonl"), key=_journal_order):
        session = path.stem.removesuffix(REPLICA)
        if session.isdigit():
            read = read_journal(path, int(session), is_replica=path.stem.endswith(REPLICA))
            measurements.append(read.measurement)
        else:
            read = read_journal(path, 0)
            (further if path.stem.startswith(f"{MEMORY}.") else passes).append(read)
        description = description or read.description
    # A replica is a control: its failure is kept in its measurement and is not the cell's.
    own = [measurement for measurement in measurements if not measurement.replica]
    failures = [measurement.failure for measurement in own]
    failures += [read.measurement.failure for read in (*passes, *further)]
    failure = next((each for each in failures if each is not None), None)
    if failure is None and not measurements and sessions:
        failure = Failure(fate="interrupted", stage="start", message="the run ended before this cell began")
    equivalence = read_equivalence(folder / EQUIVALENCE)
    labels = [] if is_isolated else ["in_process"]
    if cell.workload.spec is not None and isinstance(cell.workload.spec.data, SyntheticData):
        labels.append("synthetic_data")
    if failure is not None and any(measurement.blocks for measurement in own):
        labels.append("incomplete")
    return CellResult(
        id=cell.id,
        digest=digest(cell, description) if description else None,
        fate=failure.fate if failure else "ok",
        failure=failure,
        description=description,
        measurements=tuple(measurements),
        readings={name: reading for read in passes for name, reading in read.readings.items()},
        further_readings=tuple(read.readings for read in further),
        training=tuple(point for read in passes for point in read.training),
        epoch_times=tuple(times for read in passes for times in read.epoch_times),
        checkpoints=_pair_checkpoints(passes),
        weights=next((read.weights for read in passes if read.weights), None),
        pipeline=next((read.pipeline for read in passes if read.pipeline is not None), None),
        layers=next((read.layers for read in passes if read.layers is not None), None),
        largest_batch=next((read.largest_batch for read in passes if read.largest_batch), None),
        equivalence=equivalence,
        labels=tuple(labels),
    )


def _pair_checkpoints(passes: Sequence[ReadJournal]) -> tuple[Checkpoint, ...]:
    """Put what the two processes said of a format side by side."""
    restored = {one.format: one for read in passes for one in read.restored}
    return tuple(
        Checkpoint(
            saved=one,
            restored=restored.get(one.format),
            losses=read.went_on.losses,
            outputs=read.went_on.outputs,
        )
        for read in passes
        for one in read.saved
    )


def read_equivalence(path: Path) -> Equivalence:
    """Read what came of verifying a cell; `not_checked` where nothing was stored.

    Raises:
        StoreError: it cannot be read.
    """
    if not path.exists():
        return Equivalence()
    return decode_stored(read_bytes(path), Equivalence, str(path))


def _journal_order(path: Path) -> tuple[int, int, str]:
    session = path.stem.removesuffix(REPLICA)
    if session.isdigit():
        return (0, int(session), path.stem)
    name, _, process = path.stem.partition(".")
    return (1, int(process) if process.isdigit() else 0, name)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a stored file.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"cannot read {path}",
            cause=error.strerror or str(error),
            next="fwprof runs    lists the runs that are here",
        ) from error


class _Head(msgspec.Struct):
    """What of run.json says whether it is whole; the rest is not decoded."""

    is_interrupted: bool = False


def has_been_interrupted(folder: Path) -> bool:
    """Whether a run ended before everything was measured; True where it has no run.json.

    Raises:
        StoreError: run.json cannot be read.
    """
    path = folder / RESULT
    return not path.exists() or decode_stored(read_bytes(path), _Head, str(path)).is_interrupted


def load_run(path: Path) -> RunResult:
    """Read one run: its run.json, or what an interrupted run left behind.

    Args:
        path: a run's folder, or its run.json.

    Raises:
        StoreError: nothing readable is there, or run.json was changed after it was written.
    """
    folder = path.parent if path.name == RESULT else path
    if not (folder / RESULT).exists():
        if path.name == RESULT or not (folder / PLAN).exists():
            raise StoreError(
                f"there is no run in {folder}",
                cause=f"neither {RESULT} nor {PLAN} is there",
                next="fwprof runs    lists the runs that are here",
            )
        return assemble(folder)
    data = read_bytes(folder / RESULT)
    checksum = folder / f"{RESULT}.sha256"
    if checksum.exists() and read_bytes(checksum).split()[:1] != [hashlib.sha256(data).hexdigest().encode()]:
        raise StoreError(
            f"{folder / RESULT} was changed after it was written",
            cause=f"its checksum is not the one in {checksum.name}",
            next="restore it, or delete both files: fwprof then rebuilds the run from its journals",
        )
    return decode_stored(data, RunResult, str(folder / RESULT))
