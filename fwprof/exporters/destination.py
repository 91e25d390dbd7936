"""Where an export goes: one rule for all built-in exporters. Knows no format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fwprof.errors import StoreError


def is_folder(destination: Path) -> bool:
    """Say whether a destination names a folder: it is one, or its name has no suffix."""
    return destination.is_dir() or not destination.suffix


def write_new(files: Mapping[Path, str]) -> list[Path]:
    """Write files that do not exist yet, all or none of them.

    Returns:
        The paths written, in order.

    Raises:
        StoreError: one exists already, or cannot be written.
    """
    for path in files:
        if path.exists():
            raise StoreError(
                f"{path} exists already",
                cause="an export never overwrites a file",
                kept="the run itself is not touched",
                next="choose another name, or remove that file first",
            )
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # x: a file that appeared meanwhile is kept too. The newlines are the format's own.
            with path.open("x", encoding="utf-8", newline="") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}",
            cause=error.strerror or str(error),
            kept="the run itself is not touched",
            next="free some space, or choose another destination",
        ) from error
    return written
