"""What `fwprof profile` exits with: from how its cells ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwprof.errors import ExitCode

if TYPE_CHECKING:
    from fwprof.records import CellResult, RunResult

_COULD_NOT_RUN = {"unsupported", "skipped"}


def status_of(result: RunResult) -> ExitCode:
    """Return the exit status of a finished run (docs/reference/exit-codes.md).

    Labels, a failed comparison of answers and a run that `--max-seconds` ended are no failures.
    """
    if result.is_interrupted:
        return ExitCode.INTERRUPTED
    # What was skipped was measured under the name of another preset.
    fates = {cell.fate for cell in result.cells if cell.failure is None or not cell.failure.same_as}
    if fates == {"ok"} and not result.plan.unavailable:
        return ExitCode.DONE
    if any(is_measured(cell) for cell in result.cells):
        return ExitCode.PARTIAL
    if fates <= _COULD_NOT_RUN:
        return ExitCode.NOT_AVAILABLE
    if fates - _COULD_NOT_RUN == {"timeout"}:
        return ExitCode.TIME_LIMIT
    return ExitCode.NOTHING_MEASURED


def is_measured(cell: CellResult) -> bool:
    """Say whether there is anything to show of a cell."""
    return cell.fate == "ok" or any(measurement.blocks for measurement in cell.measurements)
