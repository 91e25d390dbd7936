"""Reads IDX files of unsigned bytes, gzip-compressed or not: MNIST's format.

Believes nothing that a header claims before the file's own size agrees. Knows no data set.
Source of the format: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from fwprof.errors import StoreError
from fwprof.workloads.data.folder import MAX_BYTES, opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
_PACKED = b"\x1f\x8b"
_MOST_PACKED = 1032
"""Bytes that one byte of deflate can stand for at most. Source: zlib's technical details, zlib.net."""
_CHUNK = 2**20


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file.

    Args:
        path: the file; whether it is compressed is seen in it, not in its name.
        axes: how many axes the array must have.

    Raises:
        StoreError: it cannot be read, is damaged, or holds something else.
    """
    with opened(path) as (file, size):
        is_packed = file.read(len(_PACKED)) == _PACKED
        file.seek(0)
        if not is_packed:
            return _read(path, file, axes, size, is_packed=False)
        try:
            with gzip.open(file) as unpacked:
                return _read(path, unpacked, axes, size * _MOST_PACKED, is_packed=True)  # type: ignore[arg-type]  # a GzipFile reads like a BinaryIO
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise StoreError(
                f"{path} is cut off or damaged", cause=str(error), next="download it again"
            ) from error


def _read(path: Path, stream: BinaryIO, axes: int, most: int, *, is_packed: bool) -> NDArray[np.uint8]:
    """Read header and content.

    Args:
        most: bytes that the file can hold, header included.
        is_packed: whether `most` is a bound only, since what is packed is not known before it is read.
    """
    import numpy as np

    shape = _read_shape(path, stream, axes)
    header, claimed = 4 + 4 * axes, prod(shape)
    claim = f"its header claims {' × '.join(map(str, shape))} bytes"
    if claimed == 0:
        raise StoreError(f"{path} holds no samples", cause=claim, next="download it again")
    if claimed > MAX_BYTES:
        _refuse(path, "claims too much", f"{claim}, more than the {MAX_BYTES} that are read")
    if claimed > most - header:
        _refuse(path, "is cut off or damaged", f"{claim}, the file can hold {max(most - header, 0)}")
    if not is_packed and claimed < most - header:
        _refuse(path, "is longer than it says", f"{claim}, the file holds {most - header}")
    content = bytearray()
    # One byte more than is claimed, and no more: a small packed file can stand for terabytes.
    while chunk := stream.read(min(_CHUNK, claimed + 1 - len(content))):
        content += chunk
    if len(content) < claimed:
        _refuse(path, "is cut off or damaged", f"{claim}, the file holds {len(content)}")
    if len(content) > claimed:
        _refuse(path, "is longer than it says", f"{claim}, and more follows")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_shape(path: Path, stream: BinaryIO, axes: int) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        wanted = bytes([0, 0, 8, axes]).hex(" ")
        _refuse(path, "is no IDX file", f"it begins with {magic.hex(' ')}, not with {wanted}")
    if _TYPES[magic[2]] != "uint8":
        _refuse(path, f"holds {_TYPES[magic[2]]}, not unsigned bytes", f"it begins with {magic.hex(' ')}")
    if magic[3] != axes:
        _refuse(path, f"has {magic[3]} axes, not {axes}", "images have 3 axes, labels have 1")
    sizes = stream.read(4 * axes)
    if len(sizes) < 4 * axes:
        _refuse(path, "is cut off or damaged", "its header is not whole")
    return struct.unpack(f">{axes}I", sizes)


def _refuse(path: Path, what: str, cause: str) -> NoReturn:
    raise StoreError(f"{path} {what}", cause=cause, next="download it again, or name another folder")
