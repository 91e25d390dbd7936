"""The table of what happens when something goes wrong: tests play it, a page of the docs shows it.

Owns the shape of a row. Knows nothing of how a case is played: one that takes more than a command
names its scene. The rows are in table.toml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Kept = Literal["nothing", "reason", "blocks", "everything", "as it was"]
KEPT: dict[Kept, str] = {
    "nothing": "nothing was begun",
    "reason": "the plan, the reason, and what was printed",
    "blocks": "every finished block, and the reason",
    "everything": "everything",
    "as it was": "the run, as it was",
}
"""What is on disk afterwards, as the docs say it."""

Scene = Literal[
    "plain",
    "small disk",
    "small scratch disk",
    "full file",
    "read-only disk",
    "file in place of the folder",
    "Ctrl-C",
    "Ctrl-C in the build",
    "Ctrl-C twice",
    "SIGTERM",
    "parent killed",
    "reader leaves",
    "bare environment",
    "device in use",
    "full stdout",
    "stored",
    "stored, changed",
    "stored, newer",
    "stored, nonsense",
    "stored, cut off",
]

COMMANDS = {
    "short": "profile -o runs --threads 1 --max-seconds 0.2 --rounds 3",
    "long": "profile -o runs --threads 1 --max-seconds 0.2 --rounds 100000 --no-memory",
}
"""What `{short}` and `{long}` stand for in `words`. Three rounds of five programs are 15 blocks."""


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong, and what is promised."""

    name: str
    when: str
    """What happens, as the docs say it."""
    words: str
    """The command, after `fwprof`."""
    status: int | None = None
    """What it exits with; None where it is killed."""
    says: str = ""
    """What the error says or, where there is a table, what stands in it."""
    fates: tuple[str, ...] = ()
    """How the cells end, in order; empty where no run is finished."""
    stage: str = ""
    """Where the first cell that is not ok ended."""
    kept: Kept = "nothing"
    blocks: int | None = None
    """How many blocks are stored, where that is certain."""
    label: str = ""
    """That a cell carries."""
    scene: Scene = "plain"

    @property
    def command(self) -> list[str]:
        """The words, written out."""
        return self.words.format(**COMMANDS).split()


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cases of one kind."""

    title: str
    cases: tuple[Case, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole table."""

    sections: tuple[Section, ...]


SECTIONS = msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=Table).sections
CASES = [case for section in SECTIONS for case in section.cases]
