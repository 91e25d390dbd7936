"""Values that remember where they were written, and how one of them is replaced.

Knows neither YAML nor TOML, and no record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from fwprof.errors import RequestError
from fwprof.records import Scalar


@dataclass(frozen=True)
class Node:
    """A value and where it was written: a scalar, a list of nodes or a mapping to nodes."""

    value: Any
    where: str
    size: int = 1
    """How many values it holds, itself included."""
    height: int = 0
    """How many levels lie below it."""


def plain(node: Node) -> Any:
    """Return the value without its places."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def override(root: Node, path: str, value: Scalar) -> Node:
    """Return the nodes with the one at `layers[2].units` (or `layers.2.units`) replaced or added.

    Raises:
        RequestError: the path leads through something that has no parts, or past a list's end.
    """
    parts = [part for part in re.split(r"[.\[\]]", path) if part]
    return _replaced(root, parts, Node(value, "--set"), short(path))


def _replaced(node: Node, parts: Sequence[str], new: Node, path: str) -> Node:
    if not parts:
        return new
    key, rest = parts[0], parts[1:]
    if isinstance(node.value, list):
        if not re.fullmatch("[0-9]{1,6}", key) or int(key) >= len(node.value):
            raise RequestError(
                f"--set {path}: there is no item '{short(key)}'",
                cause=f"the list has {len(node.value)} items",
            )
        items = list(node.value)
        items[int(key)] = _replaced(items[int(key)], rest, new, path)
        return replace(node, value=items)
    if not isinstance(node.value, dict | None):
        raise RequestError(
            f"--set {path}: nothing has a part '{short(key)}' there",
            cause=f"{node.where} holds {short(repr(node.value))}",
        )
    entries = dict(node.value or {})
    entries[key] = _replaced(entries.get(key, Node(None, new.where)), rest, new, path)
    return replace(node, value=entries)


def suggest(word: str, candidates: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the candidate nearest to a word, or nothing."""
    nearest = get_close_matches(word, list(candidates), n=1)
    return f"did you mean '{nearest[0]}'?" if nearest else ""


def short(text: str, limit: int = 40) -> str:
    """Return text for a message: one line, printable, not long."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
