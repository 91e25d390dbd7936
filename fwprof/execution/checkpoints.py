"""Saves a model in mid-training in each of its formats, and restores it in another process.

Owns how many steps are taken around a checkpoint, how often each call is timed, and where the
files lie. Judges nothing: whether the next losses are the same is said by `comparison.checkpoints`.
"""

from __future__ import annotations

import gc
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from fwprof.contracts import Clock, Format, Model, Programs, Staged
from fwprof.errors import PluginContractError, UnsupportedError
from fwprof.execution.session import InvalidResultError
from fwprof.records import CheckpointPart, RestoredCheckpoint, SavedCheckpoint, StoredWeights, frames
from fwprof.workloads.weights import write_weights

STEPS = 5
"""Taken from the canonical start before a checkpoint is saved: mid-training."""
NEXT_STEPS = 5
"""Taken after it, by the process that saved and by the one that restored."""
CALLS = 5
"""Of each save and each restore; every one is kept."""
OUTPUTS = 16
"""Of a batch, kept to be compared: what a restore leaves out moves the first as it moves the last."""
DEFAULT = "default"
"""The format of a model that names none."""

_NAME = re.compile(r"[a-z0-9_]+")


def formats_of(model: Model) -> Mapping[str, Format]:
    """Return the formats of a model: those it names, else `save` and `restore` as `default`.

    Raises:
        PluginContractError: a name is not one, or what stands behind it is no `Format`.
    """
    offered: Callable[[], Mapping[str, Format]] | None = getattr(model, "formats", None)
    if offered is None:
        held: tuple[CheckpointPart, ...] = ("parameters", "optimizer")
        return {DEFAULT: Format(holds=held, save=model.save, restore=model.restore)}
    formats = offered()
    for name, one in formats.items():
        if not isinstance(one, Format) or _NAME.fullmatch(name) is None:
            raise PluginContractError(
                f"the model's formats() offers {name!r}, which is no format",
                cause=f"it is a {type(one).__name__}; a name of a-z, 0-9 and _ for a Format was expected",
            )
    return formats


def serve(
    order: frames.CheckpointOrder,
    model: Model,
    programs: Programs,
    staged: Sequence[Staged],
    clock: Clock,
    send: Callable[[frames.Report], None],
) -> None:
    """Carry out one order on checkpoints or weights, and send its reports.

    Raises:
        StoreError: the weights cannot be written.
        InvalidResultError, PluginContractError: as `save_checkpoints`.
    """
    match order:
        case frames.SaveCheckpoints(folder=folder):
            went_on = save_checkpoints(
                model,
                programs,
                staged,
                clock,
                Path(folder),
                lambda one: send(frames.CheckpointSaved(checkpoint=one)),
            )
            send(went_on)
        case frames.RestoreCheckpoints(folder=folder, formats=names):
            restore_checkpoints(
                model,
                programs,
                staged,
                clock,
                Path(folder),
                names,
                lambda one: send(frames.CheckpointRestored(checkpoint=one)),
            )
            send(frames.Finished())
        case frames.SaveWeights(path=path, stored_as=stored_as, trained=trained):
            size = write_weights(Path(path), model.parameters())
            weights = StoredWeights(path=stored_as, size_bytes=size, trained=trained)
            send(frames.WeightsSaved(weights=weights))


def save_checkpoints(
    model: Model,
    programs: Programs,
    staged: Sequence[Staged],
    clock: Clock,
    folder: Path,
    report: Callable[[SavedCheckpoint], None],
) -> frames.WentOn:
    """Train from the canonical start, save each format, go on, and return the next losses.

    Args:
        model: is reset first.
        staged: the batches, cycled.
        clock: of the calls.
        folder: an empty one; keeps the last checkpoint of each format that could be saved.
        report: told of each format at once.

    Raises:
        InvalidResultError: a loss is not a finite number.
        PluginContractError: as `formats_of`.
    """
    formats = formats_of(model)
    model.reset()
    _take_steps(programs, staged, 0, STEPS)
    outputs = _predict(model, staged)
    for name, one in formats.items():
        report(_save(name, one, clock, folder / name))
    return frames.WentOn(losses=_take_steps(programs, staged, STEPS, NEXT_STEPS), outputs=outputs)


