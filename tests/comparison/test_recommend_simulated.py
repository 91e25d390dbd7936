"""Recommendations on made-up runs whose truth is known: how often they are right."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy
import pytest

SIMULATIONS = 60


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("simulate_recommendations")


def bound(share: float) -> float:
    """Return four standard errors of a share of the simulations."""
    return 4 * math.sqrt(share * (1 - share) / SIMULATIONS)


@pytest.mark.parametrize("cells", [2, 8])
def test_identical_cells_have_no_single_best(simulation: ModuleType, cells: int) -> None:
    generator = numpy.random.default_rng(3)
    named = simulation.count_named(generator, SIMULATIONS, [simulation.Truth()] * cells)
    for scenario in simulation.SCENARIOS:
        assert named[scenario] / SIMULATIONS <= 0.05 + bound(0.05), scenario


def test_a_better_cell_is_named_in_every_scenario(simulation: ModuleType) -> None:
    generator = numpy.random.default_rng(4)
    truths = [simulation.BETTER] + [simulation.Truth()] * 7
    named = simulation.count_named(generator, SIMULATIONS, truths, "c0")
    for scenario in simulation.SCENARIOS:
        assert named[scenario] / SIMULATIONS >= 0.75 - bound(0.75), scenario


def test_the_number_of_steps_is_covered_by_its_interval(simulation: ModuleType) -> None:
    shown, covered = simulation.count_crossings(numpy.random.default_rng(5), SIMULATIONS)
    assert shown / SIMULATIONS >= 0.90 - bound(0.90)
    assert covered / shown >= 0.95 - bound(0.95)
