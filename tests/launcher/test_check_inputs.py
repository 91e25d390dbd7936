"""What verification needs and cannot have is every cell's failure, and no end of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fwprof
from fwprof.testing.installed import installed

TINY = """
name: tiny
input: {shape: [4]}
layers:
  - {kind: dense, units: 2}
classes: 2
optimizer: {kind: sgd, learning_rate: 0.1}
weights: start.npz
"""


def test_weights_that_go_away_after_the_plan_was_made_fail_their_cells_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    np.savez(tmp_path / "start.npz", **{"0.kernel": np.ones((4, 2)), "0.bias": np.zeros(2)})
    (tmp_path / "installed").mkdir()

    def remove(event: Any) -> None:
        if type(event).__name__ == "RunPlanned":
            (tmp_path / "start.npz").unlink()

    with installed(tmp_path / "installed"):
        result = fwprof.profile(
            workloads=("tiny.yaml", "mlp-small"),
            plugins=("fake", "fake:graph"),
            settings="as-shipped",
            rounds=1,
            max_seconds=0.5,
            memory=False,
            machine_limits=False,
            observer=remove,
        )
    fates = {cell.id.split(".")[0]: cell.fate for cell in result.cells}
    assert fates == {"tiny": "failed", "mlp-small": "ok"}
    for cell in result.cells:
        if cell.id.startswith("tiny"):
            assert "start.npz" in cell.equivalence.reason
            assert cell.failure is not None
            assert "start.npz" in cell.failure.message
        else:
            assert cell.equivalence.status in ("reference", "equivalent")
