"""The user's own copy of MNIST as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwprof.errors import StoreError
from fwprof.records import Workload
from fwprof.workloads.data.dataset import DataSet
from fwprof.workloads.data.folder import find_file
from fwprof.workloads.data.idx import read_idx
from fwprof.workloads.data.images import check_labels, expect_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SIDE = 28
SHAPES = ((SIDE, SIDE, 1), (SIDE * SIDE,))
_INSIDE = ("MNIST/raw", "raw")
_HINT = "put MNIST's four IDX files (also .gz) into one folder: docs/how-to/data.md"


def load_mnist(workload: Workload, folder: Path) -> DataSet:
    """Return the images, as the bytes of the files.

    Raises:
        RequestError: the workload does not fit them, or a file is missing.
        StoreError: a file cannot be read, or is not what it should be.
    """
    expect_images(workload, SHAPES)
    # Names are all looked for before a large file is read.
    files = {
        part: (_find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1))
        for part in ("train", "t10k")
    }
    train, validation = (_read(*pair, workload.input.shape) for pair in files.values())
    return DataSet(
        name="mnist",
        train_inputs=train[0],
        train_targets=train[1],
        validation_inputs=validation[0],
        validation_targets=validation[1],
        is_synthetic=False,
    )


def _find(folder: Path, stem: str, axes: int) -> Path:
    """Find a file by the names that the original, its mirrors and their unpackers give it."""
    plain = [f"{stem}{mark}idx{axes}-ubyte" for mark in "-."]
    return find_file(folder, _INSIDE, [*plain, *(f"{name}.gz" for name in plain)], _HINT)


def _read(images_file: Path, labels_file: Path, shape: tuple[int, ...]) -> tuple[Array, Array]:
    labels = check_labels(labels_file, read_idx(labels_file, 1))
    images = read_idx(images_file, 3)
    if images.shape[1:] != (SIDE, SIDE):
        raise StoreError(
            f"{images_file} does not hold MNIST's images",
            cause=f"they have {images.shape[1]} × {images.shape[2]} pixels, not {SIDE} × {SIDE}",
            next="name the folder of MNIST itself",
        )
    if len(images) != len(labels):
        raise StoreError(
            f"{images_file.name} and {labels_file.name} do not belong together",
            cause=f"{len(images)} images, {len(labels)} labels in {images_file.parent}",
            next="download both again",
        )
    return images.reshape(-1, *shape), labels
