"""What checking a plugin against the contract found."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record
from fwprof.records.plan import PluginRef


class CheckOutcome(Record, frozen=True, kw_only=True):
    """What one check of the conformance suite found."""

    check: str
    verdict: Literal["passed", "failed", "error", "not applicable"]
    """`error` where the plugin did something that the check did not expect: raised, died, hung."""
    message: str = ""
    """Why it did not pass."""
    expected: str = ""
    """What the check expects of every plugin, where this one did not pass."""


class CheckedPlugin(Record, frozen=True, kw_only=True):
    """A plugin and what every check of its kind found."""

    plugin: PluginRef
    outcomes: tuple[CheckOutcome, ...]
