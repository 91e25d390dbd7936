"""`fwprof plugins`: what is installed, from metadata alone."""

from __future__ import annotations

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option
from fwprof.cli.output import print_json, print_list
from fwprof.errors import ExitCode


@click.command("plugins", help=with_examples("List frameworks, devices, meters and exporters.", "plugins"))
@json_option
def command(as_json: bool) -> int:
    """List plugins."""
    from fwprof import catalog

    found = catalog.list_plugins()
    if as_json:
        print_json(
            [
                {
                    "kind": one.ref.kind,
                    "name": one.ref.name,
                    "distribution": one.ref.distribution,
                    "version": one.ref.version,
                    "state": one.state,
                    "reason": one.reason or None,
                }
                for one in found
            ]
        )
        return ExitCode.DONE
    rows = [
        (
            one.ref.kind,
            one.ref.name,
            f"{one.ref.distribution} {one.ref.version}",
            f"{one.state}: {one.reason}" if one.reason else one.state,
        )
        for one in found
    ]
    print_list(
        ("kind", "name", "from", "state"), rows, "no plugin is installed: pip install fwprof-<framework>"
    )
    for one in found:
        if one.next:
            print(f"next  {one.next}")
    return ExitCode.DONE
