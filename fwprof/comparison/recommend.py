"""What the verdicts of a run recommend.

Owns the wording of evidence. Recommends only from verdicts: one process a cell, or too few
sessions, recommend nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from fwprof.comparison.pairs import STEP
from fwprof.records import Comparison, Recommendation


def recommend(comparisons: Iterable[Comparison]) -> Sequence[Recommendation]:
    """Name the fastest to train of each set of cells that were judged together.

    Where no single cell is shown to be the fastest, all that no other beats are named.
    """
    judged = {
        (one.a, one.b): one
        for one in comparisons
        if one.metric == STEP
        and one.verdict not in ("not comparable", "one process")
        and "few_sessions" not in one.labels
    }
    tables: list[list[str]] = []
    for pair in judged:
        joined = [table for table in tables if not set(pair).isdisjoint(table)]
        tables = [table for table in tables if table not in joined]
        tables.append(list(dict.fromkeys(chain(*joined, pair))))
    return [_fastest(table, judged) for table in tables]


def _fastest(table: Sequence[str], judged: Mapping[tuple[str, str], Comparison]) -> Recommendation:
    losers = {"faster": 0, "slower": 1}
    beaten = {pair[losers[one.verdict]] for pair, one in judged.items() if one.verdict in losers}
    choice = tuple(name for name in table if name not in beaten)
    others = len(table) - len(choice)
    if not others:
        evidence = "no difference shown between any of them"
    elif len(choice) > 1:
        evidence = f"no difference shown between them; {others} slower than one of them at least"
    else:
        evidence = _lead(choice[0], judged)
    return Recommendation(scenario="fastest training", choice=choice, evidence=evidence)


def _lead(best: str, judged: Mapping[tuple[str, str], Comparison]) -> str:
    """Say how far the fastest is ahead of the nearest of the others."""
    leads = []
    for (a, b), one in judged.items():
        if best in (a, b) and one.ratio is not None and one.ci95 is not None:
            low, high = one.ci95
            leads.append((one.ratio, low, high, b) if a == best else (1 / one.ratio, 1 / high, 1 / low, a))
    ratio, low, high, nearest = min(leads)
    others = f"ahead of all {len(leads)} others" if len(leads) > 1 else "ahead of the other"
    return f"{others}; the nearest, {nearest}, takes {ratio:.2f} × ({low:.2f}–{high:.2f})"
