"""Finds the files of a data set in the user's folder, and opens them. Knows no format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

from fwprof.configuration.nodes import short
from fwprof.errors import RequestError, StoreError

MAX_BYTES = 2 * 2**30
"""Of one file, unpacked. MNIST's largest has 47 MB: a larger claim is refused before it is believed."""
_LISTED = 80
"""So many characters of the names of what is there instead are told."""


def place_folder(folder: str, base: Path) -> str:
    """Return a folder as an absolute path: `~` expanded, else relative to `base`.

    Raises:
        RequestError: nobody knows whose home is meant.
    """
    try:
        path = Path(folder).expanduser()
    except RuntimeError as error:
        raise RequestError(
            f"the data folder '{folder}' is in an unknown home", cause=str(error), next="write it out"
        ) from error
    return str((base / path).absolute())


def find_file(folder: Path, inside: Sequence[str], names: Sequence[str], hint: str) -> Path:
    """Return the first of several names that is there, in the folder or in one inside it.

    Args:
        folder: what the user named.
        inside: folders in it, that a download may have made.
        names: what the file may be called.
        hint: what to do where there is none.

    Raises:
        RequestError: there is no such folder, or no such file in it; names what is there instead.
        StoreError: the folder cannot be read.
    """
    try:
        if not S_ISDIR(folder.stat().st_mode):
            raise RequestError(f"the data folder {folder} is a file, not a folder", next=hint)
        for place in (folder, *(folder / name for name in inside)):
            for name in names:
                if os.path.lexists(place / name):
                    return place / name
        found = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(f"there is no data folder {folder}", next=hint) from error
    except OSError as error:
        raise StoreError(
            f"cannot read the data folder {folder}",
            cause=error.strerror or str(error),
            next="make it readable, or name another one",
        ) from error
    listed = short(", ".join(found), _LISTED)
    raise RequestError(
        f"there is no {names[0]} in {folder}",
        cause=f"it holds {listed}" if found else "it is empty",
        next=hint,
    )


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file; give it with its size in bytes.

    Raises:
        StoreError: it is no file, is empty or cannot be read, now or while it is read.
    """
    try:
        status = path.stat()
        # Asked before it is opened: a pipe would wait for a writer for ever.
        if not S_ISREG(status.st_mode):
            kind = "a folder" if S_ISDIR(status.st_mode) else "no regular file"
            raise StoreError(f"cannot read {path}", cause=f"it is {kind}", next="put the file itself there")
        if status.st_size == 0:
            raise StoreError(f"{path} is empty", next="download it again")
        with path.open("rb") as file:
            yield file, status.st_size
    except OSError as error:
        raise StoreError(
            f"cannot read {path}",
            cause=error.strerror or str(error),
            next="make it readable, or name another folder",
        ) from error
