"""What every exporter must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

import pluggy

from fwprof.plugin import RunResult
from fwprof.testing.conformance.subject import register, register_or_leave
from fwprof.testing.conformance.verdicts import expect
from fwprof.testing.samples import sample_result


@dataclass
class ExporterSubject:
    """An exporter under test.

    Args:
        plugin: the plugin object or its entry point.
        name: as users type it.
        folder: an empty folder.
        destination: name of the file or folder to write.
        result: what is exported; by default a run with one good and one killed cell.
    """

    plugin: object
    name: str
    folder: Path
    destination: str = "exported"
    result: RunResult = field(default_factory=sample_result)
    _numbers: count[int] = field(default_factory=count, repr=False)

    @cached_property
    def manager(self) -> pluggy.PluginManager:
        """The manager that holds the plugin alone."""
        return register_or_leave(self.plugin, "exporter", self.name)

    def export(self) -> tuple[Path, Sequence[Path]]:
        """Export into a new, empty folder; return the destination and what was returned."""
        parent = self.folder / f"export-{next(self._numbers)}"
        parent.mkdir(parents=True)
        destination = parent / self.destination
        written: Sequence[Path] | None = self.manager.hook.export(result=self.result, destination=destination)
        return destination, written or ()


def check_hooks_keep_the_contract(subject: ExporterSubject) -> None:
    """The plugin implements the hook of an exporter, with arguments that exist."""
    register(subject.plugin, "exporter", subject.name)


def check_written_paths_exist(subject: ExporterSubject) -> None:
    """export returns the paths it wrote, at least one, and they are there."""
    _, written = subject.export()
    expect(bool(written), "export returned no path")
    for path in written:
        expect(isinstance(path, Path) and path.is_file(), f"export returned {path}, which is no file")
        expect(path.stat().st_size > 0, f"{path.name} is empty")


def check_nothing_is_written_elsewhere(subject: ExporterSubject) -> None:
    """export writes the destination or into it, nothing beside it."""
    destination, _ = subject.export()
    beside = sorted(path.name for path in destination.parent.iterdir() if path != destination)
    expect(not beside, f"export wrote {', '.join(beside)} beside {destination.name}")


def check_every_file_is_returned(subject: ExporterSubject) -> None:
    """export returns every file it wrote."""
    destination, written = subject.export()
    found = {path for path in destination.parent.rglob("*") if path.is_file()}
    silent = sorted(path.name for path in found - {path.resolve() for path in written} - set(written))
    expect(not silent, f"export does not return {', '.join(silent)}")


def check_failed_cells_are_exported(subject: ExporterSubject) -> None:
    """A cell that failed is in the export too, by its id."""
    _, written = subject.export()
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in written)
    for cell in subject.result.cells:
        expect(cell.id in text, f"cell {cell.id} ({cell.fate}) is not in the export")


EXPORTER_CHECKS = (
    check_hooks_keep_the_contract,
    check_written_paths_exist,
    check_nothing_is_written_elsewhere,
    check_every_file_is_returned,
    check_failed_cells_are_exported,
)
