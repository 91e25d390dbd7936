"""The user's state folder: files to which runs append lines, and which outlive them.

`FWPROF_STATE` names another folder. A line that cannot be read, such as one torn by a crash, is
left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from fwprof.errors import StoreError
from fwprof.records import Record

R = TypeVar("R", bound=Record)


def state_file(name: str) -> Path:
    """Return where a file of the state is kept."""
    if folder := os.environ.get("FWPROF_STATE"):
        return Path(folder) / name

    from platformdirs import user_state_path

    return user_state_path("fwprof") / name


def append_lines(path: Path, records: Sequence[Record], what: str) -> None:
    """Add records to a file, one a line.

    Args:
        path: from `state_file`.
        records: what is added.
        what: it is, as an error names it.

    Raises:
        StoreError: the folder cannot be written.
    """
    encoded = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending: two runs that end together do not mix lines.
        with path.open("ab", buffering=0) as file:
            file.write(encoded)
    except OSError as error:
        raise StoreError(
            f"{what} cannot be kept",
            cause=str(error),
            kept="the run itself",
            next="make that folder writable, or name another in FWPROF_STATE",
        ) from error


def read_lines(path: Path, type_: type[R], what: str) -> Iterator[R]:
    """Yield the records of a file, oldest first; nothing where there is no file.

    Args:
        path: from `state_file`.
        type_: of the records.
        what: they are, as an error names it.

    Raises:
        StoreError: the file is there and cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{what} cannot be read", cause=str(error)) from error
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=type_)
        except msgspec.MsgspecError:
            continue
