"""The short forms a person types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.choices import parse_framework, parse_model
from fwprof.errors import RequestError
from fwprof.records import FrameworkChoice, ModelChoice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpha", FrameworkChoice(name="alpha")),
        ("alpha:graph", FrameworkChoice(name="alpha", variant="graph")),
        ("alpha@old", FrameworkChoice(name="alpha", environment="old")),
        (
            "alpha@old:graph,mode=eager,size=3,fast=true",
            FrameworkChoice(
                name="alpha",
                environment="old",
                variant="graph",
                options={"mode": "eager", "size": 3, "fast": True},
            ),
        ),
        ("alpha,rate=1e-3", FrameworkChoice(name="alpha", options={"rate": 0.001})),
    ],
)
def test_a_framework_is_named_with_environment_variant_and_options(
    text: str, expected: FrameworkChoice
) -> None:
    assert parse_framework(text) == expected


names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
choices = st.builds(
    FrameworkChoice,
    name=names,
    environment=st.none() | names,
    variant=st.none() | names,
    options=st.dictionaries(
        names, st.integers() | names.filter(lambda n: n not in {"true", "false", "null"})
    ),
)


@given(choices)
def test_what_a_choice_prints_is_what_parses_to_it(choice: FrameworkChoice) -> None:
    assert parse_framework(str(choice)) == choice


@pytest.mark.parametrize("text", ["", ":graph", "alpha:", "alpha@", "alpha,", "al pha", "alpha:a b"])
def test_what_names_no_framework_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="does not name a framework plugin"):
        parse_framework(text)


def test_an_option_without_a_value_is_refused() -> None:
    with pytest.raises(RequestError, match="'fast' is not of the form NAME=VALUE"):
        parse_framework("alpha,fast")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.py:make", ModelChoice(factory="train.py:make")),
        ("alpha=a/train.py:make", ModelChoice(factory="a/train.py:make", framework="alpha")),
        ("package.module:Factory.make", ModelChoice(factory="package.module:Factory.make")),
    ],
)
def test_a_model_is_a_factory_of_a_framework(text: str, expected: ModelChoice) -> None:
    assert parse_model(text) == expected


@pytest.mark.parametrize("text", ["train.py", ":make", "train.py:", "train.py:1st", "="])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="does not name a model"):
        parse_model(text)
