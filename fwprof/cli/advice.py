"""The next commands worth typing, from what was asked and what came of it. At most three."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import msgspec

from fwprof.cli.examples import OWN_MODEL
from fwprof.records import FrameworkChoice, RunRequest

if TYPE_CHECKING:
    from fwprof.records import RunSummary

_MOST = 3
_SESSIONS_FOR_VERDICTS = 5

_FAILED = {"failed", "killed", "out_of_memory", "timeout"}


def next_commands(
    request: RunRequest,
    summary: RunSummary,
    *,
    ready: Sequence[str] = (),
    has_earlier_run: bool = False,
    is_resumed: bool = False,
) -> list[tuple[str, str]]:
    """Return (command, what it gives), the most useful first.

    Args:
        request: what was asked.
        summary: what came of it.
        ready: frameworks that are installed and can run.
        has_earlier_run: whether an earlier run can be compared with this one.
        is_resumed: whether the same command takes over what this run measured.
    """
    measured = [cell for cell in summary.cells if cell.fate == "ok"]
    labels = {label for cell in measured for label in cell.labels}
    chosen = {choice.name for choice in request.plugins}
    others = [name for name in ready if name not in chosen]
    found: list[tuple[str, str]] = []
    if any(cell.fate == "interrupted" for cell in summary.cells):
        again = ("the same command", "measures what is missing")
        found.append(again if is_resumed else (command(request), "once more, to the end"))
    elif any(cell.fate == "unsupported" for cell in summary.cells) or not summary.cells:
        found.append(("fwprof doctor", "says what is missing here"))
    for log in _logs(summary)[:1]:
        found.append((f"less {quote(str(log))}", "what the cell printed before it failed"))
    if measured and any(cell.fate in _FAILED for cell in summary.cells):
        found.append(("the same command with --retry-failed", "measures again what failed"))
    if measured and "interval_wide" in labels and request.budget == "quick":
        longer = command(request, budget="default", max_seconds=None, rounds=None)
        found.append((longer, "more rounds, narrower intervals"))
    if measured and summary.comparisons and min(cell.sessions for cell in measured) < _SESSIONS_FOR_VERDICTS:
        thorough = command(request, budget="thorough", processes=None, max_seconds=None, rounds=None)
        found.append((thorough, "five processes a cell: verdicts"))
    if measured and others and not request.models:
        both = (*request.plugins, *(FrameworkChoice(name=name) for name in others[:2]))
        found.append((command(request, plugins=both), "the same work, side by side"))
    if measured and not request.models and request.plugins:
        one = RunRequest(
            plugins=request.plugins[:1], devices=request.devices, environments=request.environments
        )
        rest = command(one).removeprefix("fwprof profile")
        found.append((f"fwprof profile {OWN_MODEL}{rest}", "your own model"))
    if measured and has_earlier_run:
        found.append(("fwprof compare last~1 last", "against the run before"))
    return found[:_MOST]


def _logs(summary: RunSummary) -> list[Path]:
    """Return what workers of failed cells printed."""
    failed = [cell.id for cell in summary.cells if cell.fate in _FAILED]
    return [log for cell in failed for log in sorted(Path(summary.path).glob(f"cells/{cell}/*.worker.log"))]


def command(request: RunRequest, **changes: object) -> str:
    """Return the `fwprof profile` command that asks for this request, with changes."""
    request = msgspec.structs.replace(request, **changes)
    words = ["fwprof", "profile", *request.workloads]
    for model in request.models:
        words += ["--model", f"{model.framework}={model.factory}" if model.framework else model.factory]
    for choice in request.plugins:
        words += ["--plugin", str(choice)]
    used = {choice.environment or choice.name for choice in request.plugins}
    for name, interpreter in request.environments.items():
        if name in used or not request.plugins:
            words += ["--python", f"{name}={interpreter}"]
    default = RunRequest()
    for option, name in _REPEATED.items():
        values = getattr(request, name)
        if values != getattr(default, name):
            words += [option, ",".join(str(value) for value in values)]
    for option, name in _SINGLE.items():
        value = getattr(request, name)
        if value != getattr(default, name):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if request.budget != "default":
        words.append(f"--{request.budget}")
    arguments = {
        f"model.{name}": value for model in request.models for name, value in model.arguments.items()
    }
    for name, value in {**arguments, **request.overrides}.items():
        words += [
            "--set",
            f"{name}={msgspec.json.encode(value).decode() if not isinstance(value, str) else value}",
        ]
    for stage, seconds in request.limits.items():
        words += ["--limit", f"{stage}={seconds:g}"]
    if request.pipeline:
        words.append("--pipeline")
    if request.layers:
        words.append("--layers")
    if not request.memory:
        words.append("--no-memory")
    words += ["--checkpoints"] * request.checkpoints + ["--save-weights"] * request.save_weights
    return " ".join(quote(word) for word in words)


_REPEATED = {
    "--device": "devices",
    "--precision": "precisions",
    "--batch-size": "batch_sizes",
    "--data-size": "data_sizes",
    "--threads": "threads",
    "--meter": "meters",
}
_SINGLE = {
    "--settings": "settings",
    "--data": "data",
    "--find-max-batch": "find_max_batch",
    "--epochs": "epochs",
    "--training-seeds": "training_seeds",
    "--target-accuracy": "target_accuracy",
    "--workers": "workers",
    "--seed": "seed",
    "--schedule": "schedule",
    "--processes": "processes",
    "--rounds": "rounds",
    "--half-width": "half_width",
    "--max-seconds": "max_seconds",
    "-o": "output",
}
