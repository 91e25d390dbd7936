"""What is asked of training: refused where it would train nothing, counted where it costs a start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fwprof import planning
from fwprof.choices import parse_framework, parse_model
from fwprof.errors import FwprofError, RequestError
from fwprof.records import Device, PluginRef, RunPlan, RunRequest
from fwprof.selection import FoundDevices
from fwprof.testing.installed import FAKES, installed

HOST = PluginRef(kind="device", name="cpu", distribution="fwprof-cpu", version="1.0", value="cpu")
FOUND: Mapping[str, FoundDevices | FwprofError] = {
    "cpu": FoundDevices(plugin=HOST, devices=(Device(name="cpu", kind="cpu"),))
}


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path, FAKES):
        yield


def plan(**fields: Any) -> RunPlan:
    fields.setdefault("workloads", ("mlp-small",))
    return planning.make_plan(RunRequest(plugins=(parse_framework("fake"),), **fields), FOUND, "01RUN")


def test_ones_own_model_alone_has_nothing_to_train_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("")
    models = (parse_model("fake=a.py:make"),)
    with pytest.raises(RequestError, match="--epochs does not apply to your own model") as caught:
        plan(epochs=3, workloads=(), models=models)
    assert "no data set" in caught.value.cause
    assert len(plan(epochs=3, models=models).cells()) == 2


@pytest.mark.parametrize(
    ("option", "fields"),
    [("--target-accuracy", {"target_accuracy": 0.9}), ("--training-seeds", {"training_seeds": 2})],
)
def test_what_is_asked_of_a_training_needs_one(option: str, fields: Mapping[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"{option} does nothing without training") as caught:
        plan(**fields)
    assert caught.value.next == f"add --epochs N, or leave {option} out"
    assert plan(epochs=1, **fields).request.epochs == 1


def test_seeds_of_training_count_up_and_start_over_at_the_end() -> None:
    (cell,) = plan(seed=2**32 - 2).cells()
    assert cell.training_seeds(3) == (2**32 - 2, 2**32 - 1, 0)
