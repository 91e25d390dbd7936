"""The gate's language and its three answers."""

from __future__ import annotations

import pytest

from fwprof.comparison import Gate, judge, parse_gate
from fwprof.errors import RequestError
from fwprof.records import Comparison, Verdict


def comparison(low: float, high: float, verdict: Verdict = "slower", metric: str = "step_time") -> Comparison:
    return Comparison(
        metric=metric,
        a="a",
        b="a",
        ratio=(low + high) / 2,
        ci95=(low, high),
        noise_floor=None,
        verdict=verdict,
        why="",
    )


@pytest.mark.parametrize(
    ("text", "side", "limit"),
    [
        ("step_time>+5%", "above", 1.05),
        (" step_time > 5 % ", "above", 1.05),
        ("throughput<-2.5%", "below", 0.975),
    ],
)
def test_a_gate_is_a_metric_a_side_and_a_change(text: str, side: str, limit: float) -> None:
    gate = parse_gate(text)
    assert (gate.side, gate.limit) == (side, pytest.approx(limit))


@pytest.mark.parametrize(
    "text", ["", "step_time", "step_time>5", "step_time>=5%", "step_time>+5%;", "x" * 10_000]
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--fail-on cannot read"):
        parse_gate(text)


def test_an_unknown_metric_gets_a_suggestion() -> None:
    with pytest.raises(RequestError, match="unknown metric 'step_tine'") as caught:
        parse_gate("step_tine>+5%")
    assert caught.value.next == "did you mean 'step_time'?"
    with pytest.raises(RequestError, match="unknown metric") as caught:
        parse_gate("zzz>+5%")
    assert "table of metrics" in caught.value.next


@pytest.mark.parametrize(
    ("low", "high", "answer"), [(1.06, 1.2, "fail"), (0.9, 1.04, "pass"), (1.0, 1.1, "inconclusive")]
)
def test_the_interval_decides(low: float, high: float, answer: str) -> None:
    assert judge(parse_gate("step_time>+5%"), [comparison(low, high)]) == answer
    falling = comparison(1 / high, 1 / low)
    assert judge(Gate(metric="step_time", side="below", limit=1 / 1.05), [falling]) == answer


@pytest.mark.parametrize("verdict", ["one process", "not comparable"])
def test_no_interval_over_sessions_is_inconclusive(verdict: Verdict) -> None:
    assert judge(parse_gate("step_time>+5%"), [comparison(2.0, 2.1, verdict)]) == "inconclusive"


def test_the_worst_answer_counts_and_other_metrics_do_not() -> None:
    gate = parse_gate("step_time>+5%")
    fine, bad, open_ = comparison(0.9, 1.0), comparison(1.1, 1.2), comparison(1.0, 1.1)
    assert judge(gate, [fine, open_, bad]) == "fail"
    assert judge(gate, [fine, open_]) == "inconclusive"
    assert judge(gate, [fine, comparison(1.1, 1.2, metric="forward_time")]) == "pass"
    assert judge(gate, []) == "inconclusive"
