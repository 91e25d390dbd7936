"""Errors as the terminal shows them: four lines on stderr, and the status they end with."""

from __future__ import annotations

import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fwprof.errors import ExitCode, FwprofError, RequestError

if TYPE_CHECKING:
    from types import TracebackType


def print_error(error: FwprofError, status: ExitCode | None = None) -> int:
    """Print an error on stderr and return the exit status it stands for."""
    head, *rest = error.lines()
    if is_styled(sys.stderr.isatty()):
        head = click.style("error:", fg="red", bold=True) + head.removeprefix("error:")
    try:
        for line in (head, *rest):
            print(line, file=sys.stderr)
    except BrokenPipeError:
        pass  # nobody reads stderr; the status still says it
    return int(error.exit_code if status is None else status)


def note(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr, flush=True)


def is_styled(is_terminal: bool) -> bool:
    """Say whether a stream may carry colour."""
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def usage_error(error: click.ClickException) -> RequestError:
    """Turn what click found wrong with the command line into our shape."""
    what = _choices_told(error) or error.format_message().strip()
    hint = re.search(r"\(?did you mean:? (?P<words>.+?)\??\)?\.?$", what, re.IGNORECASE)
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "fwprof"
    help_hint = f"{path} --help lists what there is"
    if hint is not None:
        what = what[: hint.start()]
        help_hint = f"did you mean {hint['words']}?"
    what = " ".join(what.split()).rstrip(" .;")
    return RequestError(what[:1].lower() + what[1:], next=help_hint)


def _choices_told(error: click.ClickException) -> str:
    """Say of a word that is none of an option's choices which it is nearest to, or all that there are."""
    choices = getattr(getattr(getattr(error, "param", None), "type", None), "choices", None)
    word = re.search(r": '(?P<word>[^']*)' is not one of ", error.format_message())
    if choices is None or word is None:
        return ""
    near = get_close_matches(word["word"], choices, n=1)
    known = f"did you mean '{near[0]}'?" if near else f"it is one of {', '.join(choices)}"
    return error.format_message()[: word.start()] + f": there is no '{word['word']}'; {known}"


def report_bug(error: Exception, *, is_verbose: bool) -> int:
    """Say that fwprof itself failed, and keep the traceback in a file (or print it)."""
    import traceback

    text = "".join(traceback.format_exception(error))
    kept = ""
    if is_verbose:
        note(text.rstrip())
    else:
        kept = _keep(text)
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    return print_error(
        FwprofError(
            f"a bug in fwprof: {summary[:70]}",
            cause=f"it was raised at {_place(error.__traceback__)}",
            kept=f"the traceback, in {kept}" if kept else "",
            next="please report it with the traceback" + ("" if is_verbose else " (-v prints it)"),
        )
    )


def _place(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"


def _keep(text: str) -> str:
    from tempfile import NamedTemporaryFile

    try:
        with NamedTemporaryFile(
            "w", prefix="fwprof-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        note(text.rstrip())
        return ""
    return file.name
