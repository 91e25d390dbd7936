"""The one import a plugin author needs.

Everything a plugin uses is named here; the rest of fwprof may change without notice.
"""

from __future__ import annotations

from fwprof.choices import read_choice
from fwprof.contracts import (
    Batch,
    DataPipeline,
    Format,
    Gradients,
    LayerCase,
    LayerPrograms,
    LoadedWorkload,
    Meter,
    Model,
    Options,
    PeakKernels,
    PipelineData,
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
    Peak,
    Reading,
    ResolvedLayer,
    RunResult,
    Scalar,
    Workload,
)
from fwprof.records import pipeline as transforms
from fwprof.records import workload as layers
from fwprof.workloads.language import sample_shape, walk
from fwprof.workloads.native import Part, endless_batches, read_parts
from fwprof.workloads.pipelines import Samples, resize

__all__ = [
    "API_VERSION",
    "Batch",
    "CellPlan",
    "DataPipeline",
    "Description",
    "Device",
    "Format",
    "Gradients",
    "LayerCase",
    "LayerPrograms",
    "LoadedWorkload",
    "MachineFacts",
    "Meter",
    "Model",
    "Options",
    "Part",
    "Peak",
    "PeakKernels",
    "PipelineData",
    "PluginUnavailableError",
    "Programs",
    "Reading",
    "RequestError",
    "ResolvedLayer",
    "Result",
    "RunResult",
    "Samples",
    "Scalar",
    "Staged",
    "UnsupportedError",
    "Versions",
    "Workload",
    "endless_batches",
    "hookimpl",
    "layers",
    "machine_facts",
    "read_choice",
    "read_parts",
    "resize",
    "sample_shape",
    "transforms",
    "walk",
]
