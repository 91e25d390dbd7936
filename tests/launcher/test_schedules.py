"""Who measures when: the orders that workers get, seen by workers that answer at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fwprof.cancellation import Cancellation
from fwprof.events import Event, RoundDone
from fwprof.launcher.context import RunContext
from fwprof.launcher.presets import Presets
from fwprof.launcher.schedules import PROGRAMS, WARMED, run_session
from fwprof.records import Block, Description, Failure, Group, RunResult, Schedule, Startup, frames
from fwprof.store import RunFolder
from fwprof.testing.samples import sample_cell, sample_result

Answer = Callable[["Scripted", frames.Order], frames.Report | None]


class Scripted:
    """A worker that answers every order at once and writes it down."""

    pid = None

    def __init__(self, number: int, orders: list[tuple[int, frames.Order]], answer: Answer) -> None:
        self.stage: Any = "start"
        self.number = number
        self.cell = ""
        self._orders, self._answer = orders, answer
        self._reports: deque[frames.Report] = deque()

    def send(self, order: frames.Order) -> None:
        self._orders.append((self.number, order))
        if (own := self._answer(self, order)) is not None:
            self._reports.append(own)
            return
        match order:
            case frames.Open(cell=cell):
                self.cell = cell.id
                startup = Startup(import_ns=1, build_ns=1, first_step_ns=1, second_step_ns=1)
                self._reports += [described(cell.id), frames.Ready(startup=startup)]
            case frames.WarmUp(program=program):
                self._reports.append(frames.Warm(program=program, blocks=(), steady=True))
            case frames.RunBlock():
                self._reports.append(done(order, 1000))
            case frames.CheckAnswers():
                self._reports.append(frames.Checked(checks=()))
            case _:
                self._reports.append(frames.Finished())

    def receive(self) -> frames.Report:
        return self._reports.popleft()

    def end(self) -> None:
        self._orders.append((self.number, END))


END = frames.Export(plugin=sample_cell().framework, run="", destination="")
"""Stands in the list of orders where a worker was ended."""


def described(mode: str) -> frames.Described:
    return frames.Described(
        description=Description(
            mode=mode, native_device="x", settings={}, versions={}, parameter_count=1, batch_size=1
        )
    )


def done(order: frames.RunBlock, step_ns: int) -> frames.BlockDone:
    return frames.BlockDone(
        block=Block(
            round=order.round, order=order.order, program=order.program, start_ns=0, step_ns=(step_ns,) * 5
        )
    )


class Context(RunContext):
    """A run whose workers are scripted."""

    orders: list[tuple[int, frames.Order]]
    links: list[Scripted]
    answer: Answer

    def link(self, cell: Any, log: Any) -> Scripted:
        self.links.append(Scripted(len(self.links), self.orders, self.answer))
        return self.links[-1]


class Run:
    """What one session of a group did."""

    def __init__(
        self,
        folder: Path,
        cells: int,
        answer: Answer,
        presets: bool = False,
        session: int = 0,
        **schedule: Any,
    ) -> None:
        stored = sample_result(1)
        group = Group(
            name="g",
            cells=tuple(
                msgspec.structs.replace(
                    sample_cell(seed=0 if presets else index),
                    id=f"cell{index}",
                    settings_preset="equal" if presets and index % 2 else "as-shipped",
                )
                for index in range(cells)
            ),
        )
        request = msgspec.structs.replace(
            stored.plan.request, output=str(folder), seed=schedule.pop("seed", 0)
        )
        plan = msgspec.structs.replace(
            stored.plan,
            run_id=f"RUN{len(list(folder.iterdir()))}",
            request=request,
            groups=(group,),
            schedule=Schedule(**schedule),
            is_isolated=False,
        )
        self.events: list[Event] = []
        self.presets = Presets()
        run = RunFolder.create(plan, stored.machine)
        context = Context(run, self.events.append, Cancellation())
        context.orders, context.links, context.answer = [], [], answer
        self.orders, self.links = context.orders, context.links
        with context:
            run_session(context, group, session, self.presets)
        self.result: RunResult = run.finish(is_interrupted=False)

    def blocks(self) -> list[tuple[int, frames.RunBlock]]:
        return [(number, order) for number, order in self.orders if isinstance(order, frames.RunBlock)]

    def visits(self) -> list[str]:
        """Which cell each worker opened, in order."""
        return [
            order.cell.id + ("*" if self.is_replica(number) else "")
            for number, order in self.orders
            if isinstance(order, frames.Open)
        ]

    def is_replica(self, number: int) -> bool:
        return self.links[number].cell in {link.cell for link in self.links[:number]}

    def rounds(self) -> int:
        return sum(isinstance(event, RoundDone) for event in self.events)


def honest(link: Scripted, order: frames.Order) -> None:
    return None


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., Run]:
    return lambda cells=2, answer=honest, **schedule: Run(tmp_path, cells, answer, **schedule)


def test_every_round_runs_every_program_of_every_worker_once(measure: Callable[..., Run]) -> None:
    run = measure(2, replica=True, max_rounds=4, min_rounds=4)
    for number in range(4):
        turns = [(worker, order.program) for worker, order in run.blocks() if order.round == number]
        assert sorted(turns) == sorted((worker, program) for worker in range(3) for program in PROGRAMS)
    assert [order.order for _, order in run.blocks()] == [*range(15)] * 4
    assert run.rounds() == 4


def test_a_workers_first_block_of_each_round_restores_the_start(measure: Callable[..., Run]) -> None:
    run = measure(2, replica=True, max_rounds=3)
    begun: set[tuple[int, int]] = set()
    for worker, order in run.blocks():
        assert order.reset is ((worker, order.round) not in begun)
        begun.add((worker, order.round))


def test_the_random_order_comes_from_the_seed(measure: Callable[..., Run]) -> None:
    orders = [
        [(worker, order.program) for worker, order in measure(2, max_rounds=3, seed=seed).blocks()]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0][:10] != orders[0][10:20]


def test_all_are_open_and_warm_before_the_first_round(measure: Callable[..., Run]) -> None:
    run = measure(2, max_rounds=1)
    kinds = [type(order).__name__ for _, order in run.orders]
    assert kinds == [
        *["Open"] * 2,
        *["WarmUp"] * 2 * len(WARMED),
        *["RunBlock"] * 2 * len(PROGRAMS),
        *["CheckAnswers"] * 2,
        *["Finish", "Export"] * 2,
        *["Export"] * 2,
    ]


def test_warming_up_takes_at_most_its_share(measure: Callable[..., Run]) -> None:
    run = measure(2, replica=True, max_rounds=1, max_seconds=6.0)
    caps = {order.cap_ns for _, order in run.orders if isinstance(order, frames.WarmUp)}
    assert caps == {int(0.4 * 6e9 / (3 * len(WARMED)))}


def test_rounds_stop_once_the_interval_is_narrow(measure: Callable[..., Run]) -> None:
    assert measure(2, min_rounds=10, max_seconds=3600.0).rounds() == 10


def test_rounds_go_on_while_the_interval_is_wide(measure: Callable[..., Run]) -> None:
    def settling(link: Scripted, order: frames.Order) -> frames.Report | None:
        if not isinstance(order, frames.RunBlock):
            return None
        wild = order.round < 8 and link.number == 0
        return done(order, 1000 * (1 + 9 * (order.round % 2)) if wild else 1000)

    run = measure(2, settling, min_rounds=10, max_seconds=3600.0)
    assert run.rounds() > 10
    widths = [event.half_width for event in run.events if isinstance(event, RoundDone)]
    assert [width is not None and width <= 0.05 for width in widths[9:]] == [False] * (len(widths) - 10) + [
        True
    ]


def test_time_that_is_up_ends_the_rounds_but_never_before_ten(measure: Callable[..., Run]) -> None:
    def wild(link: Scripted, order: frames.Order) -> frames.Report | None:
        if isinstance(order, frames.RunBlock):
            return done(order, 1000 + 9000 * ((order.round + link.number) % 2))
        return None

    assert measure(2, wild, min_rounds=10, max_seconds=1e-9).rounds() == 10


def test_a_worker_that_fails_leaves_and_the_others_go_on(measure: Callable[..., Run]) -> None:
    failure = Failure(fate="killed", stage="block", message="killed by SIGKILL")

    def dying(link: Scripted, order: frames.Order) -> frames.Report | None:
        is_due = isinstance(order, frames.RunBlock) and order.round == 2 and link.number == 0
        return frames.Failed(failure=failure) if is_due else None

    run = measure(2, dying, max_rounds=5)
    assert [cell.fate for cell in run.result.cells] == ["killed", "ok"]
    rounds = [{block.round for block in cell.measurements[0].blocks} for cell in run.result.cells]
    assert rounds[0] <= {0, 1, 2}
    assert rounds[1] == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("kind", ["interleaved", "sequential"])
def test_presets_that_read_back_the_same_are_measured_once(measure: Callable[..., Run], kind: str) -> None:
    def same(link: Scripted, order: frames.Order) -> frames.Report | None:
        if isinstance(order, frames.Open):
            link.cell = order.cell.id
            link._reports.append(described("eager"))
            return frames.Ready(startup=Startup(import_ns=1, build_ns=1, first_step_ns=1, second_step_ns=1))
        return None

    run = measure(2, same, presets=True, max_rounds=2, kind=kind)
    assert len(run.presets.skipped) == 1
    (kept,) = {"cell0", "cell1"} - run.presets.skipped
    by_id = {cell.id: cell for cell in run.result.cells}
    skipped = by_id[next(iter(run.presets.skipped))]
    assert (by_id[kept].fate, skipped.fate) == ("ok", "skipped")
    assert skipped.failure is not None
    assert skipped.failure.message == f"its settings read back the same as those of {kept}: measured once"
    assert {worker for worker, _ in run.blocks()} <= {
        number for number, link in enumerate(run.links) if link.cell == kept
    }


def test_the_control_is_each_cell_in_turn(measure: Callable[..., Run]) -> None:
    for session, cell in enumerate(["cell0", "cell1", "cell2", "cell0"]):
        run = measure(3, replica=True, max_rounds=1, session=session)
        assert run.visits()[-1] == f"{cell}*"


@pytest.mark.parametrize(("rounds", "first", "second"), [(1, 1, 0), (2, 1, 1), (5, 3, 2), (6, 3, 3)])
def test_sequential_visits_each_cell_twice_in_abba_order(
    measure: Callable[..., Run], rounds: int, first: int, second: int
) -> None:
    run = measure(3, kind="sequential", max_rounds=rounds)
    opened = [order.cell.id for _, order in run.orders if isinstance(order, frames.Open)]
    way = opened[:3]
    assert opened == (way + way[::-1] if second else way)
    for cell in run.result.cells:
        (measurement,) = cell.measurements
        assert sorted({block.round for block in measurement.blocks}) == list(range(rounds))
        assert cell.fate == "ok"
    lengths = [sum(order.program == "run" for n, order in run.blocks() if n == k) for k in range(len(opened))]
    assert lengths == [first] * 3 + [second] * (3 if second else 0)


def test_sequential_workers_never_live_at_once(measure: Callable[..., Run]) -> None:
    run = measure(2, replica=True, kind="sequential", max_rounds=4)
    numbers = [number for number, _ in run.orders]
    assert numbers == sorted(numbers)
    assert len(run.links) == 6


def test_sequential_guards_run_in_the_last_visit_only(measure: Callable[..., Run]) -> None:
    run = measure(2, kind="sequential", max_rounds=4)
    checked = [number for number, order in run.orders if isinstance(order, frames.CheckAnswers)]
    assert checked == [2, 3]


def test_the_first_visit_of_a_sequential_run_decides_how_long_all_are(measure: Callable[..., Run]) -> None:
    run = measure(2, kind="sequential", min_rounds=10, max_seconds=1e-9)
    lengths = [sum(order.program == "run" for n, order in run.blocks() if n == k) for k in range(4)]
    assert lengths == [5, 5, 5, 5]
    assert {block.round for block in run.result.cells[0].measurements[0].blocks} == set(range(10))


def test_one_cell_alone_is_not_visited_twice(measure: Callable[..., Run]) -> None:
    run = measure(1, kind="sequential", max_rounds=4)
    assert len(run.links) == 1
