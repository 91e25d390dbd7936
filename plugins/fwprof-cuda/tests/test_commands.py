"""What a user reads who asks for a card that is not there, or not free, or does not compute so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fwprof.testing.installed import installed

if TYPE_CHECKING:
    from conftest import StandIn

STRANGER = 4_194_999
"""No process has this number: Linux stops at 2^22."""


@dataclass(frozen=True)
class Case:
    """A command on a machine that cannot do it."""

    words: str
    """What is asked for."""
    says: tuple[str, ...]
    """What was looked for, what was found, what to do: one after another."""
    cards: int = 2
    machine: dict[str, object] = field(default_factory=dict)
    others: str = "--device cpu"
    """What makes a cell beside it that can be measured."""


CASES = {
    "no driver": Case(
        "--device cuda",
        ("NVML says: Driver Not Loaded", "/proc/driver/nvidia/version", "nvidia-smi"),
        machine={"init": "!9"},
    ),
    "a card that is not there": Case(
        "--device cuda:9",
        ("there is no device 'cuda:9'", "found: cuda:0 (Fictive Card 80GB), cuda:1", "fwprof devices"),
    ),
    "an unknown UUID": Case(
        "--device cuda:GPU-00000000-0000",
        ("there is no device 'cuda:GPU-00000000-0000'", "found: cuda:0", "fwprof devices"),
    ),
    "a split card without an instance": Case(
        "--device cuda",
        ("card 0 is left out: split (MIG), no instance", "nvidia-smi mig -cgi"),
        cards=1,
        machine={"0.mig": 1},
    ),
    "somebody else's": Case(
        "--device cuda:1 --exclusive",
        (f"cuda:1 is in use by pid {STRANGER}", "nobody else computes", "leave --exclusive out"),
        machine={"1.processes": f"{STRANGER}:1000"},
    ),
    "a precision that the card lacks": Case(
        "--device cuda:1 --precision bfloat16",
        ("does not compute in bfloat16", "its precisions are float32, float16", "--precision"),
        machine={"1.capability": "7.5"},
        others="--device cpu --precision float32",
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Return one case."""
    return CASES[request.param]


def profile(stand_in: StandIn, case: Case, words: str, tmp_path: Path) -> tuple[int, str, str]:
    (tmp_path / "installed").mkdir()
    short = f"profile mlp-small --plugin fake --rounds 2 --max-seconds 0.5 --no-memory -o {tmp_path / 'runs'}"
    with installed(tmp_path / "installed") as variables:
        lines = stand_in.machine(case.cards, case.machine)
        done = stand_in.fwprof([*short.split(), *words.split()], lines, **variables)
    return done.returncode, done.stdout, done.stderr


def test_it_says_what_was_looked_for_what_was_found_and_what_to_do(
    case: Case, stand_in: StandIn, tmp_path: Path
) -> None:
    status, stdout, stderr = profile(stand_in, case, case.words, tmp_path)
    assert (status, stdout) == (5, "")
    assert len(stderr.strip().splitlines()) <= 4
    place = 0
    for words in case.says:
        assert words in stderr[place:], stderr
        place = stderr.index(words, place)


def test_other_cells_go_on(case: Case, stand_in: StandIn, tmp_path: Path) -> None:
    status, stdout, stderr = profile(stand_in, case, f"{case.words} {case.others} --json", tmp_path)
    assert status == 3, stderr
    cells = json.loads(stdout)["cells"]
    assert ("cpu", "float32", "ok") in [(cell["device"], cell["precision"], cell["fate"]) for cell in cells]
