"""The exceptions of fwprof, each with its exit code.

Owns the four-part message every error has (what happened, cause, what was kept, what to do
next). Knows nothing of terminals: only `fwprof.cli` prints an error or exits with its code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the `fwprof` command's exit status means."""

    DONE = 0
    """Done: every cell is ok. Labels, and answers that differ, are no failure."""
    GATE_SAID_NO = 1
    """A gate said no: a regression, an answer that differs, a conformance check that failed."""
    USAGE = 2
    """The command or a configuration file cannot be understood or carried out as written."""
    PARTIAL = 3
    """Some cells are not ok; the rest are measured and stored."""
    NOTHING_MEASURED = 4
    """No cell was measured."""
    NOT_AVAILABLE = 5
    """Nothing that was asked for is available here: plugin, framework, device, driver."""
    UNREADABLE = 6
    """A stored run or another file cannot be read, or the disk is full."""
    INCONCLUSIVE = 7
    """A gate could not decide; only where that was asked to count."""
    BUG = 70
    """A bug in fwprof."""
    TIME_LIMIT = 124
    """Time limits left nothing."""
    INTERRUPTED = 130
    """Interrupted; what was measured is stored."""
    TERMINATED = 143
    """Terminated; what was measured is stored."""


COLUMNS = 100
"""No line of an error is longer."""


class FwprofError(Exception):
    """Anything fwprof refuses or fails to do, for a reason a user can act on.

    Args:
        what: one line, what happened, without a final stop.
        cause: why, as far as it is known.
        kept: what was measured and is still on disk.
        next: what the user can do about it.
    """

    exit_code = ExitCode.BUG

    def __init__(self, what: str, *, cause: str = "", kept: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.kept = kept
        self.next = next

    def lines(self) -> Sequence[str]:
        """Return the message as at most four lines, empty parts left out."""
        parts = (("cause", self.cause), ("kept", self.kept), ("next", self.next))
        lines = [f"error: {self.what}"] + [f"  {name + ':':<6} {text}" for name, text in parts if text]
        # A part may be laid out in several lines, each of which has to fit.
        return ["\n".join(map(_fit, line.splitlines())) for line in lines]


def _fit(line: str) -> str:
    """Shorten a line that is too long: folders of paths first, then the middle."""
    if len(line) > COLUMNS:
        line = re.sub(r"(?<!\S)(['\"]?)/\S*/(?=[^/\s])", r"\1…/", line)
    if len(line) <= COLUMNS:
        return line
    kept = COLUMNS - len(" … ")
    return f"{line[: kept * 2 // 3]} … {line[kept * 2 // 3 - kept :]}"


class RequestError(FwprofError):
    """The request cannot be understood or carried out as written."""

    exit_code = ExitCode.USAGE


class PluginError(FwprofError):
    """A plugin, or what it stands for, cannot be used here."""

    exit_code = ExitCode.NOT_AVAILABLE


class PluginNotFoundError(PluginError):
    """No installed distribution offers a plugin of that name."""


class PluginUnavailableError(PluginError):
    """The plugin is installed; what it needs (a package, a driver, a device) is not."""


class PluginLoadError(PluginError):
    """The plugin could not be imported."""


class PluginContractError(PluginError):
    """The plugin loaded, and does not do what its hooks promise."""


class UnsupportedError(PluginError):
    """The plugin works, and cannot do this: a layer, a precision, a variant."""


class RunError(FwprofError):
    """Measuring failed; what was measured before is stored."""

    exit_code = ExitCode.NOTHING_MEASURED


class WorkerCrashedError(RunError):
    """A worker process died or raised."""


class TimeLimitError(RunError):
    """A worker, or the whole run, took longer than its limit."""

    exit_code = ExitCode.TIME_LIMIT


class InterruptedRunError(RunError):
    """The user, or the embedding program, stopped the run."""

    exit_code = ExitCode.INTERRUPTED


class StoreError(FwprofError):
    """A stored run, or another input file, cannot be read or written."""

    exit_code = ExitCode.UNREADABLE
