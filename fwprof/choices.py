"""The short forms a person types, parsed: `NAME:VARIANT`, `train.py:make`, `path=value`.

Owns the grammar that the command line, configuration files and the library's keywords share.
Knows no framework: a variant and its options are passed on as they were written.
"""

from __future__ import annotations

import re

from fwprof.configuration import parse_scalar
from fwprof.errors import RequestError
from fwprof.records.request import FrameworkChoice, ModelChoice

__all__ = ["parse_assignment", "parse_framework", "parse_model", "parse_scalar"]

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
