"""Models of the user's own beside each other, through the whole engine."""

from __future__ import annotations

from pathlib import Path

import fwprof

FILE = """
import torch


def make(units, samples=16):
    model = torch.nn.Sequential(torch.nn.Linear(8, units), torch.nn.ReLU(), torch.nn.Linear(units, 3))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss": torch.nn.functional.cross_entropy,
        "batches": [(torch.randn(samples, 8), torch.randint(0, 3, (samples,))) for _ in range(8)],
    }


def small():
    return make(8)


def large():
    return make(512)


def other_batch():
    return make(8, samples=4)
"""


def test_two_factories_for_one_framework_are_timed_in_turn_and_compared(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FILE, encoding="utf-8")
    result = fwprof.profile(
        models=[f"torch={tmp_path}/net.py:{name}" for name in ("small", "large", "other_batch")],
        threads=(1,),
        rounds=3,
        max_seconds=0.5,
        memory=False,
        output=str(tmp_path / "runs"),
    )
    assert [group.name for group in result.plan.groups] == ["own-models"]
    assert [cell.fate for cell in result.cells] == ["ok", "ok", "ok"], result.cells
    summary = fwprof.summarize(result)
    assert [cell.workload for cell in summary.cells] == ["net.small", "net.large", "net.other_batch"]
    assert {cell.equivalence.status for cell in summary.cells} == {"not_checked"}
    first, *others = [one for one in summary.comparisons if one.metric == "step_time"]
    assert (first.verdict, first.why) == (
        "one process",
        "one process a cell: a verdict needs five (--thorough)",
    )
    assert first.ratio is not None
    assert {one.why for one in others} == {"different batch size: 16 and 4"}
    # Timed in turn: each cell's first block begins before the other's last one ends.
    a, b = (cell.measurements[0].blocks for cell in result.cells[:2])
    assert a[0].start_ns < b[-1].start_ns
    assert b[0].start_ns < a[-1].start_ns