def restore_checkpoints(
    model: Model,
    programs: Programs,
    staged: Sequence[Staged],
    clock: Clock,
    folder: Path,
    names: Sequence[str],
    report: Callable[[RestoredCheckpoint], None],
) -> None:
    """Restore each format into a model that stands elsewhere, and take the next steps.

    Args:
        model: built anew, in a process that did not save.
        staged: as they were in the process that saved.
        folder: as `save_checkpoints` left it.
        names: of the formats that were saved.
        report: told of each at once.
    """
    formats = formats_of(model)
    for name in names:
        # One step on another batch: nothing of the state is by chance what the checkpoint holds.
        model.reset()
        _take_steps(programs, staged, len(staged) - 1, 1)
        report(_restore(name, formats[name], model, programs, staged, clock, folder / name))


def _save(name: str, one: Format, clock: Clock, folder: Path) -> SavedCheckpoint:
    about = SavedCheckpoint(format=name, holds=tuple(one.holds), note=one.note)
    times: list[int] = []
    try:
        for call in range(CALLS):
            path = _path(folder, call)
            path.parent.mkdir(parents=True)
            times.append(_time(partial(one.save, path), clock))
            if call:
                shutil.rmtree(_path(folder, call - 1).parent)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    # A door: the framework's code, the plugin's, and a disk that may be full.
    except Exception as error:  # noqa: BLE001
        shutil.rmtree(folder, ignore_errors=True)
        return replace(about, reason=_said(error), is_unsupported=isinstance(error, UnsupportedError))
    return replace(about, save_ns=tuple(times), size_bytes=size)


def _restore(
    name: str,
    one: Format,
    model: Model,
    programs: Programs,
    staged: Sequence[Staged],
    clock: Clock,
    folder: Path,
) -> RestoredCheckpoint:
    path = _path(folder, CALLS - 1)
    try:
        times = tuple(_time(lambda: one.restore(path), clock) for _ in range(CALLS))
        outputs = _predict(model, staged)
        losses = _take_steps(programs, staged, STEPS, NEXT_STEPS)
    # A door, as in `_save`.
    except Exception as error:  # noqa: BLE001
        return RestoredCheckpoint(
            format=name, reason=_said(error), is_unsupported=isinstance(error, UnsupportedError)
        )
    return RestoredCheckpoint(format=name, restore_ns=times, losses=losses, outputs=outputs)


def _path(folder: Path, call: int) -> Path:
    return folder / str(call) / "model"


def _time(call: Callable[[], None], clock: Clock) -> int:
    # As in a block: collected before, not meanwhile.
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        start = clock.now_ns()
        call()
        return clock.now_ns() - start
    finally:
        if was_enabled:
            gc.enable()


def _take_steps(programs: Programs, staged: Sequence[Staged], first: int, count: int) -> tuple[float, ...]:
    losses = []
    for step in range(first, first + count):
        result = programs.run(staged[step % len(staged)])
        programs.wait(result)
        losses.append(programs.read(result)[0])
        if not math.isfinite(losses[-1]):
            raise InvalidResultError(f"the loss became {losses[-1]} in step {step + 1}")
    return tuple(losses)


def _predict(model: Model, staged: Sequence[Staged]) -> tuple[float, ...]:
    """Return the first outputs: they follow from the weights, whatever dropout draws."""
    first = model.predict(staged[0]).ravel()[:OUTPUTS].tolist()
    return tuple(float(value) for value in first if math.isfinite(value))


def _said(error: Exception) -> str:
    words = str(getattr(error, "what", error)), str(getattr(error, "cause", "") or "")
    said = " ".join(": ".join(filter(None, words)).split())[:300]
    return said if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {said}"
