"""Carries a workload's numbers from the launcher to a worker, as .npy files in a folder.

Owns the folder's layout: `weights/<name>.npy`, `batches/<n>.inputs.npy` and `.targets.npy`,
`data/*.npy`, `stored/*.npy`, `index.json`. Knows no framework. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwprof.contracts import Batch, LoadedWorkload
from fwprof.errors import StoreError
from fwprof.records import WorkloadPlan
from fwprof.workloads.data import DataSet, load_data, target_form
from fwprof.workloads.data.dataset import as_numbers
from fwprof.workloads.language import parameter_shapes, sample_shape, state_shapes
from fwprof.workloads.pipelines import stored_shape, stored_workload
from fwprof.workloads.weights import starting_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

BATCH_COUNT = 8
_PART = 4096
"""Samples that are turned into numbers at a time: of CIFAR-10, 50 MB of 614."""
_ARRAYS = ("train_inputs", "train_targets", "validation_inputs", "validation_targets")


def write_inputs(
    plan: WorkloadPlan,
    batch_size: int,
    seed: int,
    folder: Path,
    with_data_set: bool,
    *,
    data_seed: int | None = None,
    batch_count: int = BATCH_COUNT,
) -> None:
    """Write canonical weights and the first batches, and the whole data set if asked.

    Args:
        plan: a neutral workload; the user's own model brings its own numbers.
        batch_size: samples of a batch.
        seed: of the weights.
        folder: where.
        with_data_set: whether the whole data set is written too.
        data_seed: of the samples and their split; None: as the weights.
        batch_count: how many batches.

    Raises:
        ValueError: the plan is of the user's own model.
        RequestError: the data set is smaller than a batch, or the weights file does not fit.
        StoreError: a file cannot be written, or the weights file cannot be read.
    """
    if plan.spec is None:
        raise ValueError(f"{plan.name} is a native model: it has no canonical inputs")
    weights = starting_weights(plan.spec, plan.layers, seed)
    data = load_data(plan.spec, seed if data_seed is None else data_seed)
    batches = data.batches(batch_count, batch_size)
    try:
        for name, value in weights.items():
            save_array(folder / "weights" / f"{name}.npy", value)
        for number, batch in enumerate(batches):
            save_array(folder / "batches" / f"{number}.inputs.npy", batch.inputs)
            save_array(folder / "batches" / f"{number}.targets.npy", batch.targets)
        for name in _ARRAYS if with_data_set else ():
            _save_samples(folder / "data" / f"{name}.npy", getattr(data, name))
        if with_data_set and stored_shape(plan.spec) != plan.spec.input.shape:
            stored = load_data(stored_workload(plan.spec), seed)
            save_array(folder / "stored" / "train_inputs.npy", stored.train_inputs)
            save_array(folder / "stored" / "train_targets.npy", stored.train_targets)
        index = {
            "data_set": data.name,
            "is_synthetic": data.is_synthetic,
            "is_trimmed": data.is_trimmed,
            "batch_size": batch_size,
            "batches": batch_count,
        }
        (folder / "index.json").write_text(json.dumps(index))
    except OSError as error:
        raise StoreError(f"cannot write the inputs to {folder}", cause=str(error)) from error


def read_inputs(folder: Path, plan: WorkloadPlan) -> LoadedWorkload:
    """Read what `write_inputs` wrote, as writable arrays of the reader's own.

    Raises:
        StoreError: a file is missing, damaged, or holds another shape; names it and both shapes.
    """
    import numpy as np

    if plan.spec is None:
        raise ValueError(f"{plan.name} is a native model: it has no canonical inputs")
    index = _index(folder)
    size, count = index.get("batch_size"), index.get("batches")
    if not isinstance(size, int) or not isinstance(count, int):
        raise StoreError(f"{folder / 'index.json'} is damaged", cause="it names no batch size")
    shapes = parameter_shapes(plan.layers) | state_shapes(plan.layers)
    weights = {
        name: np.array(open_array(folder / "weights" / f"{name}.npy", shape, "float32"))
        for name, shape in shapes.items()
    }
    sample, (target_shape, target_dtype) = sample_shape(plan.spec), target_form(plan.spec)
    dtype = plan.spec.input.dtype
    batches = [
        Batch(
            np.array(open_array(folder / "batches" / f"{n}.inputs.npy", (size, *sample), dtype)),
            np.array(
                open_array(folder / "batches" / f"{n}.targets.npy", (size, *target_shape), target_dtype)
            ),
        )
        for n in range(count)
    ]
    return LoadedWorkload(
        name=plan.name, spec=plan.spec, layers=plan.layers, weights=weights, batches=batches
    )


def read_data_set(folder: Path) -> DataSet:
    """Open the data set that `write_inputs` wrote, memory-mapped.

    Raises:
        StoreError: it was not written, or a file is missing or damaged.
    """
    index = _index(folder)
    arrays = {name: open_array(folder / "data" / f"{name}.npy") for name in _ARRAYS}
    for split in ("train", "validation"):
        samples, labels = len(arrays[f"{split}_inputs"]), len(arrays[f"{split}_targets"])
        if samples != labels:
            raise StoreError(f"{folder} is damaged", cause=f"{samples} {split} samples, {labels} labels")
    return DataSet(
        name=str(index.get("data_set")),
        is_synthetic=index.get("is_synthetic") is not False,
        is_trimmed=index.get("is_trimmed") is True,
        **arrays,
    )


def save_array(path: Path, value: Array) -> None:
    """Write one array as .npy, making its folder."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.lib.format.write_array(file, value, allow_pickle=False)


def _save_samples(path: Path, value: Array) -> None:
    """Write a data set's array as the numbers that models take, a part at a time.

    Bytes of images become float32 here: whatever reads the file may rely on it. Written, not mapped:
    on a full disk a mapped file ends the process.
    """
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        dtype = as_numbers(value[:0]).dtype
        header = {"descr": dtype.str, "fortran_order": False, "shape": value.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(value), _PART):
            file.write(as_numbers(value[start : start + _PART]).tobytes())


def open_array(path: Path, shape: Sequence[int | None] | None = None, dtype: str | None = None) -> Array:
    """Map an array from a .npy file; nothing is unpickled.

    Args:
        path: of the file.
        shape: that it must have; None: any, of the array or of one axis.
        dtype: that it must have; None: any.

    Raises:
        StoreError: it is missing, damaged, or of another shape or type.
    """
    import numpy as np

    try:
        # Only maps .npy files, never unpickles, and compares the header with the file's size first.
        value: Array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise StoreError(f"cannot read {path}", cause=error.strerror or str(error)) from error
    except (ValueError, EOFError) as error:
        expected = f"; {shape} of {dtype} was expected" if shape else ""
        raise StoreError(f"{path} is damaged", cause=f"{error}{expected}") from error
    is_of_shape = shape is None or (
        value.ndim == len(shape)
        and all(wanted in (None, found) for wanted, found in zip(shape, value.shape, strict=True))
    )
    if not is_of_shape or (dtype is not None and value.dtype != dtype):
        raise StoreError(
            f"{path} does not fit the workload",
            cause=f"expected {shape} of {dtype}, found {value.shape} of {value.dtype}",
        )
    return value


def _index(folder: Path) -> Mapping[str, Any]:
    path = folder / "index.json"
    try:
        index = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}", cause=error.strerror or str(error)) from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged", cause=str(error)) from error
    if not isinstance(index, dict):
        raise StoreError(f"{path} is damaged", cause="it holds no mapping")
    return index
