"""Progress lines, on a clock that the test moves."""

from __future__ import annotations

from types import ModuleType

import msgspec
import pytest

from fwprof.cli.progress import Progress, plan_line
from fwprof.events import (
    CellEnded,
    Event,
    GroupStarted,
    RoundDone,
    RunNotResumed,
    RunPlanned,
    RunResumed,
    RunStored,
    StageEntered,
    Trained,
)
from fwprof.records import RunRequest, Schedule, TrainingPoint


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def round_done(number: int, half_width: float | None) -> RoundDone:
    return RoundDone(
        group="mlp", session=0, round=number, elapsed_seconds=number, max_seconds=20.0,
        half_width=half_width, target=0.05,
    )  # fmt: skip


def play(progress: Progress, clock: Clock, *steps: tuple[float, Event]) -> None:
    for seconds, event in steps:
        clock.now += seconds
        progress(event)


def a_run(build: ModuleType) -> list[tuple[float, Event]]:
    plan = build.comparison()[0].plan
    return [
        (0.0, RunPlanned(plan=plan, path="x", estimated_seconds=75.0)),
        (0.1, GroupStarted(group="mlp", session=0, sessions=1)),
        (0.2, StageEntered(cell="a", stage="import")),
        (3.0, StageEntered(cell="a", stage="warm_up")),
        (0.5, round_done(0, None)),
        (1.0, round_done(9, 0.08)),
        (1.0, round_done(19, 0.011)),
        (0.1, CellEnded(cell="b", session=0, fate="out_of_memory", reason="no memory")),
        (0.1, RunStored(path="x")),
    ]


def test_without_a_terminal_lines_come_seconds_apart(
    build: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    play(Progress(is_drawn=False, now_s=clock), clock, *a_run(build))
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert err.splitlines() == [
        "plan     quick set: mlp   4 cells, 25 processes, at most about 75 s",
        "  mlp                  import mlp alpha cpu",
        "  mlp                  round 20   ±1.1 % (until ±5.0 %)   19 s of 20 s",
        "  mlp alpha:graph cpu: out of memory: no memory",
        "  mlp                  done    6 s   import 3.0   warm up 0.5   20 rounds ±1.1 %",
    ]


def test_on_a_terminal_one_line_is_drawn_again_and_shrinks(
    build: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    play(Progress(is_drawn=True, now_s=clock), clock, *a_run(build))
    err = capsys.readouterr().err
    drawn = err.split("\r\x1b[K")
    assert "±8.0 %" in err
    assert err.index("±8.0 %") < err.index("±1.1 %")
    assert drawn[-1] == "  mlp                  done    6 s   import 3.0   warm up 0.5   20 rounds ±1.1 %\n"
    assert all(len(line) < 80 for line in drawn[1:-1] if "\n" not in line)


def test_verbose_says_each_stage_and_epoch(build: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    point = TrainingPoint(epoch=4, split="train", loss=0.1)
    play(Progress(is_drawn=False, is_verbose=True, now_s=clock), clock, *a_run(build)[:4])
    play(
        progress := Progress(is_drawn=False, is_verbose=True, now_s=clock),
        clock,
        *a_run(build)[:2],
        (0, StageEntered(cell="a", stage="import", replica=True)),
        (0, Trained(cell="a", points=(point,))),
    )
    progress.finish()
    err = capsys.readouterr().err
    assert "mlp alpha cpu: warm up" in err
    assert "mlp alpha cpu (replica): import" in err
    assert "mlp alpha cpu: epoch 4" in err


def test_rounds_past_the_time_say_why_they_go_on(
    build: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    play(Progress(is_drawn=False, now_s=clock), clock, *a_run(build)[:2], (9, round_done(30, None)))
    assert "30 s of 20 s, to the least number of rounds" in capsys.readouterr().err


def test_the_plan_line_counts_processes_of_all_sessions_and_replicas(build: ModuleType) -> None:
    result, _ = build.comparison()
    assert plan_line(result.plan, 200) == "quick set: mlp   4 cells, 25 processes, at most about 3 min 20 s"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"epochs": 1}, "at most about 3 min 20 s, with 1 epoch a cell"),
        ({"epochs": 5, "training_seeds": 3}, "about 3 min 20 s, with 5 epochs a cell and seed (3 seeds)"),
    ],
)
def test_the_plan_line_says_what_it_guesses_the_time_of(
    build: ModuleType, fields: dict[str, int], expected: str
) -> None:
    result, _ = build.comparison()
    plan = msgspec.structs.replace(result.plan, request=RunRequest(**fields))
    assert plan_line(plan, 200).endswith(expected)


def test_training_says_the_epoch(build: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    point = TrainingPoint(epoch=7, split="train", loss=0.1)
    train = StageEntered(cell="a", stage="train")
    steps = ((1, train), (9, Trained(cell="a", points=(point,))))
    play(Progress(is_drawn=False, now_s=clock), clock, *a_run(build)[:2], *steps)
    assert "train mlp alpha cpu, epoch 7" in capsys.readouterr().err


def test_finishing_without_a_group_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(is_drawn=True).finish()
    assert capsys.readouterr().err == ""


def test_what_is_taken_over_is_told_before_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"run": "01A", "created": "2026-01-02T03:04:05+00:00", "cells": 24, "timed": 14}
    progress = Progress(is_drawn=False)
    progress(RunResumed(**told, sessions=6, measured=6))
    progress(RunResumed(**told, sessions=30, measured=20, failed=("a", "b")))
    progress(RunNotResumed(run="01B", reason="numpy was 1, and is 2"))
    assert capsys.readouterr().err.splitlines() == [
        "resuming 01A of 2026-01-02 03:04 UTC: 14 of 24 cells timed   (--fresh measures everything anew)",
        "resuming 01A of 2026-01-02 03:04 UTC: 14 of 24 cells timed, 20 of 30 sessions of groups, "
        "2 failed cells measured again   (--fresh measures everything anew)",
        "anew     01B is not resumed: numpy was 1, and is 2",
    ]


def test_several_groups_have_a_control_each(build: ModuleType) -> None:
    result, _ = build.quick_set()
    schedule = Schedule(sessions=5, replica=True)
    plan = msgspec.structs.replace(result.plan, schedule=schedule)
    assert "2 cells in 2 groups, 20 processes, " in plan_line(plan, 1)
