"""The rule as a whole: how often it is right on noise whose truth is known."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy
import pytest

from fwprof.comparison.rule import judge_rounds, judge_sessions

SIMULATIONS = 300


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "simulate_rule.py"
    spec = importlib.util.spec_from_file_location("simulate_rule", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bound(share: float) -> float:
    """Return four standard errors of a share of the simulations."""
    return 4 * math.sqrt(share * (1 - share) / SIMULATIONS)


def test_two_cells_are_covered_called_and_left_alone_as_often_as_promised(simulation: ModuleType) -> None:
    generator = numpy.random.default_rng(1)
    shares = [hits / SIMULATIONS for _, hits in simulation.simulate_pairs(generator, SIMULATIONS)]
    covered, cell_covered, false, false_floor, power, power_floor = shares
    assert covered >= 0.95 - bound(0.95)
    assert cell_covered >= 0.95 - bound(0.95)
    assert false <= 0.05 + bound(0.05)
    assert false_floor <= false
    assert 0.90 - bound(0.90) <= power_floor <= power


def test_eight_cells_share_one_error_and_the_fastest_is_found(simulation: ModuleType) -> None:
    generator = numpy.random.default_rng(2)
    rule = "the rule (Tukey and the interval)"
    same = {name: false for name, false, _ in simulation.simulate_groups(generator, SIMULATIONS, [0.0] * 8)}
    assert same[rule] / SIMULATIONS <= 0.05 + bound(0.05)
    lead = [-math.log(1.1)] + [0.0] * 7
    named = {name: hits for name, _, hits in simulation.simulate_groups(generator, SIMULATIONS, lead)}
    assert named[rule] / SIMULATIONS >= 0.75 - bound(0.75)
    assert named["Holm on paired t"] < named[rule]


def test_a_pair_that_only_a_table_makes_doubtful_says_so() -> None:
    """Alone the pair's interval excludes 1; among six noisy cells such a pair is to be expected."""
    generator = numpy.random.default_rng(0)
    rounds = numpy.exp(0.05 * generator.normal(size=(5, 6, 1)) + numpy.zeros((5, 6, 12)))
    rounds[:, 1] = rounds[:, 0] * 1.01
    one = judge_rounds(rounds.tolist())[0, 1]
    assert one.interval is not None
    assert one.interval[0] > 1
    assert one.verdict == "no difference shown"
    assert "by chance" in one.why


@pytest.mark.parametrize(("share", "verdict"), [(1.009, "no difference shown"), (1.011, "slower")])
def test_a_difference_below_one_percent_is_never_called(share: float, verdict: str) -> None:
    step = [math.log(share) + noise for noise in (-1e-4, -5e-5, 0.0, 5e-5, 1e-4)]
    judged = judge_sessions(step, is_separated=True, table=2)
    assert judged.verdict == verdict
    assert judged.interval is not None
    assert judged.interval[0] > 1
