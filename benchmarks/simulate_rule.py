"""How often is the `--thorough` rule right, on made-up noise whose truth is known.

Runs the product's own functions (`fwprof.comparison.rule`) on simulated rounds, beside the
family-wise procedures that were not chosen. The noise model is that of measured machines:

    ln time = ln truth + between-process noise (sd 2 %) + round noise (sd 8 %, AR(1))

The rounds of a cell are correlated (0.3 from one to the next) and those of two cells are not: what
slows a whole round cancels out of every ratio, so that only the rest is modelled.

    python benchmarks/simulate_rule.py [--simulations 5000] [--seed 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from math import log, sqrt
from time import monotonic
from typing import TYPE_CHECKING

import numpy
from scipy.optimize import brentq
from scipy.special import ndtr, stdtr, stdtrit
from scipy.stats import chi

from fwprof.comparison.rule import Judgement, judge_rounds
from fwprof.statistics import (
    bootstrap_interval,
    centred_medians,
    holm,
    mean_interval,
    median,
    separated_pairs,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[numpy.float64]

PROCESS_SD, ROUND_SD, ROUND_CORRELATION = 0.02, 0.08, 0.3
SESSIONS, ROUNDS, CELLS = 5, 40, 8
LEAD = log(1.10)
STORED = 40
"""A/A sessions from which the noise floor is known."""

Pair = tuple[int, int]
Rounds = list[list[list[float]]]


def make_rounds(
    generator: numpy.random.Generator,
    truth: list[float],
    *,
    sessions: int = SESSIONS,
    process_sd: float = PROCESS_SD,
    sd: list[float] | None = None,
) -> Rounds:
    """Return (sessions, cells, rounds) of simulated times.

    Args:
        generator: source of the noise.
        truth: ln of each cell's true time.
        sessions: fresh processes a cell.
        process_sd: between processes.
        sd: each cell's noise, as a multiple of the model's.
    """
    scale = numpy.ones(len(truth)) if sd is None else numpy.asarray(sd)
    shocks = generator.normal(size=(ROUNDS, sessions, len(truth)))
    rounds = numpy.empty_like(shocks)
    rounds[0] = shocks[0]
    for index in range(1, ROUNDS):
        fresh = sqrt(1 - ROUND_CORRELATION**2) * shocks[index]
        rounds[index] = ROUND_CORRELATION * rounds[index - 1] + fresh
    processes = process_sd * generator.normal(size=(sessions, len(truth)))
    logs = numpy.asarray(truth) + scale * (processes + ROUND_SD * rounds)
    times: Rounds = numpy.exp(logs).transpose(1, 2, 0).tolist()
    return times


def make_stored(generator: numpy.random.Generator) -> list[float]:
    """Return |ln r| of simulated A/A sessions."""
    sessions = (make_rounds(generator, [0.0, 0.0], sessions=1) for _ in range(STORED))
    return [abs(log(one.ratio)) for rounds in sessions if (one := judge_rounds(rounds)[0, 1]).ratio]


def judge_by_tukey(rounds: Rounds, judged: Mapping[Pair, Judgement]) -> set[Pair]:  # noqa: ARG001 (one signature for all)
    """Return the pairs that Tukey's range test separates: the product's choice."""
    return separated_pairs(centred_medians(rounds))


def judge_by_holm(rounds: Rounds, judged: Mapping[Pair, Judgement]) -> set[Pair]:
    """Return the pairs that Holm's procedure on paired t tests separates."""
    freedom = len(rounds) - 1
    scores = []
    for one in judged.values():
        if one.ratio is None or one.interval is None:
            raise ValueError("a judged pair has a ratio and an interval")
        half = log(one.interval[1] / one.interval[0]) / 2
        scores.append(abs(log(one.ratio)) / half * stdtrit(freedom, 0.975))
    p_values = [2 * float(stdtr(freedom, -score)) for score in scores]
    return {pair for pair, stands in zip(judged, holm(p_values), strict=True) if stands}


def judge_by_hsu(rounds: Rounds, judged: Mapping[Pair, Judgement]) -> set[Pair]:  # noqa: ARG001 (one signature for all)
    """Return the pairs with the best cell, where Hsu's comparison with the best names one.

    Source: Hsu, Constrained Simultaneous Confidence Intervals for Multiple Comparisons with the
    Best, 1984.
    """
    table = centred_medians(rounds)
    sessions, cells = table.shape
    means = table.mean(axis=0)
    residuals = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (sessions - 1) * (cells - 1)
    error = sqrt(2 * float((residuals**2).sum()) / freedom / sessions)
    best, second = numpy.argsort(means)[:2]
    if means[second] - means[best] <= dunnett_quantile(cells, freedom) * error:
        return set()
    return {(min(best, other), max(best, other)) for other in range(cells) if other != best}


@lru_cache
def dunnett_quantile(cells: int, freedom: int, level: float = 0.95) -> float:
    """Return the one-sided quantile of the largest of cells − 1 t values correlated by 1/2.

    Source: Dunnett, A Multiple Comparison Procedure for Comparing Several Treatments with a
    Control, 1955.
    """
    nodes, weights = numpy.polynomial.hermite_e.hermegauss(60)
    scales = chi.ppf((numpy.arange(400) + 0.5) / 400, freedom) / sqrt(freedom)

    def excess(value: float) -> float:
        below = ndtr(sqrt(2) * value * scales[:, None] + nodes) ** (cells - 1)
        return float((below @ weights).mean() / weights.sum()) - level

    return float(brentq(excess, 0, 20))


