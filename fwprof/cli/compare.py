"""`fwprof compare`: what changed between two stored runs, with an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option, output_option
from fwprof.cli.output import print_json, print_sections
from fwprof.errors import ExitCode

if TYPE_CHECKING:
    from fwprof.comparison import Gate
    from fwprof.records import Comparison

_HELP = """Compare two stored runs: how the second differs from the first.

A gate (--fail-on) fails only where an interval over several processes says so: exit 1. Where the
runs cannot decide, --inconclusive says whether that passes or ends with 7."""


@click.command("compare", help=with_examples(_HELP, "compare"))
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
@click.option("--fail-on", "limits", multiple=True, metavar="GATE", help="E.g. 'step_time>+5%'; repeat it.")
@click.option(
    "--inconclusive",
    type=click.Choice(["fail", "pass"]),
    default="pass",
    show_default=True,
    help="What a gate that cannot be decided does.",
)
@output_option
@json_option
def command(
    before: str, after: str, limits: tuple[str, ...], inconclusive: str, output: str, as_json: bool
) -> int:
    """Compare two runs."""
    from fwprof import api
    from fwprof.comparison import judge, parse_gate

    gates = [(text, parse_gate(text)) for text in limits]
    runs = (api.load(before, output), api.load(after, output))
    comparisons = api.compare(*runs)
    answers = [(text, gate, judge(gate, comparisons)) for text, gate in gates]
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "before": runs[0].plan.run_id,
                "after": runs[1].plan.run_id,
                "comparisons": comparisons,
                "gates": [{"gate": text, "answer": answer} for text, _, answer in answers],
            }
        )
    else:
        from fwprof.report.differences import differences

        summaries = (api.summarize(runs[0]), api.summarize(runs[1]))
        said = [(text, _explain(gate, answer, comparisons)) for text, gate, answer in answers]
        print_sections(differences(runs, summaries, comparisons, said))
    return status_of([answer for _, _, answer in answers], inconclusive)


def status_of(answers: Sequence[str], inconclusive: str) -> ExitCode:
    """Return the exit status that the gates' answers stand for."""
    if "fail" in answers:
        return ExitCode.GATE_SAID_NO
    if "inconclusive" in answers and inconclusive == "fail":
        return ExitCode.INCONCLUSIVE
    return ExitCode.DONE


def _explain(gate: Gate, answer: str, comparisons: Sequence[Comparison]) -> str:
    compared = [one for one in comparisons if one.metric == gate.metric]
    if answer != "inconclusive":
        return answer
    if not compared:
        return f"inconclusive: {gate.metric.replace('_', ' ')} was not compared"
    return "inconclusive: an interval holds the limit, or rests on too few processes (--thorough)"
