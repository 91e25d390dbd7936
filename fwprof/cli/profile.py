"""`fwprof profile`: measure one cell, or several and compare them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
import msgspec
from click.core import ParameterSource

from fwprof.catalog import find_plugin
from fwprof.cli import request as words
from fwprof.cli.advice import next_commands
from fwprof.cli.dry_run import say_plan
from fwprof.cli.examples import with_examples
from fwprof.cli.exit_status import status_of
from fwprof.cli.interrupt import interruptible
from fwprof.cli.messages import note, print_error
from fwprof.cli.output import has_blocks, print_json, print_sections
from fwprof.cli.progress import Progress, is_drawn_here
from fwprof.errors import ExitCode, FwprofError, RunError
from fwprof.events import ignore
from fwprof.records import RunRequest, ScheduleKind

if TYPE_CHECKING:
    from fwprof.api import Resume
    from fwprof.records import RunResult, RunSummary

F = TypeVar("F", bound=Callable[..., Any])

_HELP = """Measure one cell, or several and compare them.

A WORKLOAD is a built-in name (fwprof workloads lists them) or a YAML file. Without one, and
without --model, the quick set is measured. Every option may also stand in FWPROF_* variables, in
a file (--config) and in [tool.fwprof] of ./pyproject.toml, in this order of precedence.

