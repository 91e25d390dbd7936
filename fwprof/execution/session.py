"""The measuring loop of one worker: first steps, warm-up, blocks, guards against wrong answers.

Owns the timed region. Knows programs, a model and a clock through their Protocols; knows no
framework, no process, no file and no other cell.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from fwprof.contracts import Clock, Model, Programs, Result, Staged
from fwprof.errors import RunError
from fwprof.execution.guards import check_gradients
from fwprof.execution.own_loops import time_loops
from fwprof.records import Block, Check, ProgramName, Schedule, Startup

if TYPE_CHECKING:
    from fwprof.host import HostProbe

WINDOW_NS = 250_000_000
"""Length of one warm-up window: two of them make the 0.5 s that a warm-up takes at least."""
SPLIT_STEPS, SPLIT_LEAD_IN = 20, 4
"""Steps that are split by marks, and untimed ones before them."""
VALUE_NS = 1_000_000
"""Warm-up values cover at least this long, so that fast steps do not fill the record."""
WAIT_TRIES = 3
"""So often a wait must have returned early before it counts as one that does not wait."""
LONG_STEP_NS = 1_000_000_000
"""Of steps this long the check of `wait` takes four, of shorter ones eight or more."""


class InvalidResultError(RunError):
    """A program gave a result that no timing may rest on (a loss that is not a number)."""


class SystemClock:
    """The host's monotonic clock, the finest Python has."""

    now_ns = staticmethod(time.perf_counter_ns)

    @staticmethod
    def sleep_ns(duration_ns: int) -> None:
        """Sleep without using the CPU."""
        time.sleep(duration_ns / 1e9)


