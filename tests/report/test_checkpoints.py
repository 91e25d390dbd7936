"""The table of checkpoints: a row a format, and what went wrong in capitals."""

from __future__ import annotations

from msgspec.structs import replace

from fwprof.comparison import summarize
from fwprof.records import Checkpoint, RestoredCheckpoint, SavedCheckpoint, StoredWeights
from fwprof.report.layout import to_text
from fwprof.report.sections import report
from fwprof.testing.samples import sample_result

LOSSES = (1.0, 0.5)


def checkpoint(name: str, losses: tuple[float, ...] = LOSSES, reason: str = "") -> Checkpoint:
    return Checkpoint(
        saved=SavedCheckpoint(
            format=name,
            holds=("parameters", "statistics", "optimizer"),
            note="a thing to know" if name == "odd" else "",
            save_ns=(2_000_000,),
            size_bytes=1_500,
        ),
        restored=RestoredCheckpoint(format=name, restore_ns=(3_000_000,), losses=losses, reason=reason),
        losses=LOSSES,
    )


def text_of(*checkpoints: Checkpoint, weights: StoredWeights | None = None) -> str:
    result = sample_result()
    good, *others = result.cells
    result = replace(result, cells=(replace(good, checkpoints=checkpoints, weights=weights), *others))
    return to_text(report(result, summarize(result, "")), 160)


def test_each_format_has_a_row_with_its_cost_and_outcome() -> None:
    text = text_of(
        checkpoint("npz"), checkpoint("odd", (1.0, 0.6)), checkpoint("bad", reason="ValueError: damaged")
    )
    rows = {
        line.split()[1]: line for line in text.splitlines() if "parameters, statistics, optimizer" in line
    }
    assert "2.0 ms" in rows["npz"]
    assert "3.0 ms" in rows["npz"]
    assert "1.5 kB" in rows["npz"]
    assert rows["npz"].endswith("bit-equal")
    assert rows["odd"].endswith("DIFFER by 1e-01: by what the format says it holds they should not")
    assert rows["bad"].endswith("FAILED: ValueError: damaged")
    assert "odd: a thing to know." in text
    assert "checkpoint_differs" in text
    assert "checkpoint_failed" in text


def test_a_run_without_checkpoints_says_nothing_of_them() -> None:
    assert "checkpoint" not in text_of()


def test_kept_weights_are_named_with_what_does_not_travel() -> None:
    kept = StoredWeights(path="cells/mine/trained.npz", size_bytes=2_000, trained="3 epochs")
    text = text_of(weights=kept)
    assert "cells/mine/trained.npz, 2.0 kB, after 3 epochs" in text
    assert "no optimizer state is in it" in text
