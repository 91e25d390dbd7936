"""`fwprof check`: does a plugin do what its contract says?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fwprof.catalog import KINDS
from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option
from fwprof.cli.output import print_json
from fwprof.cli.progress import is_drawn_here
from fwprof.errors import ExitCode

if TYPE_CHECKING:
    from fwprof.records import CheckOutcome

_HELP = """Run the conformance suite on an installed plugin: one line a check.

Each check runs in a child process; one that crashes or hangs is a failed check, and the others go
on. Exits with 1 where a check failed."""

_LIMIT_SECONDS = 300.0


@click.command("check", help=with_examples(_HELP, "check"))
@click.argument("name", metavar="NAME[:VARIANT][,KEY=VALUE]")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Kind of plugin, where several have the name.")
@click.option("--variant", metavar="VARIANT", help="Variant of a framework.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="Where a framework builds.")
@click.option(
    "--limit",
    default=_LIMIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    help="Longest time of one check.",
)
@json_option
def command(
    name: str, kind: str | None, variant: str | None, device: str, limit: float, as_json: bool
) -> int:
    """Check."""
    from fwprof import api

    lines = _Lines(is_silent=as_json)
    found = api.check(
        name, kind=kind, variant=variant, device=device, limit_seconds=limit, observer=lines.tell
    )
    failed = [one for one in found.outcomes if one.verdict in ("failed", "error")]
    passed = [one for one in found.outcomes if one.verdict == "passed"]
    if as_json:
        print_json({"plugin": found.plugin, "device": device, "passed": not failed, "checks": found.outcomes})
    else:
        rest = len(found.outcomes) - len(failed) - len(passed)
        print(
            f"\n{found.plugin.kind} {found.plugin.name} "
            f"({found.plugin.distribution} {found.plugin.version}): "
            f"{len(passed)} passed, {len(failed)} failed, {rest} not applicable"
        )
    return ExitCode.GATE_SAID_NO if failed else ExitCode.DONE


class _Lines:
    """Prints each check as it ends and, on a terminal, the one that runs."""

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent
        self._is_drawn = is_drawn_here()

    def tell(self, name: str, outcome: CheckOutcome | None) -> None:
        """Take the beginning or the end of a check."""
        words = name.replace("_", " ")
        if outcome is None:
            self._draw(f"  running        {words}")
            return
        self._draw("")
        if self._is_silent:
            return
        verdict = "failed" if outcome.verdict == "error" else outcome.verdict
        print(f"{verdict:<14}  {words}", flush=True)
        for text in _reasons(outcome):
            print(f"{'':<14}    {text}", flush=True)

    def _draw(self, text: str) -> None:
        if self._is_drawn:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def _reasons(outcome: CheckOutcome) -> list[str]:
    message = " ".join(outcome.message.split())
    if outcome.verdict == "passed":
        return []
    if outcome.verdict == "not applicable":
        return [message]
    return [message] + ([f"expected: {outcome.expected}"] if outcome.expected else [])