class Session:
    """One built cell in one worker, ready to be timed.

    Args:
        model: what `build_model` returned.
        programs: what `train_step` returned.
        staged: the batches on the device; cycled.
        schedule: lengths of blocks, lead-in and warm-up.
        clock: the clock of every figure.
        probe: reads what the host does during a block; None reads nothing.
        trained: names of the parameters that must have gradients; None where only the framework
            knows them (the user's own model).
        kinds: batches in a row that are of different shapes: each is met before the warm-up, and
            whatever is timed takes them equally often.
    """

    def __init__(
        self,
        model: Model,
        programs: Programs,
        staged: Sequence[Staged],
        schedule: Schedule,
        *,
        clock: Clock,
        probe: HostProbe | None = None,
        trained: frozenset[str] | None = None,
        kinds: int = 1,
    ) -> None:
        self.model = model
        self.programs = programs
        self._batches = cycle(staged)
        self._schedule = schedule
        self._clock = clock
        self._probe = probe
        self._trained = trained
        self._kinds = kinds
        self._typical_ns: dict[ProgramName, float] = {}

    def first_steps(self, import_ns: int, build_ns: int) -> Startup:
        """Take the first two training steps and return what starting cost.

        Raises:
            InvalidResultError: the loss is not a finite number.
        """
        compilations = self.model.compilations()
        first, result = self._timed_step()
        self._require_finite(self.programs.read(result)[0], "in the first step")
        second, _ = self._timed_step()
        return Startup(
            import_ns=import_ns,
            build_ns=build_ns,
            first_step_ns=first,
            second_step_ns=second,
            compilations=self.model.compilations() - compilations,
        )

    def _timed_step(self) -> tuple[int, Result]:
        batch = next(self._batches)
        start = self._clock.now_ns()
        result = self.programs.run(batch)
        self.programs.wait(result)
        return self._clock.now_ns() - start, result

    def warm_up(self, program: ProgramName, cap_ns: int) -> tuple[tuple[Block, ...], bool]:
        """Run one program until two windows in a row agree, or cap_ns has passed.

        The first calls, which may compile, stand before the windows and outside the cap.

        Returns:
            The windows as blocks, and whether they became steady.

        Raises:
            InvalidResultError: the loss is not a finite number at the end.
        """
        call, wait = self._callables(program)
        compilations = self.model.compilations()
        first_ns = self._spend(call, wait)
        values_per_window = self._schedule.warm_up_steps
        # Two windows must fit into a small cap too.
        window_ns = min(WINDOW_NS, cap_ns // 2)
        group = self._whole(max(1, math.ceil(VALUE_NS / max(first_ns, 1))))
        windows: list[Block] = []
        medians: list[float] = []
        begin = self._clock.now_ns()
        is_steady = False
        while True:
            start = self._clock.now_ns()
            values: list[int] = []
            while len(values) < values_per_window or self._clock.now_ns() - start < window_ns:
                values.append(sum(self._time(call, wait, group)[0]))
                if self._clock.now_ns() - begin >= cap_ns and len(windows) > 0:
                    break
            medians.append(statistics.median(values) / group)
            before, compilations = compilations, self.model.compilations()
            windows.append(
                Block(
                    round=len(windows),
                    order=0,
                    program=program,
                    start_ns=start,
                    step_ns=tuple(values),
                    steps_per_value=group,
                    compilations=compilations - before,
                )
            )
            elapsed = self._clock.now_ns() - begin
            if len(medians) >= 2 and elapsed >= min(self._schedule.warm_up_ns, cap_ns):
                is_steady = abs(medians[-1] / medians[-2] - 1) <= self._schedule.steady_tolerance
                if is_steady or elapsed >= cap_ns:
                    break
            group = self._whole(max(1, math.ceil(VALUE_NS / max(medians[-1], 1))))
        self._typical_ns[program] = medians[-1]
        if program == "run":
            _, result = self._timed_step()
            self._require_finite(self.programs.read(result)[0], "at the end of the warm-up")
        return tuple(windows), is_steady

    def _spend(self, call: Callable[[Staged], Result], wait: Callable[[Result], None]) -> int:
        """Make the first calls, which may compile, then return how long another one takes, ns."""
        self._time(call, wait, self._kinds)
        return self._time(call, wait, 1)[0][0]

    def run_block(self, round_: int, order: int, program: ProgramName, *, reset: bool) -> Block:
        """Lead in, then time one block.

        Args:
            round_: which round it belongs to.
            order: its place within the round.
            program: what to time.
            reset: restore the canonical start first, untimed, and collect garbage.

        Raises:
            InvalidResultError: the loss of the last training step is not a finite number. The
                block is in the error's `block`.
        """
        call, wait = self._callables(program)
        if reset:
            self.model.reset()
            gc.collect()
        typical_ns = self._typical_ns.get(program) or self._typical_ns.get("run") or 0
        lead_in = self._lead_in_count(typical_ns)
        compilations = self.model.compilations()
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            if self._probe:
                self._probe.begin()
            self._time(call, wait, lead_in)
            start = self._clock.now_ns()
            if program == "pipelined":
                count = self._whole(max(self._schedule.pipelined_steps, self._step_count(typical_ns)))
                values, result = self._time_pipelined(count), None
            else:
                count = 1
                values, result = self._time(call, wait, self._step_count(typical_ns), keep=program == "run")
            counters = self._probe.end() if self._probe else None
        finally:
            if was_enabled:
                gc.enable()
        loss = None if result is None else self.programs.read(result)[0]
        block = Block(
            round=round_,
            order=order,
            program=program,
            start_ns=start,
            step_ns=tuple(values),
            steps_per_value=count,
            lead_in_count=lead_in,
            compilations=self.model.compilations() - compilations,
            loss=loss if loss is not None and math.isfinite(loss) else None,
            counters=counters,
        )
        if loss is not None and not math.isfinite(loss):
            error = InvalidResultError(f"the loss became {loss} in round {round_}")
            error.__dict__["block"] = block
            raise error
        return block

    def _time(
        self,
        call: Callable[[Staged], Result],
        wait: Callable[[Result], None],
        count: int,
        *,
        keep: bool = False,
    ) -> tuple[list[int], Result]:
        """Time `count` calls one by one. This is the timed region of fwprof.

        A result is dropped before the clock is read: freeing it is a cost of the step. With
        `keep` the last one outlives its reading, so that its loss can be looked at afterwards.
        """
        now = self._clock.now_ns
        values = [0] * count
        kept = count - 1 if keep else -1
        result: Any = None
        for index, batch in enumerate(list(islice(self._batches, count))):
            start = now()
            result = call(batch)
            wait(result)
            if index != kept:
                result = None
            values[index] = now() - start
        return values, result

    def _time_pipelined(self, count: int) -> list[int]:
        """Time `count` training steps with one wait at the end: one value for all of them."""
        run, batches = self.programs.run, list(islice(self._batches, count))
        start = self._clock.now_ns()
        for batch in batches:
            result = run(batch)
        self.programs.wait(result)
        return [self._clock.now_ns() - start]

    def _callables(self, program: ProgramName) -> tuple[Callable[[Staged], Result], Callable[[Result], None]]:
        programs = self.programs
        if program == "next_batch":
            # The batch comes staged: next_batch returns once it is on the device.
            return lambda _: programs.next_batch(), lambda _: None
        call = {
            "forward": programs.forward,
            "forward_backward": programs.forward_backward,
            "run": programs.run,
            "pipelined": programs.run,
        }[program]
        return call, programs.wait

    def _step_count(self, typical_ns: float) -> int:
        """Return how many steps make a block of about `block_ns`."""
        if typical_ns > self._schedule.block_ns:
            return self._kinds
        steps = round(self._schedule.block_ns / typical_ns) if typical_ns else 0
        return self._whole(max(self._schedule.min_block_steps, steps))

    def _whole(self, count: int) -> int:
        """Round up, so that every kind of batch is met equally often."""
        return -(-count // self._kinds) * self._kinds

    def _lead_in_count(self, typical_ns: float) -> int:
        if typical_ns > self._schedule.no_lead_in_above_ns:
            return 0
        return max(1, int(self._schedule.lead_in_ns // typical_ns)) if typical_ns else 1

    @staticmethod
    def _require_finite(loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise InvalidResultError(f"the loss is {loss} {where}")

    def split_phases(self) -> dict[str, tuple[int, ...]]:
        """Return phase → ns of some steps by the framework's own marks; empty where it has none."""
        split = getattr(self.programs, "split", None)
        if split is None:
            return {}
        self.model.reset()
        batches = list(islice(self._batches, SPLIT_LEAD_IN + SPLIT_STEPS))
        steps = [split(batch) for batch in batches][SPLIT_LEAD_IN:]
        return {phase: tuple(step[phase] for step in steps) for phase in steps[0]}

    def time_api(self) -> dict[str, tuple[int, ...]]:
        """Return loop → ns a step of the framework's own training loops; empty where it has none."""
        return time_loops(self.model, self.programs, self._clock, self._typical_ns.get("run", 0.0))

    def check_answers(self) -> tuple[Check, ...]:
        """Guard against programs that do less than they say; untimed, after the last round.

        Returns:
            One check a guard. One that did not pass makes the cell `invalid`.
        """
        self.model.reset()
        gradients = check_gradients(self.model, self.programs, next(self._batches), self._trained)
        return (*gradients, self._check_wait())

    def _check_wait(self) -> Check:
        """Read a result right after `wait`, and where that takes long, one whose work has surely ended.

        Where `wait` returned early, the first read has to sit through the work still queued, every
        time. A read that was late by chance, as on a busy machine, is not late again.
        """
        late_ns = limit_ns = 0.0
        for _ in range(WAIT_TRIES):
            late_ns, limit_ns = self._lateness()
            if late_ns <= limit_ns:
                break
        is_late = late_ns > limit_ns
        return Check(
            name="wait_waits",
            passed=not is_late,
            detail=f"{late_ns / 1e6:.1f} ms of work was still running after wait returned" if is_late else "",
        )

    def _lateness(self) -> tuple[float, float]:
        """Return by how much a read right after `wait` is late, and what is no concern, ns."""
        typical_ns = self._typical_ns.get("run") or 0
        # Enough steps that the work left over by a missing wait stands out from a read's own noise, and from
        # a machine whose speed changes; of steps that take seconds, fewer.
        count = min(200, max(8 if typical_ns < LONG_STEP_NS else 4, self._step_count(typical_ns)))
        begin = self._clock.now_ns()
        step_ns, at_once_ns = self._read_after(count)
        limit_ns = max(2.0 * max(step_ns, typical_ns), 2_000_000)
        if at_once_ns <= limit_ns:
            return at_once_ns, limit_ns
        # Parameters that are many and far away take long in themselves.
        _, settled_ns = self._read_after(count, settle_ns=self._clock.now_ns() - begin)
        return at_once_ns - settled_ns, max(limit_ns, settled_ns / 2)

    def _read_after(self, count: int, settle_ns: int = 0) -> tuple[float, int]:
        """Return the median step and how long reading the result takes, `settle_ns` after `wait`, ns.

        Of steps of its own: what was read once, a framework may keep on the host.
        """
        values, result = self._time(self.programs.run, self.programs.wait, count, keep=True)
        self._clock.sleep_ns(settle_ns)
        start = self._clock.now_ns()
        self.programs.read(result)
        # Parameters come from the device too: this also waits for the update.
        self.model.parameters()
        return statistics.median(values), self._clock.now_ns() - start
