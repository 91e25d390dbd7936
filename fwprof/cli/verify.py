"""`fwprof verify`: do these cells compute the same? Nothing is timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fwprof.cli import request as words
from fwprof.cli.examples import with_examples
from fwprof.cli.interrupt import interruptible
from fwprof.cli.options import json_option, output_option
from fwprof.cli.output import print_json, print_sections
from fwprof.cli.progress import Progress, is_drawn_here
from fwprof.errors import ExitCode
from fwprof.events import ignore

if TYPE_CHECKING:
    from fwprof.records import RunResult

_HELP = """Check that frameworks compute the same: outputs, loss, gradients, and weights after training.

Every cell is asked in float64 on the cpu, from the same weights and batches, and compared with the
first one; then in its own precision, with itself. Exits with 1 where one differs."""


@click.command("verify", help=with_examples(_HELP, "verify"))
@click.argument("workloads", nargs=-1, required=True, metavar="WORKLOAD...")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    required=True,
    metavar="NAME[:VARIANT][,KEY=VALUE]",
    help="A framework; the first one is the reference.",
)
@click.option("--device", "devices", multiple=True, metavar="NAME", help="Where to compute.  [default: cpu]")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    metavar="NAME[,NAME…]",
    help="Of the arithmetic: float32, tf32, bfloat16, float16.  [default: float32]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Of weights and data.")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a field of the workload."
)
@click.option(
    "--python", "environments", multiple=True, metavar="ENVIRONMENT=INTERPRETER", help="Another interpreter."
)
@output_option
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Every tensor, and tracebacks of bugs.")
def command(output: str, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Verify."""
    from fwprof import api
    from fwprof.exporters.json import summary_document
    from fwprof.report.equivalence import tensor_tables
    from fwprof.report.layout import Facts
    from fwprof.report.names import CellNames
    from fwprof.report.sections import report

    flags = {name: value for name, value in options.items() if value not in (None, ())}
    readers: dict[str, Callable[[Any], Any]] = {
        "overrides": words.parse_overrides,
        "precisions": words.parse_precisions,
        "environments": lambda texts: dict(map(words.parse_environment, texts)),
    }
    flags = {name: readers[name](value) if name in readers else value for name, value in flags.items()}
    request = words.build_request({**flags, "output": output}, None)
    progress = Progress(is_drawn=is_drawn_here())
    cancellation = api.Cancellation()
    with interruptible(cancellation) as interruption:
        try:
            observer = ignore if quiet else progress
            result = api.verify(request, observer=observer, cancellation=cancellation)
        finally:
            progress.finish()
    summary = api.summarize(result, str(api.run_path(result, output)))
    if as_json:
        print_json(summary_document(summary))
    else:
        tensors = tensor_tables(summary.cells, CellNames(result, summary.cells)) if verbose else []
        print_sections([*report(result, summary), *tensors, Facts((("saved", summary.path),))])
    return interruption.status or status_of(result)


def status_of(result: RunResult) -> ExitCode:
    """Return the exit status that the answers stand for."""
    found = [cell.equivalence.status for cell in result.cells]
    if "not_equivalent" in found:
        return ExitCode.GATE_SAID_NO
    if "reference" not in found:
        return ExitCode.NOTHING_MEASURED
    return ExitCode.PARTIAL if "not_checked" in found or result.plan.unavailable else ExitCode.DONE
