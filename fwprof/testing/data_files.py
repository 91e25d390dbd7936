"""Small files in the formats of MNIST and CIFAR-10, for tests: random pixels, every class in turn."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx_bytes(values: NDArray[Any]) -> bytes:
    """Return an array as an IDX file holds it: magic, sizes, big-endian numbers."""
    magic = bytes([0, 0, _TYPES[values.dtype.name], values.ndim])
    return (
        magic
        + np.array(values.shape, ">u4").tobytes()
        + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def write_mnist(folder: Path, *, train: int = 40, validation: int = 10, is_packed: bool = False) -> Path:
    """Write the four files of MNIST, with so many samples, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", validation)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        arrays = {"images-idx3": images, "labels-idx1": np.arange(count, dtype=np.uint8) % 10}
        for name, values in arrays.items():
            content = idx_bytes(values)
            path = folder / f"{part}-{name}-ubyte{'.gz' * is_packed}"
            path.write_bytes(gzip.compress(content) if is_packed else content)
    return folder


def write_cifar10(folder: Path, *, in_a_batch: int = 8, validation: int = 10) -> Path:
    """Write the six files of CIFAR-10's binary version and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    counts = {f"data_batch_{number}.bin": in_a_batch for number in range(1, 6)}
    for name, count in {**counts, "test_batch.bin": validation}.items():
        records = random.integers(0, 256, (count, 3073), np.uint8)
        records[:, 0] = np.arange(count) % 10
        (folder / name).write_bytes(records.tobytes())
    return folder
