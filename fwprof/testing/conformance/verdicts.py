"""How a check speaks: what it expects, and what came out of it.

Knows nothing of plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from fwprof.errors import FwprofError
from fwprof.records import CheckOutcome

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SubjectT = TypeVar("SubjectT")


class ConformanceError(AssertionError):
    """The plugin does not do what the contract says."""


class NotApplicable(Exception):  # noqa: N818  # no error: the check does not concern this plugin
    """The check says nothing about this plugin; the message says why."""


def run_checks(checks: Iterable[Callable[[SubjectT], None]], subject: SubjectT) -> Sequence[CheckOutcome]:
    """Run every check on one subject, whatever the ones before found."""
    return [run_check(check, subject) for check in checks]


def run_check(check: Callable[[SubjectT], None], subject: SubjectT) -> CheckOutcome:
    """Run one check; whatever it raises is part of its outcome."""
    try:
        check(subject)
    except ConformanceError as error:
        return _outcome(check, "failed", str(error))
    except NotApplicable as reason:
        return _outcome(check, "not applicable", str(reason))
    except Exception as error:  # noqa: BLE001  # a door: the plugin's author's code runs inside
        cause = error.cause if isinstance(error, FwprofError) else ""
        said = ": ".join(filter(None, (type(error).__name__, str(error), cause)))
        return _outcome(check, "error", said)
    return CheckOutcome(check=name_of(check), verdict="passed")


def name_of(check: Callable[..., None]) -> str:
    """Return what a check is called: its function's name, without `check_`."""
    return check.__name__.removeprefix("check_")


def _outcome(
    check: Callable[..., None], verdict: Literal["failed", "not applicable", "error"], message: str
) -> CheckOutcome:
    expected = (check.__doc__ or "").strip().partition("\n")[0]
    return CheckOutcome(check=name_of(check), verdict=verdict, message=message, expected=expected)


def expect(condition: bool, message: str) -> None:
    """Raise ConformanceError with `message` unless the condition holds."""
    if not condition:
        raise ConformanceError(message)


def expect_close(found: ArrayLike, wanted: ArrayLike, tolerance: float, what: str) -> None:
    """Expect two arrays to agree to `tolerance` of the wanted one's largest magnitude."""
    left, right = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    expect(left.shape == right.shape, f"{what} has shape {left.shape}, not {right.shape}")
    scale = max(float(np.abs(right).max(initial=0.0)), 1e-3)
    error = float(np.abs(left - right).max(initial=0.0)) / scale
    expect(error <= tolerance, f"{what} is off by {error:.2g} of its largest value")


def expect_names(found: Collection[str], wanted: Collection[str], what: str) -> None:
    """Expect two collections to hold the same names."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    expect(not missing, f"{what} lacks {', '.join(missing)}")
    expect(not extra, f"{what} has {', '.join(extra)}, which the workload has not")


def expect_same(found: Mapping[str, Any], wanted: Mapping[str, Any], tolerance: float, what: str) -> None:
    """Expect two mappings of arrays to have the same names and to agree name by name."""
    expect_names(found, wanted, what)
    for name in wanted:
        expect_close(found[name], wanted[name], tolerance, f"{what}: {name}")
