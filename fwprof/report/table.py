"""A table of text, laid out for a width of columns or as Markdown. Knows only strings."""

from __future__ import annotations

from dataclasses import dataclass

_GAP = "  "
NOTHING = ("–", "")
"""What a cell of the table holds where there is nothing to say."""


@dataclass(frozen=True)
class Column:
    """One column. A table that is too wide is broken into parts, each with the `is_key` columns.

    `starts_part` marks where it is best broken.
    """

    title: str
    align: str = "right"
    is_key: bool = False
    starts_part: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under columns. `gutter` is what stands left of every line."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    gutter: str = ""

    def text(self, width: int) -> list[str]:
        """Lay the table out; what does not fit beside the key columns follows below them."""
        widths = [
            max(len(column.title), *(len(row[place]) for row in self.rows), 0)
            for place, column in enumerate(self.columns)
        ]
        lines: list[str] = []
        for places in self._parts(widths, width):
            if lines:
                lines.append("")
            for cells in (tuple(column.title for column in self.columns), *self._rows(places)):
                padded = [
                    f"{cells[place]:{'<' if self.columns[place].align == 'left' else '>'}{widths[place]}}"
                    for place in places
                ]
                lines.append((self.gutter + _GAP.join(padded)).rstrip())
        return lines

    def _rows(self, places: list[int]) -> list[tuple[str, ...]]:
        """Return the rows that have anything to say in these columns; all, in the first part."""
        own = [place for place in places if not self.columns[place].is_key]
        is_first = own[:1] == [place for place, column in enumerate(self.columns) if not column.is_key][:1]
        return [row for row in self.rows if is_first or any(row[place] not in NOTHING for place in own)]

    def markdown(self) -> list[str]:
        """Write the table as a Markdown table."""
        titles = [_escape(column.title) for column in self.columns]
        rules = [":--" if column.align == "left" else "--:" for column in self.columns]
        rows = [[_escape(cell) for cell in row] for row in self.rows]
        return [f"| {' | '.join(cells)} |" for cells in (titles, rules, *rows)]

    def _parts(self, widths: list[int], width: int) -> list[list[int]]:
        keys = [place for place, column in enumerate(self.columns) if column.is_key]
        others = [place for place in range(len(self.columns)) if place not in keys]

        def fits(places: list[int]) -> bool:
            return len(self.gutter) + sum(widths[place] + len(_GAP) for place in places) - len(_GAP) <= width

        groups: list[list[int]] = []
        for place in others:
            if not groups or self.columns[place].starts_part:
                groups.append([])
            groups[-1].append(place)
        parts: list[list[int]] = [[]]
        for group in groups:
            if parts[-1] and not fits([*keys, *parts[-1], *group]):
                parts.append([])
            for place in group:
                if parts[-1] and not fits([*keys, *parts[-1], place]):
                    parts.append([])
                parts[-1].append(place)
        return [[*keys, *part] for part in parts]


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
