"""What `fwprof profile` and `fwprof compare` exit with."""

from __future__ import annotations

from types import ModuleType

import pytest
from msgspec.structs import replace

from fwprof.cli.compare import status_of as status_of_gates
from fwprof.cli.exit_status import status_of
from fwprof.errors import ExitCode
from fwprof.records import Failure

SAME = Failure(fate="skipped", stage="build", message="measured once", same_as="c")


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        (["ok"], ExitCode.DONE),
        (["ok", "ok"], ExitCode.DONE),
        (["ok", "failed"], ExitCode.PARTIAL),
        (["ok", "unsupported"], ExitCode.PARTIAL),
        (["failed"], ExitCode.NOTHING_MEASURED),
        (["killed", "unsupported"], ExitCode.NOTHING_MEASURED),
        (["unsupported"], ExitCode.NOT_AVAILABLE),
        (["unsupported", "skipped"], ExitCode.NOT_AVAILABLE),
        ([], ExitCode.NOT_AVAILABLE),
        (["timeout"], ExitCode.TIME_LIMIT),
        (["timeout", "unsupported"], ExitCode.TIME_LIMIT),
        (["timeout", "failed"], ExitCode.NOTHING_MEASURED),
        (["timeout", "ok"], ExitCode.PARTIAL),
    ],
)
def test_the_status_follows_from_the_fates(build: ModuleType, fates: list[str], expected: ExitCode) -> None:
    cells = [
        (
            build.cell_plan(f"c{n}", "mlp", "alpha"),
            build.cell_result(f"c{n}") if fate == "ok" else build.failed_cell(f"c{n}", fate),
        )
        for n, fate in enumerate(fates)
    ]
    assert status_of(build.run_result(*cells)) is expected


def test_a_cell_that_died_after_some_rounds_is_a_partial_result(build: ModuleType) -> None:
    cell = build.cell_result("c", fate="killed")
    assert status_of(build.run_result((build.cell_plan("c", "mlp", "alpha"), cell))) is ExitCode.PARTIAL


def test_a_cell_measured_under_another_preset_is_no_gap(build: ModuleType) -> None:
    one = (build.cell_plan("c", "mlp", "alpha"), build.cell_result("c"))
    same = replace(build.failed_cell("d", "skipped"), failure=SAME)
    assert status_of(build.run_result(one, (build.cell_plan("d", "mlp", "alpha"), same))) is ExitCode.DONE


def test_what_could_not_be_planned_makes_a_run_partial(build: ModuleType) -> None:
    cell = (build.cell_plan("c", "mlp", "alpha"), build.cell_result("c"))
    result = build.run_result(cell, unavailable={"device gamma": "no driver"})
    assert status_of(result) is ExitCode.PARTIAL


def test_an_interrupted_run_says_so(build: ModuleType) -> None:
    cell = (build.cell_plan("c", "mlp", "alpha"), build.cell_result("c"))
    assert status_of(build.run_result(cell, is_interrupted=True)) is ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("answers", "inconclusive", "expected"),
    [
        ([], "fail", ExitCode.DONE),
        (["pass"], "fail", ExitCode.DONE),
        (["pass", "fail"], "pass", ExitCode.GATE_SAID_NO),
        (["inconclusive", "fail"], "fail", ExitCode.GATE_SAID_NO),
        (["inconclusive"], "pass", ExitCode.DONE),
        (["inconclusive", "pass"], "fail", ExitCode.INCONCLUSIVE),
    ],
)
def test_gates_decide_the_status_of_compare(
    answers: list[str], inconclusive: str, expected: ExitCode
) -> None:
    assert status_of_gates(answers, inconclusive) is expected
