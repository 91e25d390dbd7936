"""The user's factory is found, called and checked; its own exceptions stay its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fwprof.errors import ExitCode, RequestError
from fwprof.records import NativeModel, Scalar, WorkloadPlan
from fwprof.workloads.native import (
    Part,
    call_factory,
    endless_batches,
    first_batches,
    load_factory,
    load_native,
    read_parts,
)

SOURCE = """\
from neighbour import SIZE

NUMBER = 3

def make(width=SIZE, *, depth=1):
    return {"model": [width, depth], "batches": [(1, 2)]}

def make_nothing():
    return None

def make_numbers():
    return {1: "one"}

def make_no_batches():
    return {"model": 1}

def make_trouble():
    raise LookupError("mine alone")

def needs(size):
    return {}
"""


@pytest.fixture(autouse=True)
def _imports_are_undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("SIZE = 5\n")
    path = tmp_path / "my_training.py"
    path.write_text(SOURCE)
    return path


def native(file: Path | str, name: str, **arguments: Scalar) -> NativeModel:
    return NativeModel(factory=f"{file}:{name}", arguments=arguments)


def test_a_factory_in_a_file_is_called_with_its_arguments(file: Path) -> None:
    assert call_factory(native(file, "make"))["model"] == [5, 1]
    assert call_factory(native(file, "make", width=2, depth=4))["model"] == [2, 4]
    assert load_factory(native(file, "make")).__module__ == "my_training"


def test_a_factory_in_a_module_is_called(file: Path) -> None:
    sys.path.insert(0, str(file.parent))
    assert call_factory(native("my_training", "make"))["model"] == [5, 1]


def test_a_file_named_like_a_loaded_module_replaces_nothing(tmp_path: Path) -> None:
    json = sys.modules["json"]
    path = tmp_path / "json.py"
    path.write_text("def make():\n    return {'batches': [1]}\n")
    assert call_factory(native(path, "make")) == {"batches": [1]}
    assert sys.modules["json"] is json


def test_what_the_users_code_raises_passes_unchanged(file: Path, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine alone"):
        call_factory(native(file, "make_trouble"))
    broken = tmp_path / "broken.py"
    broken.write_text("import a_module_nobody_has\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        call_factory(native(broken, "make"))
    assert "broken" not in sys.modules
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        call_factory(native("broken", "make"))


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mak", {}, r"my_training.py has no 'mak'.*did you mean 'make'\?"),
        ("NUMBER", {}, r"NUMBER is no function.*it is of type int"),
        ("make_nothing", {}, r"make_nothing returned a NoneType, not a dict of named parts"),
        ("make_numbers", {}, r"returned a mapping with the key 1"),
        (
            "make",
            {"hight": 3},
            r"make cannot be called with \(hight=3\).*unexpected keyword .* 'hight'",
        ),
        ("needs", {}, r"needs cannot be called with \(\).*missing a required argument: 'size'"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(
    file: Path, name: str, arguments: dict[str, Scalar], expected: str
) -> None:
    with pytest.raises(RequestError, match=r"my_training\.py") as caught:
        call_factory(native(file, name, **arguments))
    assert caught.value.exit_code == ExitCode.USAGE
    assert re.search(expected, " ".join(caught.value.lines()))


def test_a_missing_file_or_module_is_named_with_the_nearest(file: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no file .*my_trainin\.py") as caught:
        load_factory(native(file.parent / "my_trainin.py", "make"))
    assert caught.value.next == "did you mean 'my_training.py'?"
    with pytest.raises(RequestError, match="there is no module nobody_has_this"):
        load_factory(native("nobody_has_this.sub", "make"))
    with pytest.raises(RequestError, match=r"'train\.py' names no factory"):
        load_factory(NativeModel(factory="train.py"))


def test_a_native_plan_becomes_a_loaded_workload(file: Path) -> None:
    loaded = load_native(WorkloadPlan(name="mine", native=native(file, "make")))
    assert loaded.native is not None
    assert (loaded.name, loaded.spec, loaded.native["model"], loaded.batches) == (
        "mine",
        None,
        [5, 1],
        [(1, 2)],
    )
    with pytest.raises(RequestError, match="returned no 'batches'"):
        load_native(WorkloadPlan(name="mine", native=native(file, "make_no_batches")))
    with pytest.raises(ValueError, match="mlp is a neutral workload"):
        load_native(WorkloadPlan(name="mlp"))


def test_batches_are_drawn_once_from_whatever_gives_them() -> None:
    calls = iter(range(100))

    def one_batch() -> tuple[int, int]:
        return next(calls), 0

    def one_mapping() -> dict[str, int]:
        return {"x": 1}

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    class Loader:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

        def __call__(self) -> None:
            raise AssertionError("an iterable is not called")

    assert first_batches([1, 2, 3], count=2) == [1, 2]
    assert first_batches(endless) == list(range(8))
    assert first_batches(endless(), count=3) == [0, 1, 2]
    assert first_batches(one_batch, count=3) == [(0, 0), (1, 0), (2, 0)]
    assert next(calls) == 3
    assert first_batches(one_mapping, count=2) == [{"x": 1}, {"x": 1}]
    assert first_batches(lambda: [(1, 2)]) == [(1, 2)]
    assert first_batches(Loader()) == [1, 2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"x": 1}, "'batches' is a dict, not an iterable of batches"),
        ("text", "'batches' is a str"),
        (3, "'batches' is a int"),
        (lambda: None, "'batches' is a NoneType"),
        ([], "'batches' gives no batch"),
        (lambda: iter(()), "'batches' gives no batch"),
    ],
)
def test_what_gives_no_batches_is_refused(value: Any, expected: str) -> None:
    with pytest.raises(RequestError, match=expected):
        first_batches(value)


def draw(batches: Any, drawn: list[Any], count: int) -> list[Any]:
    return list(islice(endless_batches(batches, drawn), count))


def test_a_pipeline_begins_again_where_it_ends() -> None:
    numbers = iter(range(100))
    assert draw([1, 2], [1, 2], 5) == [1, 2, 1, 2, 1]
    assert draw(lambda: iter((1, 2)), [1, 2], 5) == [1, 2, 1, 2, 1]
    assert draw(lambda: [next(numbers)], [0], 3) == [0, 1, 2]


def test_what_is_used_up_gives_what_was_drawn_first() -> None:
    batches = iter([1, 2, 3])
    drawn = first_batches(batches, count=2)
    assert draw(batches, drawn, 6) == [3, 1, 2, 1, 2, 1]
    assert draw(lambda: batches, drawn, 3) == [1, 2, 1]


def test_a_function_of_one_batch_is_called_for_each_as_when_they_are_drawn_first() -> None:
    numbers = iter(range(100))

    def one_batch() -> tuple[int, int]:
        return next(numbers), 0

    assert first_batches(one_batch, count=2) == [(0, 0), (1, 0)]
    assert draw(one_batch, [], 2) == [(2, 0), (3, 0)]
    assert draw(lambda: {"x": 1}, [], 2) == [{"x": 1}, {"x": 1}]


PARTS = {
    "model": Part("a number", lambda value: isinstance(value, int)),
    "loss": Part("a callable on the model", callable, is_optional=True),
}


def read(made: object) -> dict[str, Any]:
    return read_parts(made, PARTS, framework="alpha", next="return {'model': …}")


def test_the_parts_of_a_dict_are_those_of_the_framework_and_batches() -> None:
    assert read({"batches": [1], "loss": abs, "model": 3}) == {"model": 3, "loss": abs, "batches": [1]}
    assert read({"model": 3, "batches": min}) == {"model": 3, "loss": None, "batches": min}
    assert read({"model": 3, "loss": None, "batches": []})["loss"] is None


@pytest.mark.parametrize(
    ("made", "what", "cause"),
    [
        ([1], "the model factory must return a dict", "it returned a list"),
        (
            {"model": 3, "batches": [], "x": 1},
            "the model factory returned an unknown key 'x'",
            "alpha knows model, loss, batches",
        ),
        (
            {"loss": abs, "batches": []},
            "the model factory's dict has no 'model'",
            "expected a number; found only loss, batches",
        ),
        ({}, "the model factory's dict has no 'model'", "expected a number; found only nothing"),
        (
            {"model": 3},
            "the model factory's dict has no 'batches'",
            "expected an iterable or a callable; found only model",
        ),
        (
            {"model": None, "batches": []},
            "the model factory's 'model' is not a number",
            "expected a number, found a NoneType",
        ),
        (
            {"model": ["x"], "batches": []},
            "the model factory's 'model' is not a number",
            "expected a number, found a list of str",
        ),
        (
            {"model": (), "batches": []},
            "the model factory's 'model' is not a number",
            "expected a number, found an empty tuple",
        ),
        (
            {"model": 3, "loss": "x", "batches": []},
            "the model factory's 'loss' is not a callable on the model",
            "expected a callable on the model, found a str",
        ),
        (
            {"model": 3, "batches": 3},
            "the model factory's 'batches' is not an iterable or a callable",
            "expected an iterable or a callable, found a int",
        ),
    ],
)
def test_a_dict_of_other_parts_is_refused(made: object, what: str, cause: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(made)
    assert (caught.value.what, caught.value.cause) == (what, cause)
    assert caught.value.next == "return {'model': …}"


def test_a_misspelt_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="unknown key 'batchs'") as caught:
        read({"model": 3, "batchs": []})
    assert caught.value.next == "did you mean 'batches'?"
