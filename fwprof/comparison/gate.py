"""The gate of `--fail-on`: has a metric changed by more than a limit.

Owns the language of limits (`step_time>+5%`) and its three answers. A gate passes or fails only
where an interval over sessions says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

from fwprof.errors import RequestError
from fwprof.metrics import METRICS
from fwprof.records import Comparison, Record

Answer = Literal["pass", "fail", "inconclusive"]

_GATE = re.compile(
    r"\s*(?P<metric>[\w.]+)\s*(?P<side>[<>])\s*(?P<change>[+-]?\d+(?:\.\d+)?)\s*%\s*", re.ASCII
)


class Gate(Record, frozen=True, kw_only=True):
    """Fail where the ratio (after over before) lies beyond `limit` on that side."""

    metric: str
    side: Literal["above", "below"]
    limit: float


def parse_gate(text: str) -> Gate:
    """Read a gate such as `step_time>+5%` or `throughput<-5%`.

    Raises:
        RequestError: it is no gate, or names no metric.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise RequestError(
            f"--fail-on cannot read {text[:60]!r}",
            cause="a gate is METRIC, > or <, and a change in percent",
            next="write it like 'step_time>+5%' or 'throughput<-5%'",
        )
    metric = match["metric"]
    if metric not in METRICS:
        close = get_close_matches(metric, METRICS, n=1)
        raise RequestError(
            f"--fail-on names an unknown metric {metric[:60]!r}",
            next=f"did you mean {close[0]!r}?" if close else "see the table of metrics in the reference",
        )
    limit = 1 + float(match["change"]) / 100
    return Gate(metric=metric, side="above" if match["side"] == ">" else "below", limit=limit)


def judge(gate: Gate, comparisons: Iterable[Comparison]) -> Answer:
    """Answer for all comparisons of the gate's metric: the worst answer counts.

    Fail: an interval lies beyond the limit. Pass: every interval lies before it. Inconclusive:
    an interval holds the limit, or there is no interval over sessions, or nothing to compare.
    """
    answers = [_judge_one(gate, one) for one in comparisons if one.metric == gate.metric]
    if "fail" in answers:
        return "fail"
    return "inconclusive" if "inconclusive" in answers or not answers else "pass"


def _judge_one(gate: Gate, comparison: Comparison) -> Answer:
    if comparison.ci95 is None or comparison.verdict in ("one process", "not comparable"):
        return "inconclusive"
    low, high = comparison.ci95
    if gate.side == "below":
        low, high, limit = -high, -low, -gate.limit
    else:
        limit = gate.limit
    if low > limit:
        return "fail"
    return "pass" if high <= limit else "inconclusive"
