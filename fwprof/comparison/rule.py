"""The rule: what the numbers of several cells say about each pair of them.

Owns intervals, the verdict and its reason (docs/decisions/010-family-wise-error.md). Knows
numbers only: `benchmarks/simulate_rule.py` runs exactly these functions on made-up noise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from typing import TYPE_CHECKING, Literal

from fwprof.records import Verdict
from fwprof.statistics import (
    bootstrap_interval,
    centred_medians,
    mean_interval,
    noise_floor,
    paired_log_ratio,
    separated_pairs,
)

if TYPE_CHECKING:
    from fwprof.statistics import Floats

MIN_SESSIONS = 5
"""Fewer fresh processes undercover: three gave 89–92 % where 95 % was promised."""

FAMILY_LEVEL = 0.96
"""A table's verdicts are held to 4 %, so that what is promised, 5 %, is kept with room for the
approximations (docs/decisions/010)."""

RESOLUTION = log(1.01)
"""A smaller difference is never called: where code and data happen to lie moves a step by as much,
and the same way in every session of a run.

Source: Mytkowicz et al., Producing Wrong Data Without Doing Anything Obviously Wrong!, ASPLOS 2009;
docs/decisions/010 has what was seen here.
"""

Better = Literal["lower", "higher", "neither"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Judgement:
    """What is known of one pair: ratio of the second over the first."""

    verdict: Verdict
    why: str
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    floor: float | None = None
    labels: tuple[str, ...] = ()


def judge_rounds(
    rounds: Sequence[Sequence[Sequence[float]]], stored: Collection[float] = ()
) -> Mapping[Pair, Judgement]:
    """Judge every pair of cells by one metric that was measured in shared rounds.

    Args:
        rounds: (sessions, cells, rounds), positive; sessions may differ in their rounds.
        stored: |ln r| of earlier A/A sessions on this machine, for the noise floor.

    Returns:
        For (i, j), i < j, the judgement of cell j against cell i; lower is better.
    """
    pairs = list(combinations(range(len(rounds[0])), 2))
    ratios = {(i, j): [paired_log_ratio(session[i], session[j]) for session in rounds] for i, j in pairs}
    if len(rounds) >= MIN_SESSIONS:
        return judge_logs(ratios, centred_medians(rounds), stored)
    if len(rounds) > 1:
        why = too_few(len(rounds))
        return {pair: undecided(mean_interval(values), why) for pair, values in ratios.items()}
    (session,) = rounds
    return {
        (i, j): one_process(
            ratios[i, j][0],
            bootstrap_interval(
                [paired_log_ratio([a], [b]) for a, b in zip(session[i], session[j], strict=True)]
            ),
        )
        for i, j in pairs
    }


def judge_logs(
    ratios: Mapping[Pair, Sequence[float]],
    logs: Floats | Sequence[Sequence[float]],
    stored: Collection[float] = (),
    better: Better = "lower",
) -> Mapping[Pair, Judgement]:
    """Judge every pair of cells from one log value a session and cell, all pairs at once.

    Args:
        ratios: for each pair its log-ratio in each session, at least five.
        logs: (sessions, cells), the same in the form that the whole table is judged by.
        stored: |ln r| of earlier A/A sessions on this machine.
        better: which direction of the metric is the better one.
    """
    separated = separated_pairs(logs, FAMILY_LEVEL)
    return {
        pair: judge_sessions(
            values, is_separated=pair in separated, table=len(logs[0]), stored=stored, better=better
        )
        for pair, values in ratios.items()
    }


def judge_sessions(
    log_ratios: Sequence[float],
    *,
    is_separated: bool,
    table: int,
    stored: Collection[float] = (),
    better: Better = "lower",
) -> Judgement:
    """Judge one pair from its log-ratios of at least five sessions.

    Args:
        log_ratios: one a session.
        is_separated: whether the procedure over the whole table separates the pair.
        table: cells in that table.
        stored: |ln r| of earlier A/A sessions on this machine.
        better: which direction of the metric is the better one.
    """
    mean, low, high = mean_interval(log_ratios)
    sessions = len(log_ratios)
    return conclude(
        (mean, low, high),
        is_separated=is_separated,
        floor=noise_floor(stored, sessions),
        evidence=f"{sessions} sessions, {table} cells judged at once",
        better=better,
    )


def conclude(
    interval: tuple[float, float, float],
    *,
    is_separated: bool,
    floor: float | None,
    evidence: str,
    better: Better = "lower",
) -> Judgement:
    """Turn a log-ratio with its interval into a verdict on the second cell.

    Args:
        interval: (log-ratio, low, high), unadjusted: the one that is printed.
        is_separated: whether the procedure over the whole table separates the pair.
        floor: the |ln r| that identical cells reach by chance, None where unknown.
        evidence: what the verdict rests on, in a few words.
        better: which direction of the metric is the faster one.
    """
    mean, low, high = interval
    verdict: Verdict = "no difference shown"
    if low <= 0 <= high:
        why = f"the interval holds 1 ({evidence})"
    elif not is_separated:
        why = f"one pair in a table of many may differ so much by chance ({evidence})"
    elif abs(mean) < RESOLUTION:
        why = f"below 1 %, which the layout of memory alone may make ({evidence})"
    elif floor is not None and abs(mean) <= floor:
        why = f"within this machine's noise floor ({evidence})"
    else:
        verdict = "faster" if (mean < 0) == (better == "lower") else "slower"
        why = f"the interval excludes 1 ({evidence})"
    return Judgement(
        verdict=verdict,
        why=why,
        ratio=exp(mean),
        interval=(exp(low), exp(high)),
        floor=floor,
        labels=("floor_unknown",) if floor is None else (),
    )


def undecided(interval: tuple[float, float, float], why: str) -> Judgement:
    """Return a ratio without a verdict.

    Args:
        interval: (log-ratio, low, high).
        why: what a verdict lacks.
    """
    mean, low, high = interval
    return Judgement(
        verdict="no difference shown",
        why=why,
        ratio=exp(mean),
        interval=(exp(low), exp(high)),
        labels=("few_sessions",),
    )


def too_few(sessions: int) -> str:
    """Return why this many sessions give no verdict."""
    return f"{sessions} sessions: a verdict needs {MIN_SESSIONS} (--thorough)"


def one_process(log_ratio: float, interval: tuple[float, float] | None) -> Judgement:
    """Return the ratio that one process a cell gave: another process may differ by more."""
    return Judgement(
        verdict="one process",
        why="one process a cell: a verdict needs five (--thorough)",
        ratio=exp(log_ratio),
        interval=None if interval is None else (exp(interval[0]), exp(interval[1])),
    )


def not_comparable(why: str) -> Judgement:
    """Return that two cells may not be compared, and why."""
    return Judgement(verdict="not comparable", why=why)
