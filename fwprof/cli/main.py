"""The console script: finds the command, and turns whatever ends it into text and a status.

Imports a command's module only when that command runs, and nothing heavy itself: `--help` must be
instant. Knows nothing of measuring.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from errno import EDQUOT, EFBIG, ENOSPC, EPIPE
from importlib import import_module
from io import TextIOWrapper

import click

import fwprof
from fwprof.cli import examples
from fwprof.cli.messages import print_error, report_bug, usage_error
from fwprof.errors import ExitCode, FwprofError, StoreError

_NO_ROOM = {ENOSPC, EDQUOT, EFBIG}

_COMMANDS = {
    "profile": "Measure one cell, or several and compare them.",
    "verify": "Check that frameworks compute the same.",
    "compare": "Compare two stored runs, with an exit code.",
    "show": "Show a stored run.",
    "runs": "List the stored runs.",
    "export": "Write a stored run in another format.",
    "plugins": "List what is installed.",
    "devices": "List the devices that are here.",
    "workloads": "List the built-in workloads.",
    "check": "Check that a plugin does what its contract says.",
    "doctor": "Say what is here, and what is wrong with it.",
}


class Commands(click.Group):
    """Commands that are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the help page."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command."""
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"fwprof.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest one."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise click.UsageError(f"there is no command '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=Commands,
    help=examples.with_examples("What does each framework cost, for this model, on this hardware?", "fwprof"),
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.version_option(fwprof.__version__, prog_name="fwprof", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Hold the commands."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no "–" or "µ" shows a question mark: what was measured is shown all the same.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    status = run(words)
    try:
        sys.stdout.flush()
    except OSError as error:
        status = _cannot_write(error, status)
    sys.exit(status)


def run(words: Sequence[str]) -> int:
    """Run one command and return its status; errors are on stderr by then."""
    try:
        status = cli.main(list(words), prog_name="fwprof", standalone_mode=False)
    except SystemExit:
        # click's own way out where nobody reads our output any more.
        return ExitCode.DONE
    except click.ClickException as error:
        return print_error(usage_error(error))
    except FwprofError as error:
        return print_error(error)
    except OSError as error:
        if error.errno not in _NO_ROOM | {EPIPE}:
            return report_bug(error, is_verbose=_is_verbose(words))
        return _cannot_write(error, ExitCode.DONE)
    except (KeyboardInterrupt, click.Abort):
        return print_error(
            FwprofError("stopped", next="fwprof runs lists what was stored"), ExitCode.INTERRUPTED
        )
    except Exception as error:  # noqa: BLE001 - the last door: whatever comes here is our own bug
        return report_bug(error, is_verbose=_is_verbose(words))
    return status if isinstance(status, int) else ExitCode.DONE


def _is_verbose(words: Sequence[str]) -> bool:
    return bool({"-v", "--verbose"} & set(words))


def _cannot_write(error: OSError, status: int) -> int:
    """Return the status of a command whose output, or scratch files, found no room."""
    # Python flushes stdout once more at exit and would complain there: give it somewhere to write.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == EPIPE:
        return status  # whoever read our output has what they wanted (`| head`)
    return print_error(
        StoreError(
            f"cannot write {error.filename or 'the answer'}",
            cause=error.strerror or str(error),
            kept="what was measured: fwprof runs lists it",
            next="free some space there",
        )
    )


if __name__ == "__main__":
    main()
