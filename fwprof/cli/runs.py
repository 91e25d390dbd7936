"""`fwprof runs`: the stored runs, newest last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option, output_option
from fwprof.cli.output import print_json, print_list
from fwprof.errors import ExitCode

if TYPE_CHECKING:
    from fwprof.api import StoredRun


@click.command("runs", help=with_examples("List the stored runs, newest last.", "runs"))
@output_option
@json_option
def command(output: str, as_json: bool) -> int:
    """List runs."""
    from fwprof import api

    found = api.runs(output)
    if as_json:
        print_json(found)
    else:
        rows = [(run.id, run.created.replace("T", " ")[:19], _state(run), run.title) for run in found]
        print_list(("run", "created (UTC)", "state", "what"), rows, f"no runs in {output}")
    return ExitCode.DONE


def _state(run: StoredRun) -> str:
    return f"{run.state}, resumed by {run.resumed_by}" if run.resumed_by else run.state
