"""Gives the values of a TOML table the lines of their keys. Knows no record."""

from __future__ import annotations

import re
from typing import Any

from fwprof.configuration.nodes import Node


class TomlPlaces:
    """Gives TOML values the lines of their keys, found by looking for them: tomllib tells none."""

    def __init__(self, text: str, name: str, table: str) -> None:
        self._lines = text.splitlines()
        self._name = name
        header = rf"\s*\[\s*{re.escape(table)}\s*\]"
        self._start = next((i for i, line in enumerate(self._lines) if re.match(header, line)), None)

    def node(self, value: Any, where: str | None = None, depth: int = 0) -> Node:
        """Return the value as nodes; below the table's own keys every value has its key's line."""
        where = where or self._where(self._start)
        if isinstance(value, dict):
            places = {key: where if depth else self._find(key) for key in value}
            return Node({key: self.node(item, places[key], depth + 1) for key, item in value.items()}, where)
        if isinstance(value, list):
            return Node([self.node(item, where, depth + 1) for item in value], where)
        return Node(value, where)

    def _find(self, key: str) -> str:
        pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""")
        for index in range((self._start or 0) + 1, len(self._lines)) if self._start is not None else ():
            if self._lines[index].lstrip().startswith("["):
                break
            if pattern.match(self._lines[index]):
                return self._where(index)
        return self._where(self._start)

    def _where(self, index: int | None) -> str:
        return self._name if index is None else f"{self._name}:{index + 1}"
