"""The one import a plugin author needs.

Everything a plugin uses is named here; the rest of fwprof may change without notice.
"""

from __future__ import annotations

from fwprof.contracts import (
    Batch,
    Gradients,
    LoadedWorkload,
    Meter,
    Model,
    Options,
    PeakKernels,
    Programs,
    Result,
    Staged,
    Versions,
)
from fwprof.environment import machine_facts
from fwprof.errors import PluginUnavailableError, RequestError, UnsupportedError
from fwprof.hookspecs import API_VERSION, hookimpl
from fwprof.records import (
    CellPlan,
    Description,
    Device,
    MachineFacts,
    Reading,
    ResolvedLayer,
    RunResult,
    Scalar,
    Workload,
)
from fwprof.records import workload as layers

__all__ = [
    "API_VERSION",
    "Batch",
    "CellPlan",
    "Description",
    "Device",
    "Gradients",
    "LoadedWorkload",
    "MachineFacts",
    "Meter",
    "Model",
    "Options",
    "PeakKernels",
    "PluginUnavailableError",
    "Programs",
    "Reading",
    "RequestError",
    "ResolvedLayer",
    "Result",
    "RunResult",
    "Scalar",
    "Staged",
    "UnsupportedError",
    "Versions",
    "Workload",
    "hookimpl",
    "layers",
    "machine_facts",
]
