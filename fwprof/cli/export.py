"""`fwprof export`: a stored run in another format."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.messages import note
from fwprof.cli.options import output_option
from fwprof.errors import ExitCode, RequestError

_HELP = """Write a stored run in another format.

DEST with a suffix is a file, else a folder; existing files are never overwritten. - is stdout."""


@click.command("export", help=with_examples(_HELP, "export"))
@click.argument("run")
@click.argument("dest")
@click.option("--to", "name", required=True, metavar="NAME", help="The exporter (fwprof plugins lists them).")
@output_option
def command(run: str, dest: str, name: str, output: str) -> int:
    """Export one run."""
    from fwprof import api

    if dest != "-":
        for path in api.export(run, name, dest, output):
            note(f"wrote {path}")
        return ExitCode.DONE
    with TemporaryDirectory(prefix="fwprof-") as folder:
        # A name with a suffix asks the exporter for one file.
        paths = api.export(run, name, str(Path(folder) / f"run.{name}"), output)
        if len(paths) != 1:
            raise RequestError(
                f"exporter {name} writes several files, which do not fit on stdout", next="name a folder"
            )
        sys.stdout.write(Path(paths[0]).read_text(encoding="utf-8"))
        sys.stdout.flush()
    return ExitCode.DONE
