"""Options that several commands share."""

from __future__ import annotations

import click

output_option = click.option(
    "-o",
    "--output",
    default="fwprof-runs",
    show_default=True,
    envvar="FWPROF_OUTPUT",
    metavar="DIR",
    help="Folder of the runs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