PROCEDURES: Mapping[str, Callable[[Rounds, Mapping[Pair, Judgement]], set[Pair]]] = {
    "Tukey": judge_by_tukey,
    "Holm on paired t": judge_by_holm,
    "Hsu, with the best": judge_by_hsu,
}


def called(judged: Mapping[Pair, Judgement]) -> set[Pair]:
    """Return the pairs with a verdict."""
    return {pair for pair, one in judged.items() if one.verdict in ("faster", "slower")}


def excluding(judged: Mapping[Pair, Judgement]) -> set[Pair]:
    """Return the pairs whose printed interval excludes 1."""
    return {
        pair for pair, one in judged.items() if one.interval and not one.interval[0] <= 1 <= one.interval[1]
    }


def share(hits: int, count: int) -> str:
    """Return a share in percent with the half-width of its 95 % interval."""
    part = hits / count
    return f"{100 * part:5.2f} % ± {196 * sqrt(part * (1 - part) / count):.1f}"


def simulate_pairs(generator: numpy.random.Generator, count: int) -> Iterator[tuple[str, int]]:
    """Yield what happens in tables of two cells: name of the event, how often."""
    stored = make_stored(generator)
    covered = cell_covered = false = false_floor = power = power_floor = 0
    for _ in range(count):
        rounds = make_rounds(generator, [0.0, LEAD])
        one = judge_rounds(rounds)[0, 1]
        covered += one.interval is not None and one.interval[0] <= 1.10 <= one.interval[1]
        _, low, high = mean_interval([log(median(session[0])) for session in rounds])
        cell_covered += low <= 0 <= high
        power += one.verdict == "slower"
        power_floor += judge_rounds(rounds, stored)[0, 1].verdict == "slower"
        same = make_rounds(generator, [0.0, 0.0])
        false += bool(called(judge_rounds(same)))
        false_floor += bool(called(judge_rounds(same, stored)))
    yield "interval of a ratio covers the truth        (goal ≥ 93 %)", covered
    yield "interval of a cell's p50 covers the truth   (goal ≥ 93 %)", cell_covered
    yield "false verdict on two identical cells        (goal ≤ 5 %)", false
    yield "  the same, noise floor known", false_floor
    yield "10 % difference called                      (goal ≥ 90 %)", power
    yield "  the same, noise floor known", power_floor


def simulate_groups(
    generator: numpy.random.Generator, count: int, truth: list[float], sd: list[float] | None = None
) -> Iterator[tuple[str, int, int]]:
    """Yield for each procedure: its name, groups with a false verdict, groups with cell 0 named."""
    best = {(0, other) for other in range(1, len(truth))}
    real = {(i, j) for i, j in combinations(range(len(truth)), 2) if truth[i] != truth[j]}
    false: dict[str, int] = {}
    named: dict[str, int] = {}
    for _ in range(count):
        rounds = make_rounds(generator, truth, sd=sd)
        judged = judge_rounds(rounds)
        clear = excluding(judged)
        answers = {"the rule (Tukey and the interval)": called(judged)}
        for name, procedure in PROCEDURES.items():
            answers[name] = procedure(rounds, judged)
            answers[f"{name}, and the interval"] = answers[name] & clear
        for name, pairs in answers.items():
            false[name] = false.get(name, 0) + bool(pairs - real)
            named[name] = named.get(name, 0) + (best <= pairs)
    for name in sorted(false):
        yield name, false[name], named[name]


def main() -> None:
    """Simulate, and print one line an event."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count, began = options.simulations, monotonic()
    generator = numpy.random.default_rng(options.seed)

    few = max(count // 10, 1)
    covered = 0
    for _ in range(few):
        (session,) = make_rounds(generator, [0.0], sessions=1)
        low, high = bootstrap_interval(session[0])
        covered += low <= 1 <= high
    print(f"one process: bootstrap interval covers the truth  {share(covered, few)}  ({few} simulations)")

    print(f"\n{SESSIONS} sessions × {ROUNDS} rounds, {count} simulations, seed {options.seed}")
    for name, hits in simulate_pairs(generator, count):
        print(f"  {name:<58} {share(hits, count)}")

    scenes: list[tuple[str, list[float], list[float] | None]] = [
        (f"{CELLS} identical cells", [0.0] * CELLS, None),
        (f"{CELLS} identical cells, one three times as noisy", [0.0] * CELLS, [3.0] + [1.0] * (CELLS - 1)),
        (f"{CELLS} cells, the first 10 % ahead of all others", [-LEAD] + [0.0] * (CELLS - 1), None),
    ]
    for title, truth, sd in scenes:
        print(f"\n{title:<58} any false verdict   first named")
        for name, false, named in simulate_groups(generator, count, truth, sd):
            print(f"  {name:<56} {share(false, count)}   {share(named, count)}")
    print(f"\n{monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