Several cells that were interrupted are resumed by the same command: what is missing is measured."""


def _option(*names: str, **settings: Any) -> Callable[[F], F]:
    longest = max((name for name in names if name.startswith("--")), key=len)
    return click.option(*names, envvar=f"FWPROF_{longest.lstrip('-').upper().replace('-', '_')}", **settings)


@click.command("profile", help=with_examples(_HELP, "profile"))
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@_option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="NAME[:VARIANT][,KEY=VALUE]",
    help="A framework; repeat it to compare.",
)
@_option("--model", "models", multiple=True, metavar="[FRAMEWORK=]FILE.py:FACTORY", help="Your own model.")
@_option("--device", "devices", multiple=True, metavar="NAME", help="Where to train.  [default: cpu]")
@_option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="Read the request from a YAML file."
)
@_option("--quick", is_flag=True, help="About 20 s of measuring: a first look.")
@_option("--thorough", is_flag=True, help="At least 5 processes a cell: the only budget that gives verdicts.")
@_option("--dry-run", is_flag=True, help="Say what would be measured and how long that takes.")
@_option("--fresh", is_flag=True, help="Measure everything anew, also where such a run was interrupted.")
@_option("--retry-failed", is_flag=True, help="Of the last such run, measure what failed again.")
@_option(
    "--settings",
    type=click.Choice(["as-shipped", "equal", "both"]),
    help="The frameworks' own defaults, or the same settings on all.",
)
@_option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="NAME[,NAME…]",
    help="Of the arithmetic: float32, tf32, bfloat16, float16.  [default: float32]",
)
@_option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    metavar="N[,N…]",
    help="Samples in a step, instead of the workload's own.",
)
@_option(
    "--data",
    metavar="NAME[:DIR]",
    help="Train on these samples (fwprof workloads lists them), not the workload's own.",
)
@_option(
    "--data-size",
    "data_sizes",
    multiple=True,
    metavar="N[,N…]",
    help="Training samples that are used, instead of all.",
)
@_option("--threads", multiple=True, metavar="N|all[,…]", help="Threads of the framework.  [default: all]")
@_option(
    "--seed", metavar="N", type=click.IntRange(0, 2**32 - 1), help="Seed of weights and data.  [default: 0]"
)
@_option(
    "--epochs",
    metavar="N",
    type=click.IntRange(0, 100_000),
    help="Also train so long, in a pass of its own: scores and times of every epoch.",
)
@_option(
    "--training-seeds",
    metavar="N",
    type=click.IntRange(1, 100),
    help="Train from so many seeds, which count up from --seed.  [default: 1]",
)
@_option(
    "--target-accuracy",
    metavar="SHARE",
    help="Say how long training takes to this validation accuracy.  [default: the workload's]",
)
@_option(
    "--checkpoints",
    is_flag=True,
    help="Also save and restore, in every format: time, size, and the next losses.",
)
@_option("--save-weights", is_flag=True, help="Keep the trained parameters, for any framework to start from.")
@_option("--pipeline", is_flag=True, help="Also loop over the data through each framework's own pipeline.")
@_option(
    "--workers",
    metavar="N",
    type=click.IntRange(0, 64),
    help="Workers of that pipeline, instead of the workload's own; implies --pipeline.",
)
@_option("--layers", is_flag=True, help="Also time each layer alone, in a pass of its own.")
@_option(
    "--find-max-batch",
    metavar="MEMORY",
    help="Also search the largest batch that trains in so much memory: 2GB, 512MiB.",
)
@_option("--half-width", metavar="SHARE", help="Stop when the 95 % interval is ± this narrow.  [default: 5%]")
@_option(
    "--max-seconds",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    help="Longest time of warm-up and rounds of a group.",
)
@_option(
    "--limit", "limits", multiple=True, metavar="STAGE=SECONDS", help="Longest time of one stage of a worker."
)
@_option("--meter", "meters", multiple=True, metavar="NAME", help="A further meter plugin.")
@_option(
    "--python",
    "environments",
    multiple=True,
    metavar="ENVIRONMENT=INTERPRETER",
    help="Run FRAMEWORK@ENVIRONMENT, or the framework of that name, under another python.",
)
@_option("--processes", metavar="N", type=click.IntRange(1, 100), help="Fresh processes a cell.")
@_option("--rounds", metavar="N", type=click.IntRange(1, 100_000), help="Exactly so many rounds.")
@_option(
    "--exclusive",
    is_flag=True,
    help="Measure on a device only while nobody else computes there.",
)
@_option("--schedule", type=click.Choice(get_args(ScheduleKind)), help="Cells in turn, or one after another.")
@_option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a field of the workload; model.NAME: an argument of the factory.",
)
@_option("--no-verify", is_flag=True, help="Do not check that the cells compute the same.")
@_option("--no-memory", is_flag=True, help="Leave out the memory pass.")
@_option("-o", "--output", metavar="DIR", help="Folder of the runs.  [default: fwprof-runs]")
@_option(
    "--export", "exports", multiple=True, metavar="NAME[:DEST]", help="Export the run, once it is stored."
)
@_option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@_option("-q", "--quiet", is_flag=True, help="No progress.")
@_option("-v", "--verbose", is_flag=True, help="More progress, and tracebacks of bugs.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure."""
    from fwprof import api

    _refuse_both(ctx)
    request = words.build_request(_flags(ctx), options["config"])
    if options["dry_run"]:
        return say_plan(request, _resume(options), as_json=options["as_json"])
    exports = [(name, destination) for name, _, destination in (e.partition(":") for e in options["exports"])]
    for name, _ in exports:
        find_plugin("exporter", name)  # before an hour of measuring, not after
    progress = Progress(is_drawn=is_drawn_here() and not options["verbose"], is_verbose=options["verbose"])
    cancellation = api.Cancellation()
    with interruptible(cancellation) as interruption:
        observer = ignore if options["quiet"] else progress
        try:
            result = api.profile(
                request, observer=observer, cancellation=cancellation, resume=_resume(options)
            )
        finally:
            progress.finish()
    path = api.run_path(result, request.output)
    summary = api.summarize(result, str(path))
    if options["as_json"]:
        from fwprof.exporters.json import summary_document

        print_json(summary_document(summary))
    else:
        _print_answer(result, summary, request)
    for name, destination in exports:
        for written in api.export(
            result.plan.run_id, name, destination or str(path / "exports" / name), request.output
        ):
            note(f"wrote    {written}")
    status = interruption.status or status_of(result)
    if status in _EMPTY:
        return print_error(_nothing_measured(result, summary), status)
    return status


