"""Reads YAML text into nodes, with size, depth and aliases bounded.

Builds from parser events, so that no tag can construct anything. Knows no record.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from math import isinf
from typing import TYPE_CHECKING, Any, NoReturn

from fwprof.configuration.nodes import Node, short
from fwprof.errors import RequestError
from fwprof.records import Scalar

if TYPE_CHECKING:
    pass

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_NODES = 10_000
"""Values in one document, each alias counted as all that it stands for."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 64


def parse_scalar(text: str) -> Scalar:
    """Return what a word means in YAML 1.2: null, a truth value, a number, else the text itself."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false") and text in (text.lower(), text.upper(), text.capitalize()):
        return text.lower() == "true"
    if len(text) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED_INTEGER.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text) and not isinf(float(text)):
            return float(text)
    return text


def compose(text: str, name: str) -> Node:
    """Return the one document in a YAML text.

    Raises:
        RequestError: not YAML, too large, too deep, a tag, a key twice; names file and line.
    """
    import yaml

    if len(text) > MAX_BYTES:
        raise RequestError(f"{name} is larger than {MAX_BYTES} bytes", cause="configuration is small")
    try:
        return _Composer(text, name).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise RequestError(f"{where}: not YAML", cause=error.problem or "") from error
    except yaml.YAMLError as error:
        # A character YAML forbids: the reader knows a position, no mark.
        raise RequestError(f"{name}: not YAML", cause=str(error).splitlines()[0]) from error


class _Composer:
    """Builds nodes from YAML events, so that no tag can construct anything."""

    def __init__(self, text: str, name: str) -> None:
        import yaml

        self._events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._name = name
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def document(self) -> Node:
        """Return the one document of the stream."""
        import yaml

        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, f"{self._name}:1")
        root = self._node(next(self._events), depth=0)
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._refuse(event, "a second document", "one file holds one document")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        import yaml

        where = self._where(event)
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            node = self._anchors.get(anchor)
            if node is None:
                self._refuse(event, f"'*{short(anchor)}' stands for nothing before it")
            self._spend(event, node.size, depth + node.height)
            return replace(node, where=where)
        self._spend(event, 1, depth)
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event, "str")
            node = Node(parse_scalar(event.value) if event.implicit[0] else event.value, where)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, "seq")
            node = _parent(items := list(self._items(depth)), items, where)
        else:
            self._check_tag(event, "map")
            node = _parent(entries := self._entries(depth), entries.values(), where)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _items(self, depth: int) -> Iterator[Node]:
        import yaml

        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> dict[str, Node]:
        import yaml

        entries: dict[str, Node] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                self._refuse(key, "a key must be a word")
            self._check_tag(key, "str")
            if key.value in entries:
                self._refuse(key, f"the key '{short(key.value)}' stands here twice")
            # The key's line, not the value's: that is where a person looks.
            entries[key.value] = replace(self._node(next(self._events), depth + 1), where=self._where(key))
        return entries

    def _check_tag(self, event: Any, plain: str) -> None:
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{plain}"):
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(event, f"the tag {short(shown)} is refused", "configuration is plain data")

    def _spend(self, event: Any, count: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self._count += count
        if self._count > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES} values", "aliases count as what they stand for")

    def _where(self, event: Any) -> str:
        return f"{self._name}:{event.start_mark.line + 1}"

    def _refuse(self, event: Any, what: str, cause: str = "") -> NoReturn:
        raise RequestError(f"{self._where(event)}: {what}", cause=cause)


def _parent(value: Any, children: Collection[Node], where: str) -> Node:
    size = 1 + sum(child.size for child in children)
    return Node(value, where, size, 1 + max((child.height for child in children), default=0))
