"""`fwprof workloads`: what can be profiled without a model of one's own."""

from __future__ import annotations

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option
from fwprof.cli.output import print_json, print_list
from fwprof.errors import ExitCode


@click.command(
    "workloads",
    help=with_examples("List the built-in workloads, and the data they can train on.", "workloads"),
)
@json_option
def command(as_json: bool) -> int:
    """List workloads."""
    from fwprof import api

    found = api.list_workloads()
    if as_json:
        print_json(found)
        return ExitCode.DONE
    rows = [
        (
            one.name,
            "×".join(str(length) for length in one.input.shape),
            str(one.data.__struct_config__.tag),
            ", ".join(f"{kind} {size}" for kind, size in one.batch_size.items()),
            one.description,
        )
        for one in found
    ]
    print_list(("workload", "input", "data", "batch size", "what"), rows, "no workload is built in")
    print()
    sources = [
        (f"{name}:DIR" if source.needs_folder else name, source.inputs, source.samples, source.origin)
        for name, source in api.list_data().items()
    ]
    print_list(("--data", "input", "train and validate", "what"), sources, "no data set is known")
    return ExitCode.DONE
