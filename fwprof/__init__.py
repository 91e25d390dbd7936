"""fwprof: what does each deep-learning framework cost, for this model, on this hardware?

    import fwprof
    result = fwprof.profile(workloads=("mlp",), plugins=("NAME",), budget="quick")
    print(fwprof.summarize(result).cells[0].metrics["step_time"].p50)

Names are loaded when first used, so that importing fwprof costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fwprof.api import Cancellation, compare, export, load, make_plan, profile, runs, summarize, verify
    from fwprof.errors import FwprofError
    from fwprof.records import Comparison, RunRequest, RunResult, RunSummary

_HOMES = {
    "fwprof.api": (
        "Cancellation",
        "compare",
        "export",
        "load",
        "make_plan",
        "profile",
        "runs",
        "summarize",
        "verify",
    ),
    "fwprof.errors": ("FwprofError",),
    "fwprof.records": ("Comparison", "RunRequest", "RunResult", "RunSummary"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Cancellation",
    "Comparison",
    "FwprofError",
    "RunRequest",
    "RunResult",
    "RunSummary",
    "__version__",
    "compare",
    "export",
    "load",
    "make_plan",
    "profile",
    "runs",
    "summarize",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fwprof' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
