"""Who measures when: interleaved rounds of live workers, or fresh processes one after another.

Whatever the schedule, only one worker measures at any moment, and the launcher sleeps meanwhile.
"""

from __future__ import annotations

import random
import statistics as stdlib_statistics
import time
from collections.abc import Sequence

from fwprof import host
from fwprof.events import GroupStarted, RoundDone
from fwprof.launcher.cell import CellWorker
from fwprof.launcher.context import RunContext
from fwprof.launcher.presets import Presets
from fwprof.launcher.shared_devices import clear_to_start, note_users
from fwprof.records import CellPlan, Group, ProgramName, frames
from fwprof.statistics import widest_half_width

PROGRAMS: tuple[ProgramName, ...] = ("run", "forward", "forward_backward", "pipelined", "next_batch")
"""Every program that a round runs."""
WARMED: tuple[ProgramName, ...] = ("run", "forward", "forward_backward", "next_batch")
"""Programs that are warmed up; `pipelined` runs the same code as `run`."""
WARM_UP_SHARE = 0.4
"""Of the time for warm-up and rounds, at most this share goes to warm-up."""
LOOK_SECONDS = 0.001
QUIET_LOOKS = 2
"""In a row, with nothing on the whole machine to run but the one who looks."""
STILL_NS = 10_000_000
"""So long CPU clocks must stand still, where that is all there is to go by: Linux adds up the time
of a running thread at its ticks only, which are at most 10 ms apart."""
STILL_SHARE = 0.01
"""Of one core: less counts as standing still."""


def run_session(context: RunContext, group: Group, session: int, presets: Presets) -> None:
    """Measure every cell of a group once, by the plan's schedule.

    Args:
        context: the run.
        group: the cells.
        session: which session, from 0.
        presets: which cells were found to be the same as another.
    """
    schedule = context.plan.schedule
    context.observer(GroupStarted(group=group.name, session=session, sessions=schedule.sessions))
    left = [cell for cell in group.cells if cell.id not in presets.skipped]
    cells = clear_to_start(context, left, session)
    if schedule.kind == "sequential" and len(cells) + schedule.replica > 1:
        _Sequential(context, group, session).run(cells, presets)
    else:
        _Interleaved(context, group, session).run(cells, presets)
    note_users(context, cells, session)


class _Session:
    """What both schedules share: opening, warming up, rounds, ending."""

    def __init__(self, context: RunContext, group: Group, session: int) -> None:
        self._context = context
        self._group = group
        self._session = session
        self._schedule = context.plan.schedule
        seed = context.plan.request.seed
        # A string seeds the same everywhere; a tuple's hash would not.
        self._random = random.Random(f"{seed}/{group.name}/{session}")

    def _start(self, cells: Sequence[CellPlan], *, replica_of: CellPlan | None) -> list[CellWorker]:
        name = str(self._session)
        workers = [self._context.open_worker(cell, name, session=self._session) for cell in cells]
        if replica_of is not None:
            workers.append(
                self._context.open_worker(replica_of, name, session=self._session, is_replica=True)
            )
        return workers

    def _open(self, workers: Sequence[CellWorker]) -> None:
        """Let each import, build and take its first steps: one at a time, since that is timed."""
        for worker in workers:
            self._context.check_cancelled()
            self._context.open_cell(worker)

    def _control(self, cells: Sequence[CellPlan]) -> CellPlan | None:
        """Return the cell whose replica is this session's A/A control: each in turn."""
        return cells[self._session % len(cells)] if self._schedule.replica and cells else None

    def _warm_up(self, workers: Sequence[CellWorker], share: float = 1.0) -> None:
        live = [worker for worker in workers if worker.is_alive]
        budget_ns = WARM_UP_SHARE * share * self._schedule.max_seconds * 1e9
        cap_ns = min(self._schedule.warm_up_cap_ns, budget_ns / max(1, len(live) * len(WARMED)))
        for worker in live:
            for program in WARMED:
                self._context.check_cancelled()
                worker.ask(frames.WarmUp(program=program, cap_ns=int(cap_ns)), frames.Warm)

    def _round(self, workers: Sequence[CellWorker], number: int) -> dict[int, float]:
        """Run one block of every program of every live worker, in random order.

        Returns:
            For each worker that lives, by its index, the median training step of its block, ns.
        """
        turns = [
            (index, program)
            for index, worker in enumerate(workers)
            if worker.is_alive
            for program in PROGRAMS
        ]
        self._random.shuffle(turns)
        begun: set[int] = set()
        steps: dict[int, float] = {}
        previous = None
        for order, (index, program) in enumerate(turns):
            worker = workers[index]
            if index != previous:
                settle([w.link.pid for w in workers if w is not worker], self._schedule.settle_cap_ns)
            done = worker.ask(
                frames.RunBlock(round=number, order=order, program=program, reset=index not in begun),
                frames.BlockDone,
            )
            begun.add(index)
            previous = index
            if done is not None and program == "run":
                steps[index] = stdlib_statistics.median(done.block.step_ns)
            self._context.check_cancelled()
        return steps

    def _tell(self, number: int, elapsed: float, limit: float, width: float | None) -> None:
        self._context.observer(
            RoundDone(
                group=self._group.name,
                session=self._session,
                round=number,
                elapsed_seconds=elapsed,
                max_seconds=limit,
                half_width=width,
                target=self._schedule.half_width,
            )
        )

    @staticmethod
    def _check(workers: Sequence[CellWorker]) -> None:
        for worker in workers:
            worker.ask(frames.CheckAnswers(), frames.Checked)


