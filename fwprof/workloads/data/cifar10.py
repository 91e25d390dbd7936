"""The user's own copy of CIFAR-10, binary version, as a data set. Nothing is ever unpickled.

Source of the format: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwprof.errors import RequestError, StoreError
from fwprof.records import Workload
from fwprof.workloads.data.dataset import DataSet
from fwprof.workloads.data.folder import MAX_BYTES, find_file, opened
from fwprof.workloads.data.images import check_labels, expect_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SIDE, COLOURS = 32, 3
SHAPES = ((SIDE, SIDE, COLOURS),)
RECORD = 1 + SIDE * SIDE * COLOURS
"""Bytes of a sample: its label, then the red, the green and the blue pixels, row by row."""
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"

_INSIDE = ("cifar-10-batches-bin",)
_HINT = "unpack cifar-10-binary.tar.gz, and name its folder: docs/how-to/data.md"
_PYTHON_VERSION = ("data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz")


def load_cifar10(workload: Workload, folder: Path) -> DataSet:
    """Return the photographs as bytes, (height, width, colours).

    Raises:
        RequestError: the workload does not fit them, or a file is missing.
        StoreError: a file cannot be read, or is not what it should be.
    """
    expect_images(workload, SHAPES)
    # Names are all looked for before a large file is read.
    files = [_find(folder, name) for name in (*TRAIN_FILES, TEST_FILE)]
    train, validation = _read(files[:-1]), _read(files[-1:])
    return DataSet(
        name="cifar10",
        train_inputs=train[0],
        train_targets=train[1],
        validation_inputs=validation[0],
        validation_targets=validation[1],
        is_synthetic=False,
    )


def _find(folder: Path, name: str) -> Path:
    try:
        return find_file(folder, _INSIDE, [name], _HINT)
    except RequestError as error:
        if any(os.path.lexists(folder / pickled) for pickled in _PYTHON_VERSION):
            raise RequestError(
                f"{folder} holds CIFAR-10's Python version: the binary version is needed",
                cause="its files are pickles, which can run any code when they are read",
                next=_HINT,
            ) from error
        raise


def _read(files: Sequence[Path]) -> tuple[Array, Array]:
    """Return photographs and labels of several files, one after another."""
    import numpy as np

    parts = [_records(file) for file in files]
    images = np.empty((sum(map(len, parts)), *SHAPES[0]), np.uint8)
    labels, start = [], 0
    for file, records in zip(files, parts, strict=True):
        labels.append(check_labels(file, records[:, 0]))
        planes = records[:, 1:].reshape(-1, COLOURS, SIDE, SIDE)
        images[start : start + len(records)] = planes.transpose(0, 2, 3, 1)
        start += len(records)
    return images, np.concatenate(labels)


def _records(path: Path) -> Array:
    import numpy as np

    with opened(path) as (file, size):
        if size > MAX_BYTES:
            raise StoreError(f"{path} is larger than {MAX_BYTES} bytes", next="name the folder of CIFAR-10")
        content = file.read(size)
    if not content or len(content) % RECORD:
        raise StoreError(
            f"{path} is cut off, or no file of CIFAR-10's binary version",
            cause=f"{len(content)} bytes are not a multiple of {RECORD}, which one sample takes",
            next=_HINT,
        )
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)
