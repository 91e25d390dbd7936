"""The neutral model language and the workloads that fwprof brings along.

Front of the package: finds a workload by name or file and plans it. Loads no numbers: those are
made by `weights` and `data` and carried by `inputs`. Knows no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import msgspec

from fwprof.configuration import parse_yaml, read_yaml, suggest
from fwprof.errors import RequestError
from fwprof.records import Precision, Scalar, Workload, WorkloadPlan
from fwprof.records.workload import SyntheticData
from fwprof.workloads.analysis import parameter_count, traffic_bytes, training_flops
from fwprof.workloads.data.sources import place_data
from fwprof.workloads.language import is_trimmed, resolve
from fwprof.workloads.pipelines import check_pipeline
from fwprof.workloads.weights import read_weights

__all__ = ["QUICK_SET", "batch_size_for", "builtin_names", "find_workload", "plan_workload"]

QUICK_SET = ("mlp", "lenet", "transformer-encoder")
"""What is profiled when nothing is named: three kinds of work, since one says little of a machine."""

_BUILTIN = files(__name__) / "builtin"
_SUFFIXES = (".yaml", ".yml")


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in workloads, in alphabetical order."""
    return tuple(
        sorted(file.name.removesuffix(".yaml") for file in _BUILTIN.iterdir() if file.name.endswith(".yaml"))
    )


def find_workload(name_or_path: str, overrides: Mapping[str, Scalar] | None = None) -> Workload:
    """Return a built-in workload by its name, or the one in a YAML file.

    Args:
        overrides: `path.to.field` → value, instead of what is written.

    Raises:
        RequestError: no such workload or file, or its content is refused; names file, line and key.
        StoreError: the file cannot be read.
    """
    if name_or_path in builtin_names():
        text = (_BUILTIN / f"{name_or_path}.yaml").read_text(encoding="utf-8")
        return place_data(parse_yaml(text, Workload, name_or_path, overrides), Path())
    path = Path(name_or_path)
    if name_or_path.endswith(_SUFFIXES) or path.is_file():
        workload = read_yaml(path, Workload, overrides)
        if workload.weights is not None:
            weights = str((path.parent / workload.weights).absolute())
            workload = msgspec.structs.replace(workload, weights=weights)
        return place_data(workload, path.parent)
    raise RequestError(
        f"there is no workload '{name_or_path}'",
        cause=f"built in are {', '.join(builtin_names())}",
        next=suggest(name_or_path, builtin_names())
        or "choose one of these, or name a .yaml file that exists",
    )


def plan_workload(workload: Workload, batch_size: int, precision: Precision = "float32") -> WorkloadPlan:
    """Return the workload with every shape resolved and its analytic counts for this batch size.

    Args:
        precision: that it is trained in: numbers of fewer bytes move fewer bytes.

    Raises:
        RequestError: its layers do not fit together, or its weights file or pipeline does not fit them.
        StoreError: its weights file cannot be read.
    """
    layers = resolve(workload)
    if batch_size % workload.accumulate:
        raise RequestError(
            f"workload {workload.name}: a batch of {batch_size} cannot be cut into equal parts",
            cause=f"it accumulates the gradients of {workload.accumulate} parts",
            next=f"choose a batch size that is a multiple of {workload.accumulate}",
        )
    check_pipeline(workload)
    if workload.weights is not None:
        # Read again where it is used; refused now, before anything is measured.
        read_weights(Path(workload.weights), layers)
    if isinstance(workload.data, SyntheticData) and workload.data.samples < batch_size:
        # Made data can always fill a batch; the plan says how many samples that took.
        data = msgspec.structs.replace(workload.data, samples=batch_size)
        workload = msgspec.structs.replace(workload, data=data)
    return WorkloadPlan(
        name=workload.name,
        spec=workload,
        layers=layers,
        parameter_count=parameter_count(layers),
        # Of batches whose length changes there is no one count.
        flops=None if is_trimmed(workload) else training_flops(layers, batch_size),
        traffic_bytes=None
        if is_trimmed(workload)
        else traffic_bytes(layers, batch_size, workload.optimizer, precision),
    )


def batch_size_for(workload: Workload, device_kind: str) -> int:
    """Return the batch size that the workload declares for a kind of device, or by default.

    Raises:
        RequestError: it declares neither.
    """
    sizes = workload.batch_size
    for key in (device_kind, "default"):
        if key in sizes:
            return sizes[key]
    raise RequestError(
        f"workload {workload.name} has no batch size for {device_kind}",
        cause=f"it has one for {', '.join(sizes) or 'nothing'}",
        next="add `default` to its batch_size, or choose one with --batch-size",
    )
