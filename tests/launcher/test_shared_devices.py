"""Others on a device: said of what was measured beside them, or refused where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fwprof import api, events
from fwprof.errors import PluginUnavailableError
from fwprof.records import RunResult
from fwprof.testing.fake_device import USERS
from fwprof.testing.installed import installed

OTHER = "python (pid 4242)"


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of who computes on fakecard:1; nobody yet."""
    (tmp_path / "installed").mkdir()
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "users"
    file.write_text("")
    monkeypatch.setenv(USERS, str(file))
    with installed(tmp_path / "installed"):
        yield file


def profile(*devices: str, **fields: Any) -> RunResult:
    short = {
        "workloads": ("mlp-small",),
        "plugins": ("fake",),
        "devices": devices,
        "rounds": 2,
        "max_seconds": 0.5,
        "memory": False,
        "equivalence": "skip",
        "machine_limits": False,
    }
    return api.profile(**(short | fields))


def shared(result: RunResult) -> dict[str, tuple[str, ...]]:
    return {
        cell.id: one.device_shared_with
        for cell in result.cells
        for one in cell.measurements
        if not one.replica
    }


def test_nobody_else_is_nothing_to_say(users: Path) -> None:
    result = profile("fakecard:1")
    (cell,) = result.cells
    assert (cell.fate, shared(result)) == ("ok", {cell.id: ()})
    assert "shared_device" not in api.summarize(result).cells[0].labels


def test_who_computed_beside_a_cell_is_stored_and_labelled(users: Path) -> None:
    users.write_text(f"{OTHER}\n")
    result = profile("fakecard:0", "fakecard:1")
    assert shared(result) == {
        "mlp-small.fake.fakecard-0": (),
        "mlp-small.fake.fakecard-1": (OTHER,),
    }
    labels = {cell.id: "shared_device" in cell.labels for cell in api.summarize(result).cells}
    assert labels == {"mlp-small.fake.fakecard-0": False, "mlp-small.fake.fakecard-1": True}


def test_who_came_while_a_session_was_measured_is_seen_after_it(users: Path) -> None:
    def arrive(event: events.Event) -> None:
        if isinstance(event, events.RoundDone):
            users.write_text(f"{OTHER}\n")

    result = profile("fakecard:1", observer=arrive)
    assert list(shared(result).values()) == [(OTHER,)]


def test_exclusive_measures_where_nobody_is_and_leaves_out_the_rest(users: Path) -> None:
    users.write_text(f"{OTHER}\n")
    result = profile("fakecard:0", "fakecard:1", exclusive=True)
    assert [(cell.id, cell.fate) for cell in result.cells] == [("mlp-small.fake.fakecard-0", "ok")]
    assert result.plan.unavailable == {
        "fakecard:1": f"fakecard:1 is in use by {OTHER}: --exclusive measures only where nobody else computes"
    }


def test_exclusive_with_nothing_free_measures_nothing(users: Path) -> None:
    users.write_text(f"{OTHER}\n")
    with pytest.raises(PluginUnavailableError, match="fakecard:1 is in use by python") as raised:
        profile("fakecard:1", exclusive=True)
    assert raised.value.next == "end it, choose another --device, or leave --exclusive out"


def test_exclusive_stops_a_cell_whose_device_is_taken_before_a_session(users: Path) -> None:
    def arrive(event: events.Event) -> None:
        if isinstance(event, events.GroupStarted) and event.session == 1:
            users.write_text(f"{OTHER}\n")

    result = profile("fakecard:0", "fakecard:1", exclusive=True, processes=2, observer=arrive)
    free, taken = result.cells
    assert (free.fate, [one.fate for one in free.measurements if not one.replica]) == ("ok", ["ok", "ok"])
    assert taken.fate == "unsupported"
    assert taken.failure is not None
    assert taken.failure.message == (
        f"fakecard:1 is in use by {OTHER}: --exclusive measures only where nobody else computes"
    )
    assert [(one.session, one.fate, bool(one.blocks)) for one in taken.measurements if not one.replica] == [
        (0, "ok", True),
        (1, "unsupported", False),
    ]


def test_a_precision_that_a_device_lacks_leaves_out_its_cells_alone(users: Path) -> None:
    result = profile("fakecard:0", "fakecard:1", precisions=("float32", "bfloat16"))
    fates = {cell.id: cell.fate for cell in result.cells}
    assert fates == {
        "mlp-small-float32.fake.fakecard-0": "ok",
        "mlp-small-float32.fake.fakecard-1": "ok",
        "mlp-small-bfloat16.fake.fakecard-0": "unsupported",  # the framework's word, not the device's
    }
    assert list(result.plan.unavailable.values()) == [
        "fakecard:1 (Fake card 1) does not compute in bfloat16: its precisions are float32"
    ]
