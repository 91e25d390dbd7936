"""The short forms a person types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.choices import parse_framework, parse_model, read_choice
from fwprof.errors import RequestError, UnsupportedError
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


VARIANTS = {
    "eager": {},
    "graph": {"cache": (), "mode": ("auto", "fast"), "fused": ("false", "true")},
    "traced": {"cache": ()},
}


@pytest.mark.parametrize(
    ("text", "variant", "options"),
    [
        ("alpha", "eager", {}),
        ("alpha:graph", "graph", {"mode": "auto", "fused": "false"}),
        (
            "alpha:graph,fused=True,mode=Fast,cache=3",
            "graph",
            {"cache": "3", "mode": "fast", "fused": "true"},
        ),
        ("alpha:traced,cache=~/kept", "traced", {"cache": "~/kept"}),
        ("alpha:traced,cache=null", "traced", {}),
    ],
)
def test_a_plugin_reads_variant_and_options_by_what_it_knows(
    text: str, variant: str, options: dict[str, str]
) -> None:
    assert read_choice(parse_framework(text), VARIANTS) == (variant, options)


def test_the_variant_that_none_stands_for_may_be_another_than_the_first() -> None:
    assert read_choice(parse_framework("alpha"), VARIANTS, "traced") == ("traced", {})
    assert read_choice(parse_framework("alpha:eager"), VARIANTS, "traced") == ("eager", {})
    with pytest.raises(UnsupportedError, match="alpha has no variant 'trace'"):
        read_choice(parse_framework("alpha"), VARIANTS, "trace")


@pytest.mark.parametrize(
    ("text", "what", "cause", "advice"),
    [
        (
            "alpha:grap",
            "alpha has no variant 'grap'",
            "its variants are eager, graph, traced",
            "did you mean 'graph'?",
        ),
        (
            "alpha:xyz",
            "alpha has no variant 'xyz'",
            "its variants are eager, graph, traced",
            "use one of eager, graph, traced",
        ),
        ("alpha,cache=x", "alpha:eager has no option 'cache'", "it takes no options", "leave it out"),
        (
            "alpha:graph,fusd=true",
            "alpha:graph has no option 'fusd'",
            "its options are cache, mode, fused",
            "did you mean 'fused'?",
        ),
        (
            "alpha@old:traced,x=1",
            "alpha:traced has no option 'x'",
            "its only option is cache",
            "leave it out",
        ),
        (
            "alpha:graph,mode=fats",
            "alpha:graph has no mode 'fats'",
            "mode is one of auto, fast",
            "did you mean 'fast'?",
        ),
        (
            "alpha:graph,fused=3",
            "alpha:graph has no fused 3",
            "fused is one of false, true",
            "leave it out for false",
        ),
    ],
)
def test_what_a_plugin_does_not_know_is_refused_with_what_it_knows(
    text: str, what: str, cause: str, advice: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read_choice(parse_framework(text), VARIANTS)
    assert (caught.value.what, caught.value.cause, caught.value.next) == (what, cause, advice)
