"""IDX files are read as they were written, and nothing they claim is believed unseen."""

from __future__ import annotations

import gzip
import os
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fwprof.errors import ExitCode, RequestError, StoreError
from fwprof.testing.data_files import idx_bytes
from fwprof.workloads.data.folder import MAX_BYTES, place_folder
from fwprof.workloads.data.idx import read_idx

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some-file"
    path.write_bytes(idx_bytes(IMAGES))
    return path


@contextmanager
def little_memory(most: int = 4 * 2**20) -> Iterator[None]:
    """Fail where the block allocates more than a few megabytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def header(*sizes: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def written(content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(content)
    return Path(file.name)


@settings(deadline=None)  # the machine's load is no bug
@given(
    values=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3, max_side=9)),
    is_packed=st.booleans(),
)
def test_what_was_written_is_read(values: np.ndarray, is_packed: bool) -> None:
    content = idx_bytes(values)
    path = written(gzip.compress(content) if is_packed else content)
    try:
        assert np.array_equal(read_idx(path, values.ndim), values)
    finally:
        path.unlink()


@settings(deadline=None)  # the machine's load is no bug
@given(
    content=st.binary(min_size=1, max_size=64), head=st.sampled_from([b"", header(2, 2, 2), b"\x1f\x8b\x08"])
)
def test_nonsense_is_refused_and_nothing_else_happens(content: bytes, head: bytes) -> None:
    path = written(head + content)
    try:
        if len(head) == 16 and len(content) == 8:
            assert read_idx(path, 3).shape == (2, 2, 2)
        else:
            with pytest.raises(StoreError):
                read_idx(path, 3)
    finally:
        path.unlink()


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_file_cut_off_anywhere_is_refused(file: Path, is_packed: bool) -> None:
    content = file.read_bytes()
    content = gzip.compress(content) if is_packed else content
    for length in range(1, len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(StoreError, match=r"is cut off or damaged|is no IDX file"):
            read_idx(file, 3)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_file_that_is_longer_than_it_says_is_refused(file: Path, is_packed: bool) -> None:
    content = file.read_bytes() + b"x"
    file.write_bytes(gzip.compress(content) if is_packed else content)
    with pytest.raises(StoreError, match="is longer than it says") as caught:
        read_idx(file, 3)
    assert "its header claims 3 × 4 × 5 bytes" in caught.value.cause
    assert caught.value.exit_code == ExitCode.UNREADABLE


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((2**32 - 1, 2**32 - 1, 2**32 - 1), "claims too much"),
        ((2**21, 2**10, 1), "is cut off or damaged"),
        ((0, 28, 28), "holds no samples"),
    ],
)
def test_nothing_is_allocated_for_what_a_header_claims(
    file: Path, sizes: tuple[int, ...], says: str, is_packed: bool
) -> None:
    content = header(*sizes) + b"xyz"
    file.write_bytes(gzip.compress(content) if is_packed else content)
    with little_memory(), pytest.raises(StoreError, match=says) as caught:
        read_idx(file, 3)
    assert f"its header claims {' × '.join(map(str, sizes))} bytes" in caught.value.cause


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(file: Path) -> None:
    file.write_bytes(gzip.compress(idx_bytes(IMAGES) + bytes(256 * 2**20)))
    assert file.stat().st_size < 2**20
    with little_memory(), pytest.raises(StoreError, match="is longer than it says"):
        read_idx(file, 3)


def test_a_large_file_that_says_so_is_refused_unread(file: Path) -> None:
    file.write_bytes(header(MAX_BYTES + 1, 1, 1))
    os.truncate(file, 16 + MAX_BYTES + 1)
    with little_memory(), pytest.raises(StoreError, match="claims too much") as caught:
        read_idx(file, 3)
    assert str(MAX_BYTES) in caught.value.cause


def test_another_type_of_number_is_named(file: Path) -> None:
    file.write_bytes(idx_bytes(IMAGES.astype(np.float32)))
    with pytest.raises(StoreError, match="holds float32, not unsigned bytes"):
        read_idx(file, 3)


def test_labels_in_place_of_images_are_named(file: Path) -> None:
    file.write_bytes(idx_bytes(np.arange(5, dtype=np.uint8)))
    with pytest.raises(StoreError, match="has 1 axes, not 3") as caught:
        read_idx(file, 3)
    assert caught.value.cause == "images have 3 axes, labels have 1"


def test_another_kind_of_file_is_told_by_its_first_bytes(file: Path) -> None:
    file.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(StoreError, match="is no IDX file") as caught:
        read_idx(file, 3)
    assert caught.value.cause == "it begins with 3c 21 44 4f, not with 00 00 08 03"
    assert caught.value.next == "download it again, or name another folder"


def test_a_damaged_gzip_file_is_refused(file: Path) -> None:
    content = bytearray(gzip.compress(file.read_bytes()))
    content[-6] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="is cut off or damaged") as caught:
        read_idx(file, 3)
    assert "CRC" in caught.value.cause


@pytest.mark.parametrize("kind", ["a folder", "no regular file", "empty", "missing"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "some-file"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no regular file":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    says = "is empty" if kind == "empty" else f"cannot read {path}"
    with pytest.raises(StoreError, match=says) as caught:
        read_idx(path, 3)
    assert kind in ("missing", "empty") or caught.value.cause == f"it is {kind}"


def test_a_folder_in_nobodys_home_is_refused() -> None:
    with pytest.raises(RequestError, match="the data folder '~no-such-user/x' is in an unknown home"):
        place_folder("~no-such-user/x", Path())
