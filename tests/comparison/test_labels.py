"""Which labels the numbers of a cell earn, one number at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fwprof.comparison.labels import labels_of
from fwprof.records import LABELS, HostCounters, MeasuredSession, Schedule

MS = 1_000_000
CALM = [MS + 1000 * (index % 3) for index in range(12)]


def labels(run: Any) -> tuple[str, ...]:
    return labels_of(run)["a"]


def test_a_calm_cell_has_no_label(build: Any) -> None:
    assert labels(build.run(build.cell("a", CALM))) == ()


def test_a_spread_of_rounds_is_contention(build: Any) -> None:
    spread = [1.3 * MS] * 9 + [MS] * 3
    assert "contended" in labels(build.run(build.cell("a", spread)))


@pytest.mark.parametrize(("used", "expected"), [(0.19, False), (0.21, True)])
def test_other_processes_are_measured_against_the_granted_cores(
    build: Any, used: float, expected: bool
) -> None:
    counters = HostCounters(window_ns=1000, other_cpu_ns=int(1000 * used))
    blocks = tuple(msgspec.structs.replace(block, counters=counters) for block in build.blocks(CALM))
    run = build.run(build.cell("a", measurements=(build.measurement([], blocks=blocks),)))
    assert ("contended" in labels(run)) is expected


@pytest.mark.parametrize(("faults", "expected"), [(99, False), (101, True)])
def test_a_step_that_maps_its_memory_anew_is_told(build: Any, faults: int, expected: bool) -> None:
    counters = HostCounters(window_ns=MS, minor_faults=faults)
    blocks = tuple(msgspec.structs.replace(block, counters=counters) for block in build.blocks(CALM))
    run = build.run(build.cell("a", measurements=(build.measurement([], blocks=blocks),)))
    assert labels(run) == (("page_faults",) if expected else ())


def test_a_drift_is_unsteady_and_so_is_a_warm_up_that_never_settled(build: Any) -> None:
    assert "unsteady" in labels(build.run(build.cell("a", [MS + 20_000 * index for index in range(12)])))
    restless = build.measurement(CALM, steady={"run": True, "forward": False})
    assert "unsteady" in labels(build.run(build.cell("a", measurements=(restless,))))


def test_a_compilation_in_a_measured_block_is_told(build: Any) -> None:
    blocks = build.blocks(CALM)
    blocks = (*blocks[:-1], msgspec.structs.replace(blocks[-1], compilations=1))
    run = build.run(build.cell("a", measurements=(build.measurement([], blocks=blocks),)))
    assert labels(run) == ("recompiled",)


def test_a_worker_that_ended_early_leaves_an_incomplete_cell(build: Any) -> None:
    assert labels(build.run(build.cell("a", CALM, fate="killed"))) == ("incomplete",)


def test_a_cell_whose_interval_stayed_wide_says_so(build: Any) -> None:
    noisy = [MS * (1.2 if index % 2 else 1.0) for index in range(12)]
    asked = Schedule(half_width=0.01)
    assert "interval_wide" in labels(build.run(build.cell("a", noisy), schedule=asked))
    counted = Schedule(half_width=0.01, max_rounds=12)
    assert "interval_wide" not in labels(build.run(build.cell("a", noisy), schedule=counted))


def test_drift_that_two_cells_share_keeps_their_ratio_narrow(build: Any) -> None:
    drift = [MS * (1.2 if index % 2 else 1.0) for index in range(12)]
    cells = (build.cell("a", drift), build.cell("b", [2 * value for value in drift]))
    interleaved = build.run(*cells, schedule=Schedule(half_width=0.01))
    sequential = build.run(*cells, schedule=Schedule(half_width=0.01, kind="sequential"))
    assert "interval_wide" not in labels(interleaved)
    assert "interval_wide" in labels(sequential)


def test_stored_labels_and_those_of_the_plugin_are_kept_in_one_order(build: Any) -> None:
    description = build.description(labels=("example.odd", "whole_graph"))
    cell = build.cell("a", CALM, labels=("synthetic_data",), description=description)
    found = labels(build.run(cell))
    assert found == ("synthetic_data", "whole_graph", "example.odd")
    assert set(found) - set(LABELS) == {"example.odd"}


def test_sessions_of_two_runs_are_labelled_and_those_of_one_are_not(build: Any) -> None:
    result = build.run(build.cell("a", CALM, CALM), build.cell("b", CALM, CALM))
    sessions = tuple(
        MeasuredSession(group="all", session=number, run=run, finished="2026-01-01T00:00:00+00:00")
        for number, run in enumerate(("01A", "run"))
    )
    mixed = msgspec.structs.replace(result, sessions=sessions)
    assert all("resumed" in labels for labels in labels_of(mixed).values())
    whole = msgspec.structs.replace(result, sessions=sessions[:1])
    assert all("resumed" not in labels for labels in labels_of(whole).values())
