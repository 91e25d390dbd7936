"""Where answers go: stdout, as text for the terminal's width or as JSON."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fwprof.cli.messages import is_styled

if TYPE_CHECKING:
    from fwprof.report.layout import Section

_WIDTH_OF_A_FILE = 140


def width() -> int:
    """Return how many columns the answer may take."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return max(shutil.get_terminal_size().columns, 40)
    return _WIDTH_OF_A_FILE


def has_blocks() -> bool:
    """Say whether stdout can show the block characters of curves."""
    if os.environ.get("TERM") == "dumb":
        return False
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_sections(sections: Sequence[Section]) -> None:
    """Print the parts of a report."""
    from fwprof.report.layout import to_text

    text = to_text(sections, width())
    if is_styled(sys.stdout.isatty()):
        head, newline, rest = text.partition("\n")
        text = click.style(head, bold=True) + newline + rest
    sys.stdout.write(text)
    sys.stdout.flush()


def print_json(value: object) -> None:
    """Print one JSON document, and nothing else."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    sys.stdout.flush()
    # JSON is UTF-8, whatever the terminal takes.
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def print_list(titles: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print a plain list as a table, or say that there is nothing."""
    from fwprof.report.table import Column, Table

    if not rows:
        print(empty)
        return
    columns = tuple(Column(title, "left", is_key=place == 0) for place, title in enumerate(titles))
    print("\n".join(Table(columns=columns, rows=tuple(tuple(row) for row in rows)).text(width())))
