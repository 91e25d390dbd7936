"""What the words of a `--config` file mean: its paths are relative to the file, its names must exist.

Owns what is said of a word, with file, line and key. Knows nothing of flags or precedence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fwprof import workloads
from fwprof.choices import parse_framework, parse_model
from fwprof.configuration import Problem, refuse, suggest
from fwprof.errors import RequestError

_SUFFIXES = (".yaml", ".yml")


def resolve_words(values: Mapping[str, Any], file: Path, places: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a file with paths that hold from the current folder.

    Args:
        values: RunRequest field → value, as written.
        file: where they were written.
        places: key (`workloads[1]`) → file and line.

    Raises:
        RequestError: words name nothing, or have no such form; names the line of each.
    """
    readers: dict[str, Callable[[str, Path], str]] = {
        "workloads": _workload,
        "plugins": _plugin,
        "models": _model,
    }
    resolved = dict(values)
    problems: list[Problem] = []
    for key, read in readers.items():
        words: Sequence[str] = values.get(key, ())
        kept = []
        for number, word in enumerate(words):
            path = f"{key}[{number}]"
            try:
                kept.append(read(word, file.parent))
            except RequestError as error:
                problems.append(Problem(places[path], path, error.what, error.next or error.cause))
        if words:
            resolved[key] = tuple(kept)
    if problems:
        refuse(problems)
    name, colon, data = values.get("data", "").partition(":")
    if colon:
        resolved["data"] = f"{name}:{_from(file.parent, data)}"
    if interpreters := values.get("environments"):
        resolved["environments"] = {
            name: _from(file.parent, path) if os.sep in path else path for name, path in interpreters.items()
        }
    return resolved


def _from(folder: Path, path: str) -> str:
    # Whose home `~` is, is told apart where the path is used.
    return path if path.startswith("~") else str(folder / path)


def _workload(word: str, folder: Path) -> str:
    if word in workloads.builtin_names():
        return word
    path = _from(folder, word)
    if Path(path).is_file():
        return path
    if not word.endswith(_SUFFIXES):
        names = workloads.builtin_names()
        hint = suggest(word, names) or f"built in are {', '.join(names)}"
        raise RequestError(f"there is no workload '{word}'", next=hint)
    raise _no_file(word, folder, [each.name for each in folder.glob("*.y*ml")])


def _no_file(word: str, folder: Path, beside: Sequence[str]) -> RequestError:
    hint = suggest(word, beside) or "paths are relative to this file"
    if Path(word).is_file():
        hint = f"from this file it is {os.path.relpath(word, folder)}"
    return RequestError(f"there is no file {word}", next=hint)


def _plugin(word: str, _: Path) -> str:
    parse_framework(word)
    return word


def _model(word: str, folder: Path) -> str:
    choice = parse_model(word)
    place, _, function = choice.factory.rpartition(":")
    if not place.endswith(".py"):
        return word
    path = _from(folder, place)
    if not Path(path).is_file():
        raise _no_file(place, folder, [each.name for each in folder.glob("*.py")])
    return f"{f'{choice.framework}=' if choice.framework else ''}{path}:{function}"
