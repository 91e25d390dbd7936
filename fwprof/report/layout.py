"""The parts of a report and how they become text or Markdown. Knows no run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from fwprof.report.table import Table

_LABEL_WIDTH = 15


@dataclass(frozen=True)
class Line:
    """A line that stands for itself: the heading, a footnote."""

    text: str
    is_heading: bool = False


@dataclass(frozen=True)
class Facts:
    """Named facts: `settings   as shipped: float32`. An empty name continues the one above."""

    rows: tuple[tuple[str, str], ...]


Section = Line | Facts | Table


def to_text(sections: Sequence[Section], width: int) -> str:
    """Lay sections out for a terminal of that many columns."""
    lines: list[str] = []
    for section in sections:
        if isinstance(section, Table):
            lines += ["", *section.text(width), ""]
        elif isinstance(section, Line):
            lines += wrap(section.text, width, break_long_words=False, break_on_hyphens=False) or [""]
        else:
            lines += _facts(section, width)
    return "\n".join(_without_double_blanks(lines)) + "\n"


def to_markdown(sections: Sequence[Section]) -> str:
    """Write sections as a Markdown document."""
    blocks: list[str] = []
    for section in sections:
        if isinstance(section, Table):
            blocks.append("\n".join(section.markdown()))
        elif isinstance(section, Line):
            blocks.append(f"# {section.text}" if section.is_heading else section.text.replace("*", "\\*", 1))
        else:
            blocks.append("\n".join(_item(name, text) for name, text in section.rows))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _facts(section: Facts, width: int) -> list[str]:
    lines: list[str] = []
    for name, text in section.rows:
        room = max(width - _LABEL_WIDTH - 1, 30)
        pieces = _command(text, room) if text.startswith("fwprof ") else _wrapped(text, room)
        for place, piece in enumerate(pieces or [""]):
            lines.append(f"{name if place == 0 else '':<{_LABEL_WIDTH}} {piece}".rstrip())
    return lines


def _wrapped(text: str, room: int) -> list[str]:
    """Break a fact into lines; what is an item of the line above it stays indented."""
    indent = text[: len(text) - len(text.lstrip())]
    more = indent and f"{indent}  "
    return wrap(text, room, subsequent_indent=more, break_long_words=False, break_on_hyphens=False)


def _command(text: str, room: int) -> list[str]:
    """Keep a command in one piece, to be copied; its comment goes below where it does not fit."""
    line, mark, comment = text.partition("   # ")
    return [text] if len(text) <= room or not mark else [line, f"  # {comment}"]


def _item(name: str, text: str) -> str:
    body = f"`{text}`" if text.startswith("fwprof ") else text.lstrip()
    indent = text[: len(text) - len(text.lstrip())]
    return f"- **{name}**: {body}" if name else f"  {indent}- {body}"


def _without_double_blanks(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return kept