class _Interleaved(_Session):
    """All workers live; each round runs every program of every cell, so that drift falls on all alike."""

    def run(self, cells: Sequence[CellPlan], presets: Presets) -> None:
        """Measure until the widest paired interval is narrow enough, or the time is used up."""
        workers = self._start(cells, replica_of=self._control(cells))
        try:
            self._open(workers)
            _skip_identical(workers, presets)
            begin = time.monotonic()
            self._warm_up(workers)
            self._rounds(workers, begin)
            self._check(workers)
            for worker in workers:
                worker.finish()
        finally:
            self._context.close(workers)

    def _rounds(self, workers: Sequence[CellWorker], begin: float) -> None:
        schedule = self._schedule
        series: dict[int, list[float]] = {
            index: [] for index, worker in enumerate(workers) if worker.is_alive
        }
        number = 0
        while any(worker.is_alive for worker in workers):
            steps = self._round(workers, number)
            # A worker that died leaves the pairs; the others go on.
            series = {index: [*series[index], steps[index]] for index in series if index in steps}
            elapsed = time.monotonic() - begin
            own = [values for index, values in series.items() if not workers[index].is_replica]
            width = widest_half_width(own) if own else None
            self._tell(number, elapsed, schedule.max_seconds, width)
            number += 1
            if schedule.max_rounds is not None:
                if number >= schedule.max_rounds:
                    return
                continue
            is_narrow = width is not None and width <= schedule.half_width
            if number >= schedule.min_rounds and (is_narrow or elapsed >= schedule.max_seconds):
                return


class _Sequential(_Session):
    """One worker lives at a time; each cell is visited twice, A B … B A, each time by a fresh process."""

    def run(self, cells: Sequence[CellPlan], presets: Presets) -> None:
        """Measure as many rounds a visit as the first visit's share of the time allows."""
        control = self._control(cells)
        visits = [(cell, False) for cell in cells] + ([(control, True)] if control else [])
        self._random.shuffle(visits)
        share = 1 / (2 * len(visits))
        half = (self._schedule.min_rounds + 1) // 2
        rounds = self._schedule.max_rounds
        counts = (None, None) if rounds is None else ((rounds + 1) // 2, rounds // 2)
        # One round alone needs no way back.
        ways = (visits,) if rounds == 1 else (visits, visits[::-1])
        failed: set[tuple[str, bool]] = set()
        for turn, way in enumerate(ways):
            is_last = turn == len(ways) - 1
            for cell, is_replica in way:
                if (cell.id, is_replica) in failed or cell.id in presets.skipped:
                    continue
                workers = self._start([] if is_replica else [cell], replica_of=cell if is_replica else None)
                try:
                    self._open(workers)
                    _skip_identical(workers, presets)
                    begin = time.monotonic()
                    self._warm_up(workers, share)
                    done = self._visit(workers, turn * (counts[0] or 0), counts[turn], half, begin, share)
                    if is_last:
                        self._check(workers)
                    workers[0].finish(is_last=is_last)
                    if not workers[0].is_alive:
                        failed.add((cell.id, is_replica))
                    elif counts[0] is None:
                        # All visits are as long as the first: rounds pair cells.
                        counts = (done, done)
                finally:
                    self._context.close(workers)

    def _visit(
        self,
        workers: Sequence[CellWorker],
        first_round: int,
        count: int | None,
        least: int,
        begin: float,
        share: float,
    ) -> int:
        """Run the rounds of one visit and return how many there were."""
        limit = share * self._schedule.max_seconds
        steps: list[float] = []
        done = 0
        while workers[0].is_alive:
            steps += self._round(workers, first_round + done).values()
            elapsed = time.monotonic() - begin
            width = widest_half_width([steps])
            self._tell(first_round + done, elapsed, limit, width)
            done += 1
            if count is not None:
                if done >= count:
                    break
            elif done >= least and (elapsed >= limit or (width or 1.0) <= self._schedule.half_width / 2):
                break
        return done


def settle(pids: Sequence[int | None], cap_ns: int) -> None:
    """Wait until processes use no CPU: thread pools spin on for some ms after their last work.

    Two signs are taken: that the machine has nothing to run, seen at once; or, where something
    else keeps it busy, that the processes' CPU clocks stand still, and none of them waits for a core.

    Args:
        pids: the processes; None is left out.
        cap_ns: wait no longer than this.
    """
    others = [pid for pid in pids if pid is not None]
    if not others:
        return
    begin_ns = still_since_ns = now_ns = time.monotonic_ns()
    used_ns = _cpu_ns(others)
    quiet_looks = 0
    while quiet_looks < QUIET_LOOKS and now_ns - still_since_ns < STILL_NS and now_ns - begin_ns < cap_ns:
        time.sleep(LOOK_SECONDS)
        now_ns = time.monotonic_ns()
        quiet_looks = quiet_looks + 1 if host.runnable_tasks() == 1 else 0
        more_ns = _cpu_ns(others) - used_ns
        if more_ns > STILL_SHARE * STILL_NS:
            used_ns, still_since_ns = used_ns + more_ns, now_ns
        elif now_ns - still_since_ns >= STILL_NS and any(map(host.is_runnable, others)):
            # Still, but only since others have the cores: it goes on as soon as it gets one.
            still_since_ns = now_ns


def _cpu_ns(pids: Sequence[int]) -> int:
    return sum(host.process_cpu_ns(pid) or 0 for pid in pids)


def _skip_identical(workers: Sequence[CellWorker], presets: Presets) -> None:
    """End the workers of cells that turn out to be another cell's."""
    for worker in workers:
        if worker.is_alive and worker.description is not None and not worker.is_replica:
            failure = presets.compare(worker.cell, worker.description.description)
            if failure is not None:
                worker.fail(failure)
