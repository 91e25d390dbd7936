"""What is kept of a machine's limits: for which sessions it counts, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fwprof.comparison import known_limits
from fwprof.comparison.known_limits import KnownLimits, fingerprint
from fwprof.errors import StoreError
from fwprof.records import Device, FrameworkChoice, LibraryLimits, PluginRef, Reading

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def library(name: str, gemm: float | None, copy: float = 1e10) -> LibraryLimits:
    return LibraryLimits(
        library=name,
        readings={
            "best_gemm": Reading(value=gemm, unit="FLOP/s", basis=f"{name}, 1024 x 1024"),
            "best_copy": Reading(value=copy, unit="bytes/s", basis=f"{name}, 64 MiB"),
        },
    )


def line(limits: LibraryLimits, **changes: Any) -> KnownLimits:
    facts = {"fingerprint": "here", "boot": "b", "run": "01A", "measured": NOW.isoformat(), "limits": limits}
    return KnownLimits(**(facts | changes))


def test_a_fingerprint_is_of_all_that_changes_what_a_machine_gives(build: Any) -> None:
    machine, cell = build.run().machine, build.plan("a")
    card = Device(name="card:0", kind="card", uuid="C-1", capabilities={"driver": "1"})
    framework = PluginRef(kind="framework", name="a", distribution="a", version="1", value="a")
    others = [
        (msgspec.structs.replace(machine, fingerprint="other"), cell),
        (msgspec.structs.replace(machine, governor="powersave"), cell),
        *(
            (machine, msgspec.structs.replace(cell, **changes))
            for changes in (
                {"threads": 1},
                {"precision": "bfloat16"},
                {"settings_preset": "equal"},
                {"device": card},
                {"device": msgspec.structs.replace(card, uuid="C-2")},
                {"device": msgspec.structs.replace(card, capabilities={"driver": "2"})},
                {"framework": msgspec.structs.replace(framework, runs_on={"lib": "2"})},
                {"framework": msgspec.structs.replace(framework, runs_on={"lib": "3"})},
                {"choice": FrameworkChoice(name="a", options={"fast": True})},
            )
        ),
    ]
    found = [fingerprint(*each) for each in [(machine, cell), *others]]
    assert len(set(found)) == len(found)
    # What is computed, and how the machine was called in at the last boot, changes nothing.
    same = msgspec.structs.replace(cell, id="other", batch_size=1, environment="other")
    assert fingerprint(msgspec.structs.replace(machine, boot_id="other"), same) == found[0]


def test_what_is_remembered_is_recalled_in_order() -> None:
    assert known_limits.recall() == []
    known_limits.remember([line(library("a", 1.0)), line(library("b", 2.0))])
    known_limits.remember([line(library("a", None))])
    assert [each.limits.library for each in known_limits.recall()] == ["a", "b", "a"]


def test_a_folder_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FWPROF_STATE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="what this machine's limits were before cannot be kept"):
        known_limits.remember([line(library("a", 1.0))])


def test_the_best_known_is_of_the_same_machine_and_of_libraries_measured_today() -> None:
    lines = [
        line(library("a", 5e9, 4e9)),
        line(library("a", 7e9, 3e9), measured="2026-02-01T08:00:00+00:00"),
        line(library("a", 99e9), fingerprint="elsewhere"),
        line(library("gone", 88e9)),
        line(library("a", None)),
    ]
    known = known_limits.best_known(lines, {"here": (library("a", 1e9),), "there": (library("gone", 1e9),)})
    assert known["known_gemm"].value == 7e9
    assert known["known_gemm"].basis == "a, 1024 x 1024, on 2026-02-01"
    assert known["known_copy"].value == 1e10
    assert known_limits.best_known(lines[:1], {"here": (library("b", 1e9),)}) == {}


@pytest.mark.parametrize(
    ("age", "boot", "is_taken"),
    [
        (timedelta(minutes=12), "b", True),
        (timedelta(minutes=61), "b", False),
        (timedelta(minutes=-5), "b", False),
        (timedelta(minutes=12), "other boot", False),
        (timedelta(minutes=12), None, False),
    ],
)
def test_a_limit_is_recent_for_an_hour_and_one_boot(age: timedelta, boot: str | None, is_taken: bool) -> None:
    lines = [
        line(library("a", 9e9), run="01A"),
        line(library("a", 5e9), run="01B", measured=(NOW - age).isoformat()),
        line(library("numpy", 6e9), run="01B", measured=(NOW - age).isoformat()),
        line(library("a", 7e9), run="01B", fingerprint="elsewhere"),
    ]
    found = known_limits.recent(lines[1:], "here", boot, NOW)
    assert [each.library for each in found] == (["a", "numpy"] if is_taken else [])
    if is_taken:
        assert {each.run for each in found} == {"01B"}
        assert found[0].readings["best_gemm"].value == 5e9
        assert found[0].readings["best_gemm"].basis == "a, 1024 x 1024, 12 min before this run"
