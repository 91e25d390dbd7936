"""The measuring loop against a clock that only the fakes move: every length is known to the ns."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwprof.execution.session import InvalidResultError, Session, SystemClock
from fwprof.records import ProgramName, Schedule
from fwprof.testing.clock import FakeClock

MS = 1_000_000
Make = Callable[..., tuple[Any, Session]]
STEP_NS = {"forward": 100_000, "forward_backward": 300_000, "run": 400_000, "next_batch": 20_000}


def warm(session: Session, program: ProgramName = "run") -> None:
    session.warm_up(program, 3_000 * MS)


def test_what_starting_cost_is_told_apart(scripted: Make, clock: FakeClock) -> None:
    script, session = scripted(run=7 * MS, wait=2 * MS)
    startup = session.first_steps(import_ns=11, build_ns=12)
    assert (startup.import_ns, startup.build_ns) == (11, 12)
    assert (startup.first_step_ns, startup.second_step_ns) == (9 * MS, 9 * MS)
    assert script.calls == ["run", "wait", "read", "run", "wait"]


@pytest.mark.parametrize("program", list(STEP_NS))
def test_known_lengths_come_out_exactly(scripted: Make, program: ProgramName) -> None:
    _, session = scripted(wait=1_000)
    warm(session, program)
    block = session.run_block(3, 2, program, reset=False)
    wait_ns = 0 if program == "next_batch" else 1_000
    assert set(block.step_ns) == {STEP_NS[program] + wait_ns}
    assert (block.round, block.order, block.program, block.steps_per_value) == (3, 2, program, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    forward=st.integers(1_000, 20 * MS),
    backward=st.integers(1_000, 20 * MS),
    update=st.integers(1_000, 20 * MS),
)
def test_phases_are_differences_of_programs(scripted: Make, forward: int, backward: int, update: int) -> None:
    lengths = {
        "forward": forward,
        "forward_backward": forward + backward,
        "run": forward + backward + update,
    }
    _, session = scripted(**lengths)
    warm(session)
    times = {name: session.run_block(0, 0, name, reset=False).step_ns[0] for name in lengths}  # type: ignore[arg-type]  # names of programs
    assert times["run"] - times["forward_backward"] == update
    assert times["forward_backward"] - times["forward"] == backward


@pytest.mark.parametrize(
    ("step_ns", "lead_in", "steps"),
    [
        (100_000, 100, 80),  # about 8 ms of steps
        (1_600_000, 6, 5),  # at least five
        (2_500_000, 4, 5),
        (4 * MS, 2, 5),  # a lead-in of at most 10 ms
        (8 * MS, 1, 5),
        (9 * MS, 1, 1),  # one step, where it is longer than a block
        (50 * MS, 1, 1),
        (51 * MS, 0, 1),  # no lead-in for long steps
    ],
)
def test_blocks_are_as_long_as_the_protocol_says(
    scripted: Make, step_ns: int, lead_in: int, steps: int
) -> None:
    script, session = scripted(run=step_ns)
    warm(session)
    script.calls.clear()
    block = session.run_block(0, 0, "run", reset=False)
    assert (block.lead_in_count, len(block.step_ns)) == (lead_in, steps)
    assert script.calls.count("run") == lead_in + steps


def test_a_program_that_was_not_warmed_up_takes_its_length_from_the_step(scripted: Make) -> None:
    _, session = scripted(forward=100_000, run=800_000)
    warm(session)
    assert len(session.run_block(0, 0, "forward", reset=False).step_ns) == 10


def test_pipelined_steps_are_one_value_with_one_wait(scripted: Make) -> None:
    script, session = scripted(run=5 * MS, wait=3 * MS)
    warm(session)
    script.calls.clear()
    block = session.run_block(0, 0, "pipelined", reset=False)
    assert (block.step_ns, block.steps_per_value, block.loss) == ((5 * 5 * MS + 3 * MS,), 5, None)
    assert script.calls == ["run", "wait"] * block.lead_in_count + ["run"] * 5 + ["wait"]


def test_at_least_four_steps_are_pipelined(scripted: Make) -> None:
    _, session = scripted(run=100 * MS)
    warm(session)
    assert session.run_block(0, 0, "pipelined", reset=False).steps_per_value == 4


def test_a_block_begins_after_its_lead_in(scripted: Make, clock: FakeClock) -> None:
    _, session = scripted(run=MS)
    warm(session)
    before = clock.now_ns()
    assert session.run_block(0, 0, "run", reset=False).start_ns == before + 10 * MS


def test_batches_take_turns(scripted: Make) -> None:
    script, session = scripted()
    warm(session)
    script.batches.clear()
    session.run_block(0, 0, "run", reset=False)
    assert {a != b for a, b in pairwise(script.batches)} == {True}


def test_the_start_is_restored_only_where_it_is_asked_for_and_never_timed(scripted: Make) -> None:
    script, session = scripted()
    warm(session)
    script.calls.clear()
    block = session.run_block(0, 0, "run", reset=True)
    assert script.calls[0] == "reset"
    assert set(block.step_ns) == {STEP_NS["run"]}
    script.calls.clear()
    session.run_block(0, 1, "forward", reset=False)
    assert "reset" not in script.calls


def test_reset_restores_the_weights(built: Callable[..., Session]) -> None:
    session = built()
    before = session.model.parameters()
    warm(session)
    assert any((before[name] != value).any() for name, value in session.model.parameters().items())
    session.run_block(0, 0, "forward", reset=True)
    assert all((before[name] == value).all() for name, value in session.model.parameters().items())


@pytest.mark.parametrize("was_enabled", [True, False])
def test_garbage_is_not_collected_in_a_block_and_the_setting_is_restored(
    scripted: Make, was_enabled: bool
) -> None:
    script, session = scripted()
    warm(session)
    seen: list[bool] = []
    script.wait = lambda _: seen.append(gc.isenabled())
    before = gc.isenabled()
    (gc.enable if was_enabled else gc.disable)()
    try:
        session.run_block(0, 0, "run", reset=True)
        assert gc.isenabled() is was_enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert set(seen) == {False}


def test_the_setting_is_restored_where_a_program_raises(scripted: Make) -> None:
    script, session = scripted()
    script.run = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        session.run_block(0, 0, "run", reset=False)
    assert gc.isenabled()


def test_a_result_is_dropped_before_the_clock_is_read(scripted: Make, clock: FakeClock) -> None:
    """Freeing a result takes time, which belongs to the step that made it."""

    class Heavy: ...

    def forward(_: int) -> Heavy:
        heavy = Heavy()
        weakref.finalize(heavy, clock.advance, 5_000)
        clock.advance(100_000)
        return heavy

    script, session = scripted()
    script.forward = forward
    warm(session, "forward")
    assert set(session.run_block(0, 0, "forward", reset=False).step_ns) == {105_000}


def test_the_last_loss_of_a_block_is_read_after_it(scripted: Make) -> None:
    script, session = scripted()
    warm(session)
    script.calls.clear()
    script.loss = 0.25
    assert session.run_block(0, 0, "run", reset=False).loss == 0.25
    assert script.calls.count("read") == 1
    assert script.calls[-1] == "read"
    assert session.run_block(0, 0, "forward", reset=False).loss is None


def test_compilations_during_a_block_are_counted(scripted: Make) -> None:
    _, session = scripted(compilations=1)
    block = session.run_block(0, 0, "run", reset=False)
    assert block.compilations >= len(block.step_ns)


def test_batches_of_different_shapes_are_all_met_before_the_warm_up_and_equally_often_in_a_block(
    scripted: Make,
) -> None:
    script, session = scripted(kinds=3, run=MS)
    session.warm_up("run", 1_000 * MS)
    assert script.batches[:4] == [0, 1, 2, 0]
    for program, count in (("run", 9), ("pipelined", 9)):
        script.batches.clear()
        block = session.run_block(0, 0, program, reset=False)
        timed = script.batches[block.lead_in_count :]
        assert len(block.step_ns) * block.steps_per_value == count
        assert {timed.count(kind) for kind in range(3)} == {count // 3}


def test_a_step_longer_than_a_block_is_still_timed_on_every_shape(scripted: Make) -> None:
    _, session = scripted(kinds=3, run=20 * MS)
    session.warm_up("run", 1_000 * MS)
    assert len(session.run_block(0, 0, "run", reset=False).step_ns) == 3


def test_compilations_are_counted_from_the_first_step_on(scripted: Make) -> None:
    script, session = scripted(compilations=1)
    startup = session.first_steps(0, 0)
    blocks, _ = session.warm_up("run", 1_000 * MS)
    counted = startup.compilations + sum(block.compilations for block in blocks)
    # The look at the last loss comes after the windows.
    assert counted == len(script.calls) - 3


def test_a_warm_up_stops_when_two_windows_agree(scripted: Make, clock: FakeClock) -> None:
    _, session = scripted(run=MS)
    begin = clock.now_ns()
    blocks, is_steady = session.warm_up("run", 3_000 * MS)
    assert is_steady
    assert [block.round for block in blocks] == [0, 1]
    assert {value for block in blocks for value in block.step_ns} == {MS}
    # Two windows of 0.25 s, two steps to see how long one is, and one to look at the loss.
    assert clock.now_ns() - begin == 503 * MS


def test_a_warm_up_takes_three_values_a_window_however_long_they_are(scripted: Make) -> None:
    _, session = scripted(run=400 * MS)
    blocks, is_steady = session.warm_up("run", 30_000 * MS)
    assert (is_steady, [len(block.step_ns) for block in blocks]) == (True, [3, 3])


def test_fast_steps_are_warmed_up_in_values_of_a_millisecond(scripted: Make) -> None:
    _, session = scripted(forward=3_000)
    blocks, _ = session.warm_up("forward", 3_000 * MS)
    assert blocks[0].steps_per_value == 334
    assert set(blocks[0].step_ns) == {334 * 3_000}


def test_compiling_stands_before_the_windows(scripted: Make, clock: FakeClock) -> None:
    script, session = scripted(run=MS)
    compiled: list[int] = []

    def run(_: int) -> object:
        if not compiled:
            compiled.append(1)
            clock.advance(60_000 * MS)
        clock.advance(MS)
        return object()

    script.run = run
    blocks, is_steady = session.warm_up("run", 3_000 * MS)
    assert is_steady
    assert {value for block in blocks for value in block.step_ns} == {MS}


def slower_and_slower(script: Any, clock: FakeClock, growth: float) -> None:
    length = [1.0 * MS]

    def run(_: int) -> object:
        clock.advance(round(length[0]))
        length[0] *= growth
        return object()

    script.run = run


def test_a_warm_up_that_never_settles_ends_at_its_cap(scripted: Make, clock: FakeClock) -> None:
    script, session = scripted()
    slower_and_slower(script, clock, 1.002)
    begin = clock.now_ns()
    blocks, is_steady = session.warm_up("run", 1_500 * MS)
    assert not is_steady
    assert 1_500 * MS <= clock.now_ns() - begin < 1_600 * MS
    medians = [sorted(block.step_ns)[len(block.step_ns) // 2] for block in blocks]
    assert all(b > a * 1.05 for a, b in pairwise(medians))


def test_a_warm_up_goes_on_until_it_is_steady(scripted: Make, clock: FakeClock) -> None:
    script, session = scripted()
    begin = clock.now_ns()

    def run(_: int) -> object:
        clock.advance(2 * MS if clock.now_ns() - begin < 300 * MS else MS)
        return object()

    script.run = run
    blocks, is_steady = session.warm_up("run", 3_000 * MS)
    assert is_steady
    assert len(blocks) > 2
    assert set(blocks[-1].step_ns) == {MS}


def test_a_cap_shorter_than_two_windows_is_kept(scripted: Make, clock: FakeClock) -> None:
    _, session = scripted(run=MS)
    begin = clock.now_ns()
    blocks, is_steady = session.warm_up("run", 100 * MS)
    assert (len(blocks), is_steady) == (2, True)
    assert clock.now_ns() - begin <= 104 * MS


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_cell_wherever_it_shows(scripted: Make, loss: float) -> None:
    script, session = scripted()
    script.loss = loss
    with pytest.raises(InvalidResultError, match=f"the loss is {loss} in the first step"):
        session.first_steps(0, 0)
    with pytest.raises(InvalidResultError, match=f"the loss is {loss} at the end of the warm-up"):
        warm(session)
    with pytest.raises(InvalidResultError, match=f"the loss became {loss} in round 7") as caught:
        session.run_block(7, 0, "run", reset=False)
    block = caught.value.__dict__["block"]
    assert (block.round, block.loss, len(block.step_ns)) == (7, None, 20)


def test_the_real_clock_goes_forward() -> None:
    first = SystemClock.now_ns()
    SystemClock().sleep_ns(1)
    assert SystemClock.now_ns() > first


def test_a_probe_watches_lead_in_and_block(scripted: Make, clock: FakeClock) -> None:
    from fwprof.records import HostCounters

    class Probe:
        def begin(self) -> None:
            self.begun_ns = clock.now_ns()

        def end(self) -> HostCounters:
            return HostCounters(window_ns=clock.now_ns() - self.begun_ns)

    script, _ = scripted(run=MS)
    probe: Any = Probe()
    session = Session(script, script, [0], Schedule(), clock=clock, probe=probe)
    warm(session)
    block = session.run_block(0, 0, "run", reset=True)
    assert block.counters == HostCounters(window_ns=(10 + 8) * MS)


def test_phases_are_split_by_marks_where_a_framework_has_them(scripted: Any) -> None:
    script, session = scripted()
    assert session.split_phases() == {}
    marked: list[int] = []

    def split(staged: int) -> dict[str, int]:
        marked.append(staged)
        return {"forward": len(marked), "backward": 2 * len(marked)}

    script.split = split
    phases = session.split_phases()
    assert phases["forward"] == tuple(range(5, 25)), "the first four steps lead in and are not kept"
    assert phases["backward"] == tuple(range(10, 50, 2))
    assert script.calls[-1] == "reset"
