"""Checkpoints in mid-training: what is saved and restored, and what is told of what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwprof.contracts import Format
from fwprof.errors import PluginContractError, StoreError, UnsupportedError
from fwprof.execution.checkpoints import (
    CALLS,
    NEXT_STEPS,
    OUTPUTS,
    formats_of,
    restore_checkpoints,
    save_checkpoints,
    serve,
)
from fwprof.execution.session import InvalidResultError, Session
from fwprof.records import RestoredCheckpoint, SavedCheckpoint, frames
from fwprof.testing.clock import FakeClock
from fwprof.testing.fake_framework import FakeModel, FakePrograms

Built = Callable[..., Session]


def batches(session: Session) -> list[Any]:
    model: Any = session.model
    return [model.stage(batch) for batch in model.workload.batches]


def save(
    session: Session, folder: Path, clock: FakeClock | None = None
) -> tuple[frames.WentOn, Mapping[str, SavedCheckpoint]]:
    found: list[SavedCheckpoint] = []
    staged = batches(session)
    went_on = save_checkpoints(
        session.model, session.programs, staged, clock or FakeClock(0), folder, found.append
    )
    return went_on, {one.format: one for one in found}


def restore(session: Session, folder: Path, *names: str) -> Mapping[str, RestoredCheckpoint]:
    found: list[RestoredCheckpoint] = []
    restore_checkpoints(
        session.model, session.programs, batches(session), FakeClock(0), folder, names, found.append
    )
    return {one.format: one for one in found}


def test_another_model_goes_on_as_the_one_that_saved(built: Built, tmp_path: Path) -> None:
    went_on, saved = save(built(), tmp_path / "checkpoints")
    assert list(saved) == ["npz", "snapshot", "weights"]
    restored = restore(built(), tmp_path / "checkpoints", *saved)
    assert restored["npz"].losses == restored["snapshot"].losses == went_on.losses
    assert restored["npz"].outputs == went_on.outputs
    assert len(went_on.losses) == NEXT_STEPS
    assert len(went_on.outputs) == OUTPUTS


def test_every_call_is_timed_and_one_checkpoint_of_each_format_is_left(built: Built, tmp_path: Path) -> None:
    clock = FakeClock(0)

    class Slow(FakeModel):
        def formats(self) -> Mapping[str, Format]:
            def take_time(path: Path) -> None:
                clock.advance(7)
                for name, size in (("a", 10), ("b", 5)):
                    path.with_suffix(f".{name}").write_bytes(b"x" * size)

            return {"slow": Format(holds=("parameters",), save=take_time, restore=lambda _: None)}

    _, saved = save(built(model_class=Slow), tmp_path / "checkpoints", clock)
    assert saved["slow"].save_ns == (7,) * CALLS
    assert saved["slow"].size_bytes == 15
    files = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert (
        restore(built(model_class=Slow), tmp_path / "checkpoints", "slow")["slow"].restore_ns == (0,) * CALLS
    )


def test_a_model_without_formats_has_save_and_restore(built: Built, tmp_path: Path) -> None:
    class Plain(FakeModel):
        formats = None

    went_on, saved = save(built(model_class=Plain), tmp_path / "checkpoints")
    assert list(saved) == ["default"]
    assert saved["default"].holds == ("parameters", "optimizer")
    assert restore(built(model_class=Plain), tmp_path / "checkpoints", "default")["default"].losses == (
        went_on.losses
    )


@pytest.mark.parametrize("offered", [{"a.b": 0}, {"fine": "state.pt"}])
def test_what_is_no_format_is_refused(built: Built, offered: Mapping[str, object]) -> None:
    class Odd(FakeModel):
        def formats(self) -> Any:
            return offered

    with pytest.raises(PluginContractError, match="which is no format"):
        formats_of(built(model_class=Odd).model)


def broken(**how: Any) -> type[FakeModel]:
    class Broken(FakeModel):
        def formats(self) -> Mapping[str, Format]:
            formats = dict(super().formats())
            return {**formats, "npz": replace(formats["npz"], **how)}

    return Broken


def fail(error: Exception) -> Callable[[Path], None]:
    def raise_it(path: Path) -> None:
        path.write_bytes(b"the first part")
        raise error

    return raise_it


def test_a_format_that_fails_says_why_and_leaves_no_file_and_the_others_go_on(
    built: Built, tmp_path: Path
) -> None:
    full = broken(save=fail(OSError(28, "No space left on device")))
    _, saved = save(built(model_class=full), tmp_path / "checkpoints")
    assert saved["npz"].reason == "OSError: [Errno 28] No space left on device"
    assert not saved["npz"].is_unsupported
    assert saved["npz"].size_bytes is None
    assert not (tmp_path / "checkpoints" / "npz").exists()
    assert saved["snapshot"].size_bytes


def test_a_format_that_this_mode_has_not_is_no_failure(built: Built, tmp_path: Path) -> None:
    refusing = broken(save=fail(UnsupportedError("a graph is no model", cause="it is static")))
    _, saved = save(built(model_class=refusing), tmp_path / "checkpoints")
    assert saved["npz"].reason == "a graph is no model: it is static"
    assert saved["npz"].is_unsupported


def test_a_restore_that_fails_says_why_and_the_others_go_on(built: Built, tmp_path: Path) -> None:
    went_on, saved = save(built(), tmp_path / "checkpoints")
    damaged = broken(restore=fail(ValueError("not a checkpoint")))
    restored = restore(built(model_class=damaged), tmp_path / "checkpoints", *saved)
    assert restored["npz"].reason == "ValueError: not a checkpoint"
    assert restored["snapshot"].losses == went_on.losses


def test_a_loss_that_is_no_number_ends_the_pass(built: Built, tmp_path: Path) -> None:
    class Nan(FakePrograms):
        def read(self, result: Any) -> Any:
            return math.nan, None

    with pytest.raises(InvalidResultError, match="the loss became nan in step 1"):
        save(built(programs_class=Nan), tmp_path / "checkpoints")


def test_weights_are_written_by_canonical_name(built: Built, tmp_path: Path) -> None:
    session, sent = built(), []
    path = tmp_path / "trained.npz"
    order = frames.SaveWeights(path=str(path), stored_as="cells/mine/trained.npz", trained="3 epochs")
    serve(order, session.model, session.programs, [], FakeClock(0), sent.append)
    (report,) = sent
    assert report.weights.path == "cells/mine/trained.npz"
    assert report.weights.size_bytes == path.stat().st_size
    with np.load(path) as arrays:
        assert set(arrays.files) == set(session.model.parameters())
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float32)}


def test_weights_that_cannot_be_written_are_an_error(built: Built, tmp_path: Path) -> None:
    session = built()
    order = frames.SaveWeights(path=str(tmp_path / "no" / "t.npz"), stored_as="t.npz", trained="3 epochs")
    with pytest.raises(StoreError, match=r"cannot write .*t\.npz"):
        serve(order, session.model, session.programs, [], FakeClock(0), lambda _: None)
