"""Finds and calls the user's own factory, checks what it returned, and draws batches from it.

Owns the errors that are about the reference, the return type and the keys, and what `batches` may
be. Exceptions raised by the user's code pass through unchanged: the worker reports them as the
user's. Knows no framework: which keys there are besides `batches`, and what is behind them, its
plugin says.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any

from fwprof.configuration import suggest
from fwprof.contracts import LoadedWorkload
from fwprof.errors import RequestError
from fwprof.records import NativeModel, WorkloadPlan

FORM = "write it as file.py:function or module:function"

_ONE_BATCH = (tuple, Mapping)
"""What a function returns that gives one batch a call; any other gives an iterable of batches."""


@dataclass(frozen=True)
class Part:
    """What is behind one key of the dict that a factory returns.

    Args:
        expected: it in words, for errors, e.g. `a callable on output and targets`.
        is_right: says whether a value is that.
        is_optional: whether the key may be left out or hold None.
    """

    expected: str
    is_right: Callable[[Any], bool]
    is_optional: bool = False


_BATCHES = Part("an iterable or a callable", lambda value: isinstance(value, Iterable) or callable(value))


def load_native(plan: WorkloadPlan) -> LoadedWorkload:
    """Call the factory and return what `build_model` builds from.

    Raises:
        ValueError: the plan is of a neutral workload.
        RequestError: as `call_factory` and `first_batches`.
    """
    if plan.native is None:
        raise ValueError(f"{plan.name} is a neutral workload: it has no factory")
    made = call_factory(plan.native)
    if "batches" not in made:
        raise RequestError(
            f"{plan.native.factory} returned no 'batches'",
            cause=f"its keys are {', '.join(made) or 'none'}",
            next="add an iterable of batches, or a function that returns one",
        )
    return LoadedWorkload(name=plan.name, native=made, batches=first_batches(made["batches"]))


def load_factory(native: NativeModel) -> Callable[..., Any]:
    """Import the file or module and return its factory.

    A file is imported under its stem, with its folder importable, as if it were run as a script.

    Raises:
        RequestError: no such file, module or function, or it cannot be called.
    """
    place, _, name = native.factory.rpartition(":")
    if not place or not name:
        raise RequestError(f"'{native.factory}' names no factory", next=FORM)
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if inspect.isroutine(value)]
        raise RequestError(
            f"{place} has no '{name}'",
            cause=f"its functions are {', '.join(functions[:5]) or 'none'}",
            next=suggest(name, functions) or FORM,
        )
    factory = getattr(module, name)
    if not callable(factory):
        raise RequestError(
            f"{native.factory} is no function",
            cause=f"it is of type {type(factory).__name__}",
            next="name a function that returns a dict",
        )
    return factory  # type: ignore[no-any-return]  # callable() narrows Any to nothing


def call_factory(native: NativeModel) -> Mapping[str, Any]:
    """Call the factory with its arguments and return the mapping it makes.

    Raises:
        RequestError: as `load_factory`; the arguments do not fit; it returned no mapping of names.
    """
    factory = load_factory(native)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        signature = None  # something built in, that does not tell
    if signature is not None:
        try:
            signature.bind(**native.arguments)
        except TypeError as error:
            given = ", ".join(f"{key}={value!r}" for key, value in native.arguments.items())
            raise RequestError(
                f"{native.factory} cannot be called with ({given})",
                cause=f"{error}; it takes {shorten(str(signature), 50)}",
                next="give every argument a default, or set it with --set model.NAME=value",
            ) from error
    made = factory(**native.arguments)
    if not isinstance(made, Mapping):
        raise _wrong_return(native, f"a {type(made).__name__}")
    if odd := [key for key in made if not isinstance(key, str)]:
        raise _wrong_return(native, f"a mapping with the key {odd[0]!r}")
    return made


def first_batches(value: Any, count: int = 8) -> list[Any]:
    """Draw the first batches, once.

    Args:
        value: an iterable of batches, or a function. A function that returns a tuple or a mapping
            gives one batch a call; any other gives an iterable.

    Raises:
        RequestError: neither an iterable nor a function, or it gives nothing.
    """
    is_function = _is_function(value)
    source = value() if is_function else value
    if is_function and isinstance(source, _ONE_BATCH):
        source = chain([source], (value() for _ in range(count - 1)))
    if isinstance(source, Mapping | str) or not isinstance(source, Iterable):
        raise RequestError(
            f"'batches' is a {type(source).__name__}, not an iterable of batches",
            next="give a list or a loader of batches, or a function that returns one",
        )
    batches = list(islice(source, count))
    if not batches:
        raise RequestError("'batches' gives no batch", next="give at least one; the first 8 are used")
    return batches


def endless_batches(batches: Any, drawn: Sequence[Any]) -> Iterator[Any]:
    """Yield the user's own batches without end: fetched anew, and from the beginning where they end.

    Args:
        batches: an iterable of batches, or a function. A function that returns a tuple or a mapping
            gives one batch a call; any other gives an iterable.
        drawn: the batches drawn first; given again where nothing is left, as of an iterator.
    """
    is_function = _is_function(batches)
    while True:
        source = batches() if is_function else batches
        if is_function and isinstance(source, _ONE_BATCH):
            yield source
            continue
        is_empty = True
        for batch in source:
            is_empty = False
            yield batch
        if is_empty:
            yield from drawn


def read_parts(native: object, parts: Mapping[str, Part], *, framework: str, next: str) -> dict[str, Any]:
    """Check what a factory returned, and return what is behind each key.

    Args:
        native: what the factory returned.
        parts: key → what is behind it. Every factory's dict has `batches` besides.
        framework: name of the plugin, for errors.
        next: what the factory should return, for errors.

    Returns:
        Every key, in the order of `parts`, then `batches`; None where an optional one is left out.

    Raises:
        RequestError: it is no dict, or a key is missing, unknown or holds something else; names it.
    """
    if not isinstance(native, Mapping):
        raise RequestError(
            "the model factory must return a dict", cause=f"it returned a {type(native).__name__}", next=next
        )
    known = {**parts, "batches": _BATCHES}
    for key in native:
        if key not in known:
            raise RequestError(
                f"the model factory returned an unknown key {key!r}",
                cause=f"{framework} knows {', '.join(known)}",
                next=suggest(str(key), known) or next,
            )
    return {key: _read_part(native, key, part, next) for key, part in known.items()}


def _read_part(native: Mapping[str, Any], key: str, part: Part, next: str) -> Any:
    value = native.get(key)
    if part.is_optional and value is None:
        return None
    if key not in native:
        raise RequestError(
            f"the model factory's dict has no {key!r}",
            cause=f"expected {part.expected}; found only {', '.join(map(str, native)) or 'nothing'}",
            next=next,
        )
    if not part.is_right(value):
        raise RequestError(
            f"the model factory's {key!r} is not {part.expected}",
            cause=f"expected {part.expected}, found {_tell(value)}",
            next=next,
        )
    return value


def _tell(value: object) -> str:
    kind = type(value).__name__
    if not isinstance(value, list | tuple):
        return f"a {kind}"
    return f"a {kind} of {type(value[0]).__name__}" if value else f"an empty {kind}"


def _is_function(batches: Any) -> bool:
    return callable(batches) and not isinstance(batches, Iterable)


def _import_file(path: Path) -> ModuleType:
    path = path.absolute()
    if not path.is_file():
        folder = path.parent
        names = [file.name for file in folder.glob("*.py")] if folder.is_dir() else []
        raise RequestError(f"there is no file {path}", next=suggest(path.name, names) or FORM)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    # Under its own name, so that what the file defines can be pickled; never in place of another module.
    loaded = sys.modules.get(path.stem)
    is_free = loaded is None or getattr(loaded, "__file__", None) == str(path)
    name = path.stem if is_free else f"fwprof_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:  # whatever the user's file raises, even SystemExit: half a module must not stay
        del sys.modules[name]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a module that the user's own one imports
        raise RequestError(f"there is no module {name}", cause=str(error), next=FORM) from error


def _wrong_return(native: NativeModel, what: str) -> RequestError:
    return RequestError(
        f"{native.factory} returned {what}, not a dict of named parts",
        next="return a dict; docs/reference/native.md lists its keys for each framework",
    )
