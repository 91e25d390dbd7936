"""What cells are called: as much as tells them apart, and no more."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from fwprof.report.figures import listed, plural

if TYPE_CHECKING:
    from fwprof.records import CellSummary, RunResult

_PRESETS = {"as-shipped": "as shipped", "equal": "equal"}


def framework_name(cell: CellSummary) -> str:
    """Return `framework[:backend][:mode]` as it was resolved, as far as that is known."""
    return ":".join(filter(None, (cell.framework, cell.backend, cell.mode)))


def data_text(name: str | None, size: int | None) -> str:
    """Return what a data set is called and how many samples train; nothing where it is not known."""
    return "" if name is None else ", ".join([name, *([] if size is None else [plural(size, "sample")])])


def chosen_name(result: RunResult, cell: CellSummary) -> str:
    """Return `framework_name`, or what the user wrote for a cell that never described itself."""
    if cell.mode is None:
        for plan in result.plan.cells():
            if plan.id == cell.id:
                return str(plan.choice)
    return framework_name(cell)


class CellNames:
    """Names for the cells of one table: the parts in which they differ, in a fixed order."""

    TITLES = (
        "workload",
        "framework",
        "environment",
        "device",
        "precision",
        "settings",
        "threads",
        "batch",
        "data size",
    )

    def __init__(self, result: RunResult, cells: Sequence[CellSummary]) -> None:
        self._parts = {cell.id: self._parts_of(result, cell) for cell in cells}
        workloads = {parts[0] for parts in self._parts.values()}
        # What the workload alone decides, as a batch size of its own, tells no two cells apart.
        self.varying = tuple(
            title
            for place, title in enumerate(self.TITLES)
            if (len(workloads) > 1 if title == "workload" else self._differs_within_a_workload(place))
        )

    def _differs_within_a_workload(self, place: int) -> bool:
        seen = {(parts[0], parts[place]) for parts in self._parts.values()}
        return len(seen) > len({workload for workload, _ in seen})

    @staticmethod
    def _parts_of(result: RunResult, cell: CellSummary) -> tuple[str, ...]:
        # An environment named like its framework is the rule and tells nobody anything.
        environment = "" if cell.environment == cell.framework else cell.environment
        return (
            cell.workload,
            chosen_name(result, cell),
            environment,
            cell.device,
            cell.precision,
            _PRESETS.get(cell.settings_preset, cell.settings_preset),
            str(cell.threads),
            "" if cell.batch_size is None else str(cell.batch_size),
            "" if cell.data_size is None else str(cell.data_size),
        )

    def part(self, cell_id: str, title: str) -> str:
        """Return one part of a cell's name."""
        return self._parts[cell_id][self.TITLES.index(title)]

    def short(self, cell_id: str, *, without: Sequence[str] = ()) -> str:
        """Return the cell's name: its framework (or workload alone) and whatever else differs.

        Args:
            cell_id: the cell.
            without: parts that the reader already knows, e.g. the workload of the table's row.
        """
        if cell_id not in self._parts:
            return cell_id
        wanted = [title for title in self.varying if title not in without]
        if not wanted:
            wanted = ["framework"] if "workload" in without else ["workload"]
        units = {"threads": " threads", "batch": " a batch", "data size": " samples"}
        parts = [self.part(cell_id, title) + units.get(title, "") for title in wanted]
        # Of two environments one may be the framework's own, which has no name here.
        return " ".join(part for part in parts if part.strip()) or self.part(cell_id, "framework")

    def which(self, cell_ids: Collection[str], among: Sequence[str], *, without: Sequence[str] = ()) -> str:
        """Return some of several cells in words: none of them where it is all, else as few as it takes.

        Args:
            cell_ids: the cells that are meant.
            among: all that could be meant.
            without: as for `short`.
        """
        others = [cell_id for cell_id in among if cell_id not in cell_ids]
        if not others:
            return ""
        said, prefix = [cell_id for cell_id in among if cell_id in cell_ids], ""
        if 2 * len(others) < len(said):
            said, prefix = others, "all but "
        return prefix + listed(list(dict.fromkeys(self.short(one, without=without) for one in said)))

    def in_words(self, text: str, *, without: Sequence[str] = ()) -> str:
        """Return a sentence with each cell's id replaced by its name; `without` is that of `short`."""
        for cell_id in sorted(self._parts, key=len, reverse=True):
            name = self.short(cell_id, without=without)
            text = re.sub(rf"(?<!\S){re.escape(cell_id)}(?![\w-])", name, text)
        return text
