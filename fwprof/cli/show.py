"""`fwprof show`: a stored run, as it was printed when it ended."""

from __future__ import annotations

from pathlib import Path

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option, output_option
from fwprof.cli.output import has_blocks, print_json, print_sections
from fwprof.errors import ExitCode


@click.command(
    "show",
    help=with_examples("Show a stored run: an id, a unique beginning, last, last~1, or a path.", "show"),
)
@click.argument("run")
@output_option
@json_option
def command(run: str, output: str, as_json: bool) -> int:
    """Print one run."""
    from fwprof import api
    from fwprof.exporters.json import summary_document
    from fwprof.report.layout import Facts
    from fwprof.report.sections import report
    from fwprof.store import find_run

    path = find_run(run, Path(output))
    result = api.load(str(path), output)
    summary = api.summarize(result, str(path))
    if as_json:
        print_json(summary_document(summary))
    else:
        print_sections([*report(result, summary, has_blocks=has_blocks()), Facts((("saved", summary.path),))])
    return ExitCode.DONE
