"""The short forms a person types, parsed: `NAME:VARIANT`, `train.py:make`, `path=value`.

Owns the grammar that the command line, configuration files and the library's keywords share.
Knows no framework: a variant and its options are passed on as they were written, to the plugin that
says which there are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from fwprof.configuration import parse_scalar, suggest
from fwprof.errors import RequestError, UnsupportedError
from fwprof.records import Scalar
from fwprof.records.request import DataChoice, FrameworkChoice, ModelChoice

__all__ = ["parse_assignment", "parse_data", "parse_framework", "parse_model", "parse_scalar", "read_choice"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_FRAMEWORK = re.compile(
    rf"(?P<name>{_NAME})(?:@(?P<environment>{_NAME}))?(?::(?P<variant>[^\s,@=]+))?(?P<options>(?:,[^,]+)*)"
)
_MODEL = re.compile(rf"(?:(?P<framework>{_NAME})=)?(?P<factory>[^=]+:[A-Za-z_][\w.]*)")


def parse_assignment(text: str) -> tuple[str, str]:
    """Split `name=value`.

    Raises:
        RequestError: there is no `=`, or nothing before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"'{text}' is not of the form NAME=VALUE", next="write the name, =, and the value")
    return name.strip(), value.strip()


def parse_framework(text: str) -> FrameworkChoice:
    """Parse `NAME[@ENVIRONMENT][:VARIANT][,key=value]…`.

    Raises:
        RequestError: the text has another form.
    """
    match = _FRAMEWORK.fullmatch(text.strip())
    if match is None:
        raise RequestError(
            f"'{text}' does not name a framework plugin",
            cause="the form is NAME[@ENVIRONMENT][:VARIANT][,key=value]",
            next="fwprof plugins lists what is installed",
        )
    options = [parse_assignment(part) for part in match["options"].split(",") if part]
    return FrameworkChoice(
        name=match["name"],
        environment=match["environment"],
        variant=match["variant"],
        options={key: parse_scalar(value) for key, value in options},
    )


def parse_model(text: str) -> ModelChoice:
    """Parse `[FRAMEWORK=]FILE.py:FACTORY` or `[FRAMEWORK=]MODULE:FACTORY`.

    Raises:
        RequestError: the text has another form.
    """
    match = _MODEL.fullmatch(text.strip())
    if match is None:
        raise RequestError(
            f"'{text}' does not name a model",
            cause="the form is [FRAMEWORK=]FILE.py:FACTORY or [FRAMEWORK=]MODULE:FACTORY",
            next="name the function that returns the model, e.g. train.py:make",
        )
    return ModelChoice(factory=match["factory"], framework=match["framework"])


def parse_data(text: str) -> DataChoice:
    """Parse `NAME[:DIR]`.

    Raises:
        RequestError: there is no name.
    """
    name, _, folder = text.strip().partition(":")
    if re.fullmatch(_NAME, name) is None:
        raise RequestError(
            f"'{text}' does not name a data set",
            cause="the form is NAME[:DIR]",
            next="fwprof workloads lists the data sets",
        )
    return DataChoice(source=name, folder=folder or None)


def read_choice(
    choice: FrameworkChoice,
    known: Mapping[str, Mapping[str, Sequence[str]]],
    default: str | None = None,
) -> tuple[str, dict[str, str]]:
    """Return variant and options of a choice, checked against those that a framework plugin knows.

    Args:
        choice: of a cell, as it was written.
        known: variant → option → the words it takes, in lower case, the first where it is left out.
            An option without such words takes any text, and is missing where it is left out.
        default: the variant where none is written; None: the first of `known`.

    Raises:
        UnsupportedError: variant, option or value is not known; names the known ones.
    """
    variant = choice.variant or default or next(iter(known))
    if variant not in known:
        raise _unknown(choice.name, "variant", variant, known)
    options = known[variant]
    owner = f"{choice.name}:{variant}"
    for key in choice.options:
        if key not in options:
            raise _unknown(owner, "option", key, options)
    chosen: dict[str, str] = {}
    for key, words in options.items():
        value = choice.options.get(key, words[0] if words else None)
        if words:
            chosen[key] = _read_word(owner, key, value, words)
        elif value is not None:
            chosen[key] = str(value)
    return variant, chosen


def _read_word(owner: str, key: str, value: Scalar, words: Sequence[str]) -> str:
    word = str(value).lower()
    if word not in words:
        raise UnsupportedError(
            f"{owner} has no {key} {value!r}",
            cause=f"{key} is one of {', '.join(words)}",
            next=suggest(word, words) or f"leave it out for {words[0]}",
        )
    return word


def _unknown(owner: str, what: str, word: str, known: Collection[str]) -> UnsupportedError:
    listed = ", ".join(known)
    causes = (f"it takes no {what}s", f"its only {what} is {listed}", f"its {what}s are {listed}")
    return UnsupportedError(
        f"{owner} has no {what} {word!r}",
        cause=causes[min(len(known), 2)],
        next=suggest(word, known) or (f"use one of {listed}" if len(known) > 1 else "leave it out"),
    )
