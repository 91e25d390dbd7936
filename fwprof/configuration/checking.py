"""Turns nodes into a record, and what does not fit into errors with file, line and key.

msgspec stops at the first error and knows no lines; this module adds both. Knows no format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from fwprof.configuration.nodes import Node, plain, short, suggest
from fwprof.errors import RequestError

T = TypeVar("T")

MAX_LINES = 20
INDENT = " " * 9
"""Where the text of an error's second and later lines begins."""


@dataclass(frozen=True)
class Problem:
    """One thing that does not fit.

    Args:
        where: file and line.
        path: of the key, as `plugins[2]`.
        what: is wrong, in words.
        hint: what to write instead.
    """

    where: str
    path: str
    what: str
    hint: str = ""

    def text(self) -> str:
        """Return file, line, key and what is wrong."""
        path = self.path.removeprefix("$").removeprefix(".")
        return f"{self.where}: {path + ': ' if path else ''}{self.what}"


def convert(root: Node, type: type[T]) -> T:
    """Return the nodes as a record.

    Raises:
        RequestError: something does not fit; names every unknown key, and the first other error.
    """
    check = _Check(root, type)
    try:
        result = msgspec.convert(plain(check.known), type)
    except msgspec.ValidationError as error:
        problem = check.translate(str(error))
        # A misspelt key is missing under its right name too: said once.
        missing = problem.what.removeprefix("lacks the key ")
        is_news = not any(missing in known.hint for known in check.problems)
        refuse([*check.problems, *([problem] if is_news else [])], error)
    if check.problems:
        refuse(check.problems)
    return result


def refuse(problems: Sequence[Problem], cause: Exception | None = None) -> NoReturn:
    """Raise one error that says all of them.

    Raises:
        RequestError: always.
    """
    if len(problems) == 1:
        raise RequestError(problems[0].text(), next=problems[0].hint) from cause
    lines = [f"{problem.text()}{' – ' if problem.hint else ''}{problem.hint}" for problem in problems]
    if len(lines) > MAX_LINES:
        lines[MAX_LINES:] = [f"… and {len(lines) - MAX_LINES} more"]
    file = problems[0].where.rpartition(":")[0] or problems[0].where
    raise RequestError(f"{file} has {len(problems)} errors", cause=f"\n{INDENT}".join(lines)) from cause


class _Check:
    """Walks nodes and the record's type side by side.

    Finds every unknown key (msgspec stops at the first error), and remembers which place and type
    belongs to each of msgspec's paths.
    """

    def __init__(self, root: Node, type: type[Any]) -> None:
        self._seen: dict[str, tuple[Node, inspect.Type]] = {}
        self.problems: list[Problem] = []
        self.known = self._walk(root, inspect.type_info(type), "$")

    def _walk(self, node: Node, expected: inspect.Type, path: str) -> Node:
        """Return the node without its unknown keys."""
        self._seen[path] = (node, expected)
        expected = self._branch(node, expected)
        if isinstance(node.value, list) and isinstance(expected, inspect.VarTupleType | inspect.ListType):
            items = [
                self._walk(item, expected.item_type, f"{path}[{index}]")
                for index, item in enumerate(node.value)
            ]
            return replace(node, value=items)
        if isinstance(node.value, dict) and isinstance(expected, inspect.DictType):
            entries = {
                key: self._walk(item, expected.value_type, f"{path}[{key!r}]")
                for key, item in node.value.items()
            }
            return replace(node, value=entries)
        if isinstance(node.value, dict) and isinstance(expected, inspect.StructType):
            fields = {field.encode_name: field.type for field in expected.fields}
            tag = {expected.tag_field} if expected.tag_field else set()
            entries = {}
            for key, item in node.value.items():
                if key in fields:
                    entries[key] = self._walk(item, fields[key], f"{path}.{key}")
                elif key in tag:
                    entries[key] = item
                else:
                    hint = suggest(key, [*fields, *tag])
                    if not hint and not self.problems:
                        hint = f"its keys are {', '.join([*tag, *fields])}"
                    shown = f"{path}.{short(key)}"
                    self.problems.append(Problem(item.where, shown, "unknown key", hint))
            return replace(node, value=entries)
        return node

    def _branch(self, node: Node, expected: inspect.Type) -> inspect.Type:
        """Return the member of a union that the node's shape or tag selects."""
        while isinstance(expected, inspect.Metadata):
            expected = expected.type
        if not isinstance(expected, inspect.UnionType):
            return expected
        for member in expected.types:
            if isinstance(node.value, list) and isinstance(member, inspect.VarTupleType | inspect.ListType):
                return member
            if isinstance(node.value, dict) and isinstance(member, inspect.DictType):
                return member
            if isinstance(node.value, dict) and isinstance(member, inspect.StructType):
                tag = node.value.get(member.tag_field) if member.tag_field else None
                if member.tag_field is None or (tag and tag.value == member.tag):
                    return member
        return expected

    def translate(self, message: str) -> Problem:
        """Return msgspec's message with the place of what it complains about."""
        what, _, path = message.partition(" - at `")
        path = path.removesuffix("`") or "$"
        path = path.replace("key` in `", "").replace("[...]", "")
        if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
            return Problem(self._find(path)[0].where, path, f"lacks the key '{missing[1]}'")
        node, choices = self._find(path)
        if what.startswith("Invalid") and choices and not isinstance(node.value, dict):
            shown = short(str(node.value))
            listed = suggest(shown, choices) or fill(
                f"choose {', '.join(choices)}", 90, subsequent_indent=INDENT
            )
            return Problem(node.where, path, f"'{shown}' is not one of the choices", listed)
        for theirs, ours in (("`array`", "a list"), ("`object`", "a mapping"), ("`null`", "nothing")):
            what = what.replace(theirs, ours)
        is_alone = what.startswith("Expected a list") and not isinstance(node.value, dict)
        hint = f"write [{short(str(node.value))}]" if is_alone else ""
        return Problem(node.where, path, what[:1].lower() + what[1:].replace("`", ""), hint)

    def _find(self, path: str) -> tuple[Node, Sequence[str]]:
        """Return the node at msgspec's path, or the nearest around it, and what may stand there."""
        if path in self._seen:
            node, expected = self._seen[path]
            return node, self._choices(expected)
        around, _, key = path.rpartition(".")
        if around in self._seen and isinstance(self._seen[around][0].value, dict):
            # A tag (`kind`) is no field: the choices are the union's tags.
            node, expected = self._seen[around]
            return node.value.get(key, node), self._choices(expected)
        return self._seen["$"][0], ()

    def _choices(self, expected: inspect.Type) -> Sequence[str]:
        if isinstance(expected, inspect.Metadata):
            return self._choices(expected.type)
        if isinstance(expected, inspect.UnionType):
            return [choice for member in expected.types for choice in self._choices(member)]
        if isinstance(expected, inspect.LiteralType):
            return [str(value) for value in expected.values]
        if isinstance(expected, inspect.StructType) and expected.tag is not None:
            return [str(expected.tag)]
        return ()
