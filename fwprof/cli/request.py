"""From words to a RunRequest: flags over FWPROF_* over --config over [tool.fwprof] over defaults.

A file, and what the flags say, is a RunRequest in which everything may be left out. Its keys are
made from RunRequest itself, so that they can never differ from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args

import msgspec

from fwprof.choices import parse_assignment, parse_data, parse_framework, parse_model, parse_scalar
from fwprof.cli.config_file import resolve_words
from fwprof.configuration import read_toml_table, read_with_places, suggest
from fwprof.errors import RequestError
from fwprof.records import ModelChoice, Precision, Record, RunRequest, StageName

_WRITTEN = {"plugins": tuple[str, ...], "models": tuple[str, ...], "data": str, "find_max_batch": str | int}
"""Fields that people write as text (`name:variant`, `file.py:factory`, `name:folder`, `2GB`)."""

RequestFile: Any = msgspec.defstruct(
    "RequestFile",
    [
        (field.name, Union[_WRITTEN.get(field.name, field.type), msgspec.UnsetType], msgspec.UNSET)  # noqa: UP007 - built from values, where | does not work for every type
        for field in msgspec.structs.fields(RunRequest)
    ],
    bases=(Record,),
    module=__name__,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)
"""A RunRequest in which everything may be left out: what `--config` and pyproject.toml hold."""

_PROJECT = Path("pyproject.toml")
_MODEL_ARGUMENT = "model."


def build_request(flags: Mapping[str, Any], config: Path | None) -> RunRequest:
    """Merge what flags, environment and files say; what nobody says stays at its default.

    Args:
        flags: RunRequest field → value, of flags and FWPROF_* variables that were given.
        config: the file of `--config`.

    Raises:
        RequestError: something is refused; names the file, line and key, or the option.
    """
    values: dict[str, Any] = {}
    if _PROJECT.is_file():
        values |= _given(read_toml_table(_PROJECT, "tool.fwprof", RequestFile))
    if config is not None:
        file, places = read_with_places(config, RequestFile)
        # What a flag replaces is not looked at.
        written = {name: value for name, value in _given(file).items() if name not in _replaced(flags)}
        values |= resolve_words(written, config, places)
    for name, value in flags.items():
        # One flag replaces one entry of a mapping, but a whole list.
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    try:
        request = RunRequest(
            **{
                **values,
                "plugins": tuple(parse_framework(text) for text in values.get("plugins", ())),
                "models": tuple(parse_model(text) for text in values.get("models", ())),
                "data": parse_data(values["data"]) if "data" in values else None,
                "find_max_batch": parse_bytes(str(values["find_max_batch"]))
                if "find_max_batch" in values
                else None,
            }
        )
        # The constructor checks no constraint: only decoding does.
        request = msgspec.convert(msgspec.to_builtins(request), RunRequest)
    except msgspec.ValidationError as error:
        raise RequestError("the request cannot be carried out", cause=str(error)) from error
    return _with_model_arguments(request)


def parse_share(text: str) -> float:
    """Parse `5%` or `0.05`.

    Raises:
        RequestError: it is neither, or not between 0 and 1.
    """
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise RequestError(f"'{text}' is not a share between 0 and 100 %", next="write 5% or 0.05")
    return value


def parse_threads(text: str) -> int | str:
    """Parse a number of threads, or `all`.

    Raises:
        RequestError: it is neither.
    """
    if text == "all":
        return text
    return parse_count(text, "threads")


def parse_precisions(texts: Iterable[str]) -> tuple[Precision, ...]:
    """Parse precisions, each word one or several with commas.

    Raises:
        RequestError: there is no such precision.
    """
    known = {str(name): name for name in get_args(Precision)}
    found = [word for text in texts for word in split_words(text)]
    for word in found:
        if word not in known:
            raise RequestError(
                f"there is no precision '{word}'",
                cause=f"known are {', '.join(known)}",
                next=suggest(word, known) or "choose one of these",
            )
    return tuple(known[word] for word in found)


def split_words(text: str) -> Iterator[str]:
    """Yield the words of a text that are separated by commas."""
    yield from filter(None, map(str.strip, text.split(",")))


def parse_count(text: str, what: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        RequestError: it is not one.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RequestError(f"'{text}' is not a number of {what}", next="write a whole number of at least 1")
    return int(text)


def parse_bytes(text: str) -> int:
    """Parse `2GB`, `512MiB` or `800000000`.

    Raises:
        RequestError: it is no amount of memory.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    value = 0
    if found is not None and (found[2] or not found[3]):
        power = " kmgt".index(found[2].lower() or " ")
        value = round(float(found[1]) * (1024 if found[3] else 1000) ** power)
    if value < 1:
        raise RequestError(f"'{text}' is no amount of memory", next="write 2GB, 512MiB or a number of bytes")
    return value


def parse_limit(text: str) -> tuple[str, float]:
    """Parse `STAGE=SECONDS`.

    Raises:
        RequestError: there is no such stage, or the seconds are no number above 0.
    """
    stage, value = parse_assignment(text)
    stages = get_args(StageName)
    if stage not in stages:
        raise RequestError(
            f"--limit names no stage of a worker: '{stage}'",
            next=suggest(stage, stages) or f"write one of {' '.join(stages)}",
        )
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RequestError(f"the limit of stage {stage} is not a number of seconds: '{value}'")
    return stage, seconds


def parse_environment(text: str) -> tuple[str, str]:
    """Parse `ENVIRONMENT=INTERPRETER`.

    Raises:
        RequestError: it is not of that form.
    """
    name, interpreter = parse_assignment(text)
    if not interpreter:
        raise RequestError(
            f"environment '{name}' has no interpreter", next=f"write --python {name}=DIR/bin/python"
        )
    return name, interpreter


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Parse `path.to.field=value` words.

    Raises:
        RequestError: one is not of that form.
    """
    return {name: parse_scalar(value) for name, value in map(parse_assignment, texts)}


def _replaced(flags: Mapping[str, Any]) -> set[str]:
    """Return the fields of which a flag replaces everything; of a mapping it replaces one entry."""
    return {name for name, value in flags.items() if not isinstance(value, dict)}


def _given(file: Any) -> dict[str, Any]:
    values = ((name, getattr(file, name)) for name in file.__struct_fields__)
    return {name: value for name, value in values if value is not msgspec.UNSET}


def _with_model_arguments(request: RunRequest) -> RunRequest:
    arguments = {
        name.removeprefix(_MODEL_ARGUMENT): value
        for name, value in request.overrides.items()
        if name.startswith(_MODEL_ARGUMENT)
    }
    if not arguments:
        return request
    if not request.models:
        name = next(iter(arguments))
        raise RequestError(f"--set model.{name} has no model to go to", next="add --model FILE.py:FACTORY")
    models: list[ModelChoice] = [
        msgspec.structs.replace(model, arguments={**model.arguments, **arguments}) for model in request.models
    ]
    rest = {name: value for name, value in request.overrides.items() if not name.startswith(_MODEL_ARGUMENT)}
    return msgspec.structs.replace(request, models=tuple(models), overrides=rest)