_EMPTY = {ExitCode.NOTHING_MEASURED, ExitCode.NOT_AVAILABLE, ExitCode.TIME_LIMIT}


def _flags(ctx: click.Context) -> dict[str, Any]:
    """Return the RunRequest fields that flags and variables set."""
    given = {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}
    }
    readers: dict[str, Callable[[Any], Any]] = {
        "devices": _split,
        "precisions": words.parse_precisions,
        "batch_sizes": lambda texts: tuple(words.parse_count(text, "samples") for text in _split(texts)),
        "data_sizes": lambda texts: tuple(words.parse_count(text, "samples") for text in _split(texts)),
        "threads": lambda texts: tuple(words.parse_threads(text) for text in _split(texts)),
        "half_width": words.parse_share,
        "target_accuracy": words.parse_share,
        "limits": lambda texts: dict(map(words.parse_limit, texts)),
        "overrides": words.parse_overrides,
        "environments": lambda texts: dict(map(words.parse_environment, texts)),
    }
    fields = set(RunRequest.__struct_fields__)
    flags = {
        name: readers[name](value) if name in readers else value
        for name, value in given.items()
        if name in fields and value != ()
    }
    for budget in ("quick", "thorough"):
        if given.get(budget):
            flags["budget"] = budget
    if given.get("no_verify"):
        flags["equivalence"] = "skip"
    if given.get("no_memory"):
        flags["memory"] = False
    return flags


def _split(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for text in texts for word in words.split_words(text))


def _refuse_both(ctx: click.Context) -> None:
    for one, other in (("quick", "thorough"), ("quiet", "verbose"), ("fresh", "retry_failed")):
        if ctx.params[one] and ctx.params[other]:
            words = " and ".join(f"--{name.replace('_', '-')}" for name in (one, other))
            raise click.UsageError(f"{words} exclude each other", ctx)


def _resume(options: dict[str, Any]) -> Resume:
    """Return what becomes of an earlier run of the same request."""
    if options["retry_failed"]:
        return "failed"
    return "never" if options["fresh"] else "unfinished"


def _print_answer(result: RunResult, summary: RunSummary, request: RunRequest) -> None:
    from fwprof import api
    from fwprof.report.layout import Facts
    from fwprof.report.sections import report

    plugins = api.list_plugins()
    ready = [one.ref.name for one in plugins if one.ref.kind == "framework" and one.state == "ready"]
    # What could not run here is not advised again.
    ok = {cell.id for cell in result.cells if cell.fate == "ok"}
    cells = [cell for cell in result.plan.cells() if cell.id in ok] or result.plan.cells()
    chosen = tuple({str(cell.choice): cell.choice for cell in cells}.values())
    devices = tuple(dict.fromkeys(cell.device.name for cell in cells)) if result.plan.unavailable else ()
    asked = msgspec.structs.replace(request, plugins=chosen, devices=devices or request.devices)
    has_earlier_run = len(api.runs(request.output)) > 1
    is_resumed = api.is_matrix(result.plan)
    advice = next_commands(
        asked, summary, ready=ready, has_earlier_run=has_earlier_run, is_resumed=is_resumed
    )
    rows = [("next" if place == 0 else "", f"{line}   # {why}") for place, (line, why) in enumerate(advice)]
    where = "" if request.output == RunRequest().output else f" -o {request.output}"
    rows.append(("saved", f"{summary.path}   (fwprof show last{where})"))
    print_sections([*report(result, summary, has_blocks=has_blocks()), Facts(tuple(rows))])


def _nothing_measured(result: RunResult, summary: RunSummary) -> FwprofError:
    failures = [cell.failure for cell in result.cells if cell.failure is not None]
    causes = [failure.message for failure in failures] + list(result.plan.unavailable.values())
    fixes = [failure.next for failure in failures if failure.next]
    return RunError(
        "nothing was measured",
        cause=causes[0] if causes else "",
        kept=summary.path,
        next=fixes[0] if fixes else "fwprof doctor says what is missing here",
    )
