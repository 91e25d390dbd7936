"""Reads configuration (YAML, TOML) into records, and says what is wrong by file, line and key.

Owns safe reading: nothing is constructed but text, numbers, lists and mappings, and size, depth
and aliases are bounded. Knows no particular record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fwprof.configuration.checking import Problem, convert, refuse
from fwprof.configuration.nodes import Node, override, suggest
from fwprof.configuration.toml_nodes import TomlPlaces
from fwprof.configuration.yaml_nodes import MAX_BYTES, compose, parse_scalar
from fwprof.errors import RequestError, StoreError
from fwprof.records import Scalar

__all__ = [
    "Problem",
    "parse_scalar",
    "parse_yaml",
    "read_toml_table",
    "read_with_places",
    "read_yaml",
    "refuse",
    "suggest",
]

T = TypeVar("T")


def read_yaml(path: Path, type: type[T], overrides: Mapping[str, Scalar] | None = None) -> T:
    """Read a YAML file into a record, as `parse_yaml` does.

    Raises:
        RequestError: there is no such file, or its content is refused; names file, line and key.
        StoreError: the file cannot be read.
    """
    return parse_yaml(_read_text(path), type, str(path), overrides)


def read_with_places(path: Path, type: type[T]) -> tuple[T, Mapping[str, str]]:
    """Read a YAML file into a record, and say where everything in it stands.

    Returns:
        The record, and `plugins[2]` → file and line.

    Raises:
        RequestError, StoreError: as `read_yaml`.
    """
    root = compose(_read_text(path), str(path))
    return convert(root, type), dict(_places(root, ""))


def _places(node: Node, path: str) -> Iterator[tuple[str, str]]:
    yield path, node.where
    if isinstance(node.value, dict):
        for key, item in node.value.items():
            yield from _places(item, f"{path}.{key}" if path else key)
    elif isinstance(node.value, list):
        for number, item in enumerate(node.value):
            yield from _places(item, f"{path}[{number}]")


def parse_yaml(text: str, type: type[T], name: str, overrides: Mapping[str, Scalar] | None = None) -> T:
    """Read YAML text into a record.

    Numbers are those of YAML 1.2 (`1e-3` is one); `yes`, `no`, `on` and `off` are text.

    Args:
        name: what errors call the text, usually a file name.
        overrides: `path.to.field` or `layers[2].units` → value that replaces what is written.

    Raises:
        RequestError: the content is refused; names line and key.
    """
    root = compose(text, name)
    for path, value in (overrides or {}).items():
        root = override(root, path, value)
    return convert(root, type)


def read_toml_table(path: Path, dotted_table: str, type: type[T]) -> T:
    """Read one table (`tool.fwprof`) of a TOML file into a record; a missing table is an empty one.

    Raises:
        RequestError: there is no such file, or its content is refused; names file, line and key.
        StoreError: the file cannot be read.
    """
    import tomllib

    text = _read_text(path)
    try:
        table: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RequestError(f"{path} is not TOML", cause=str(error)) from error
    for key in dotted_table.split("."):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    return convert(TomlPlaces(text, str(path), dotted_table).node(table), type)


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            if path.exists():
                raise RequestError(f"{path} is not a regular file")
            raise RequestError(f"there is no file {path}", next="check the name and the folder")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StoreError(f"cannot read {path}", cause=error.strerror or str(error)) from error
    if len(content) > MAX_BYTES:
        raise RequestError(f"{path} is larger than {MAX_BYTES} bytes", cause="configuration is small")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text", cause=f"byte {error.start} is not") from error
