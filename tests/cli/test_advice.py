"""The next commands."""

from __future__ import annotations

import shlex
from types import ModuleType

import msgspec
from click.testing import CliRunner

from fwprof.cli import profile
from fwprof.cli.advice import command, next_commands
from fwprof.cli.request import build_request
from fwprof.records import DataChoice, FrameworkChoice, ModelChoice, RunRequest

ALPHA = FrameworkChoice(name="alpha", variant="graph", options={"level": 3})


def words_of(advice: list[tuple[str, str]]) -> list[str]:
    return [line for line, _ in advice]


def test_a_request_written_as_a_command_reads_back_as_the_same_request(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    request = RunRequest(
        workloads=("mlp", "my net.yaml"),
        plugins=(ALPHA, FrameworkChoice(name="beta", environment="old")),
        environments={"alpha": "/a/bin/python", "old": "/old bin/python"},
        models=(ModelChoice(factory="train.py:make", framework="beta", arguments={"depth": 3}),),
        devices=("cpu", "gamma:1"),
        precisions=("bfloat16",),
        batch_sizes=(8, 16),
        data=DataChoice(source="mnist", folder="my data"),
        data_sizes=(100, 2000),
        threads=(1, "all"),
        settings="both",
        seed=7,
        epochs=3,
        training_seeds=4,
        target_accuracy=0.975,
        pipeline=True,
        workers=2,
        layers=True,
        budget="thorough",
        schedule="sequential",
        processes=6,
        rounds=20,
        half_width=0.03,
        max_seconds=12.5,
        limits={"build": 30.0},
        overrides={"optimizer.learning_rate": 0.1, "name": "x y"},
        memory=False,
        output="my runs",
    )
    words = shlex.split(command(request))
    seen = []
    monkeypatch.setattr(
        profile.words, "build_request", lambda *given: seen.append(build_request(*given)) or 1 / 0
    )
    result = CliRunner().invoke(profile.command, words[2:])
    assert isinstance(result.exception, ZeroDivisionError), result.output
    assert seen == [request]


def test_a_quick_look_at_several_cells_is_advised_to_be_thorough(build: ModuleType) -> None:
    _, summary = build.comparison()
    once = tuple(msgspec.structs.replace(cell, sessions=1) for cell in summary.cells)
    summary = msgspec.structs.replace(summary, cells=once)
    advice = words_of(next_commands(RunRequest(plugins=(ALPHA,), budget="quick"), summary))
    assert any("--thorough" in line for line in advice)


def test_cells_that_are_compared_with_nothing_are_not_advised_to_be_ranked(build: ModuleType) -> None:
    _, summary = build.quick_set()
    advice = words_of(next_commands(RunRequest(plugins=(ALPHA,), budget="quick"), summary))
    assert not any("--thorough" in line for line in advice)


def test_a_thorough_run_is_not_advised_to_be_thorough(build: ModuleType) -> None:
    _, summary = build.comparison()
    advice = words_of(next_commands(RunRequest(plugins=(ALPHA,)), summary))
    assert not any("--thorough" in line for line in advice)


def test_another_installed_framework_is_suggested_and_not_the_one_in_use(build: ModuleType) -> None:
    _, summary = build.quick_set()
    request = RunRequest(plugins=(FrameworkChoice(name="alpha"),))
    advice = words_of(next_commands(request, summary, ready=["alpha", "beta"]))
    assert any("--plugin alpha --plugin beta" in line for line in advice)
    assert not any("beta" in line for line in words_of(next_commands(request, summary, ready=["alpha"])))


def test_ones_own_model_is_not_suggested_to_who_uses_it(build: ModuleType) -> None:
    _, summary = build.quick_set()
    request = RunRequest(models=(ModelChoice(factory="a.py:f"),), plugins=(ALPHA,))
    assert not any("train.py" in line for line in words_of(next_commands(request, summary)))


def test_at_most_three_commands_are_advised(build: ModuleType) -> None:
    _, summary = build.quick_set()
    request = RunRequest(plugins=(ALPHA,), budget="quick")
    advice = next_commands(request, summary, ready=["beta", "delta"], has_earlier_run=True)
    assert len(advice) == 3


def test_where_nothing_was_measured_the_doctor_is_advised(build: ModuleType) -> None:
    summary = build.summary(build.cell_summary("a", "mlp", "alpha", None, fate="unsupported"))
    assert words_of(next_commands(RunRequest(plugins=(ALPHA,)), summary)) == ["fwprof doctor"]


def test_an_interrupted_run_is_advised_to_be_run_again(build: ModuleType) -> None:
    summary = build.summary(build.cell_summary("a", "mlp", "alpha", None, fate="interrupted"))
    request = RunRequest(workloads=("mlp",), plugins=(FrameworkChoice(name="alpha"),))
    assert words_of(next_commands(request, summary)) == ["fwprof profile mlp --plugin alpha"]


def test_environments_that_an_advised_command_does_not_use_are_left_out() -> None:
    asked = RunRequest(plugins=(ALPHA,), environments={"alpha": "/a/python", "old": "/old/python"})
    assert "--python alpha=/a/python" in command(asked)
    assert "old" not in command(asked)


def test_pairs_without_a_measured_cell_are_not_advised_to_be_thorough(build: ModuleType) -> None:
    _, summary = build.comparison()
    failed = tuple(msgspec.structs.replace(cell, fate="failed") for cell in summary.cells)
    summary = msgspec.structs.replace(summary, cells=failed)
    assert not any("--thorough" in line for line in words_of(next_commands(RunRequest(), summary)))


def test_what_was_cut_off_or_failed_has_a_command(build: ModuleType) -> None:
    good = build.cell_summary("a", "mlp", "alpha", "eager")
    cut = build.cell_summary("b", "mlp", "beta", "eager", fate="interrupted")
    bad = build.cell_summary("c", "mlp", "beta", "eager", fate="killed")
    request = RunRequest(workloads=("mlp",))
    assert next_commands(request, build.summary(good, cut))[0][1] == "once more, to the end"
    assert next_commands(request, build.summary(good, cut), is_resumed=True)[0] == (
        "the same command",
        "measures what is missing",
    )
    failed = next_commands(request, build.summary(good, bad))
    assert ("the same command with --retry-failed", "measures again what failed") in failed
