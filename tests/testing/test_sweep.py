"""The sweep tells which workloads a framework gets right, wrong, and not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwprof.testing.conformance.verdicts import ConformanceError
from fwprof.testing.sweep import SAMPLED, SMALL_SHAPES, expect_swept, small_plan, sweep
from fwprof.workloads import builtin_names, find_workload, plan_workload


def test_a_right_framework_has_nothing_to_answer_for(tmp_path: Path) -> None:
    names = ("mlp-dropout", "regression", "lenet")
    found = sweep("fwprof.testing.fake_framework:plugin", "fake", tmp_path, workloads=names)
    assert (found["mlp-dropout"], found["regression"]) == ("", "")
    assert found["lenet"].startswith("refused: layer 0 is of kind conv2d")


def test_as_it_is_timed_it_must_train(tmp_path: Path) -> None:
    found = sweep(
        "fwprof.testing.fake_framework:plugin",
        "fake",
        tmp_path,
        workloads=["mlp-dropout"],
        is_verification=False,
    )
    assert found == {"mlp-dropout": ""}


@pytest.mark.parametrize(
    ("trap", "message"),
    [
        ("dropped_gradient", "the slope of the loss"),
        ("loss_reduction", "the loss of forward"),
    ],
)
def test_a_wrong_framework_is_told_what_is_wrong(tmp_path: Path, trap: str, message: str) -> None:
    found = sweep(
        "fwprof.testing.wrong_framework:plugin", "wrong", tmp_path, variant=trap, workloads=["mlp-small"]
    )
    assert message in found["mlp-small"]


@pytest.mark.parametrize(
    ("found", "refused", "message"),
    [
        ({"a": "", "b": "the loss is off"}, (), r"1 of 2 workloads:\n  b: the loss is off"),
        ({"a": "refused: no lstm"}, (), "a: refused: no lstm"),
        ({"a": ""}, ("a",), "a: is not refused"),
        ({"a": "the loss is off"}, ("a",), "a: the loss is off"),
    ],
)
def test_what_is_not_as_expected_is_named(
    found: dict[str, str], refused: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConformanceError, match=message):
        expect_swept(found, refused)


def test_what_is_as_expected_passes() -> None:
    expect_swept({"a": "", "b": "refused: no lstm"}, refused=("b",))


def test_small_inputs_change_no_parameter() -> None:
    assert set(SAMPLED) | set(SMALL_SHAPES) <= set(builtin_names())
    for name in set(SMALL_SHAPES) - {"bert"}:
        small, whole = small_plan(name), plan_workload(find_workload(name), 8)
        assert small.parameter_count == whole.parameter_count
