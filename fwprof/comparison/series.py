"""From raw blocks to one value a round, and from rounds to one value a session.

Owns which blocks count and how a metric is made of programs. Knows nothing of verdicts. A block
is the median of its steps; replicas (the A/A control) are kept apart from the cell's own figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fwprof.comparison.pipeline import PIPELINE_METRICS, pipeline_value
from fwprof.comparison.training import TIMES, training_values
from fwprof.records import Block, CellPlan, CellResult, Measurement, ProgramName, Reading
from fwprof.statistics import median, quantile

TERMS: Mapping[str, Mapping[ProgramName, int]] = {
    "step_time": {"run": 1},
    "forward_time": {"forward": 1},
    "backward_time": {"forward_backward": 1, "forward": -1},
    "optimizer_time": {"run": 1, "forward_backward": -1},
    "data_time": {"next_batch": 1},
    "pipelined_step_time": {"pipelined": 1},
}
"""Metric → the programs whose medians are added (1) and taken away (-1)."""

STARTUP = {
    "import_time": "import_ns",
    "build_time": "build_ns",
    "first_step_time": "first_step_ns",
}
"""Metric → the field of `Startup` that holds it."""

FIRST_RESULT, SPREAD = "first_result_time", "step_spread"
SPREAD_ROUNDS = 8
"""Quartiles of fewer rounds would be single blocks."""

RESOLUTION_NS = 1.0
"""The host clock counts whole nanoseconds: a shorter time is not known to be shorter."""

Round = tuple[int, int]
"""(worker within the session, round): a sequential session has several workers a cell."""


@dataclass(frozen=True)
class Session:
    """One cell in one session: for each program the value of each round, in ns a step."""

    programs: Mapping[ProgramName, Mapping[Round, float]]

    def rounds(self, programs: Sequence[ProgramName] = ()) -> Sequence[Round]:
        """Return the rounds in which all these programs ran; of all there are, if none is named."""
        columns = [self.programs.get(name, {}) for name in programs or self.programs]
        return sorted(set.intersection(*map(set, columns))) if columns else []

    def column(self, program: ProgramName, rounds: Sequence[Round]) -> Sequence[float]:
        """Return one program's values in these rounds, in ns."""
        values = self.programs[program]
        return [values[at] for at in rounds]

    def value(self, metric: str, share: float = 0.5) -> float | None:
        """Return a quantile of the metric in ns: a marginal one as the difference of quantiles."""
        terms = TERMS[metric]
        rounds = self.rounds()
        if not rounds or not set(terms) <= set(self.programs):
            return None
        return sum(sign * quantile(self.column(name, rounds), share) for name, sign in terms.items())

    def spread(self) -> float | None:
        """Return the quartile range of the step over rounds, in percent of its median."""
        rounds = self.rounds()
        if "run" not in self.programs or len(rounds) < SPREAD_ROUNDS:
            return None
        steps = self.column("run", rounds)
        return 100 * (quantile(steps, 0.75) - quantile(steps, 0.25)) / quantile(steps, 0.5)


def block_value(block: Block) -> float:
    """Return a block's value: the median of its steps, in ns a step."""
    return max(median(block.step_ns) / block.steps_per_value, RESOLUTION_NS)


def sessions_of(cell: CellResult, *, replica: bool = False) -> Mapping[int, Session]:
    """Return the sessions of a cell (or of its replicas) that have measured rounds."""
    workers: dict[int, list[Measurement]] = {}
    for measurement in cell.measurements:
        if measurement.replica == replica and measurement.blocks:
            workers.setdefault(measurement.session, []).append(measurement)
    return {number: _session(workers[number]) for number in sorted(workers)}


def session_values(
    cell: CellResult, plan: CellPlan, metric: str, sessions: Mapping[int, Session] | None = None
) -> Mapping[int, float]:
    """Return one value a session of a metric; empty where there is none.

    Args:
        cell: what was measured.
        plan: the cell as planned, for its batch size.
        metric: a name of `fwprof.metrics`.
        sessions: `sessions_of(cell)`, where the caller has it already.
    """
    known = sessions_of(cell) if sessions is None else sessions
    if metric in TERMS:
        return _found({number: session.value(metric) for number, session in known.items()})
    if metric == SPREAD:
        return _found({number: session.spread() for number, session in known.items()})
    if metric == "throughput":
        batch = batch_size(cell, plan)
        times = session_values(cell, plan, "pipelined_step_time", known)
        return {number: batch * 1e9 / value for number, value in times.items()} if batch else {}
    startups = {
        measurement.session: measurement.startup
        for measurement in cell.measurements
        if measurement.startup is not None and not measurement.replica
    }
    if metric == "compilations":
        return _compilations(cell)
    if metric in STARTUP:
        return {number: getattr(startup, STARTUP[metric]) for number, startup in startups.items()}
    if metric == FIRST_RESULT:
        return {
            number: startup.import_ns + startup.build_ns + startup.first_step_ns
            for number, startup in startups.items()
        }
    if metric == "compile_time":
        steady = session_values(cell, plan, "step_time", known)
        return {
            number: startups[number].first_step_ns - value
            for number, value in steady.items()
            if number in startups
        }
    if metric in TIMES:
        epochs = training_values(cell)[metric]
        return {0: median(epochs)} if epochs else {}
    if metric in PIPELINE_METRICS:
        return _found({0: pipeline_value(cell, plan, metric, batch_size(cell, plan))})
    processes = (cell.readings, *cell.further_readings)
    return _found({number: _reading(readings, metric) for number, readings in enumerate(processes)})


def _compilations(cell: CellResult) -> Mapping[int, float]:
    """Return how many programs a worker traced or compiled in each session."""
    found: dict[int, float] = {}
    for measurement in cell.measurements:
        if measurement.startup is not None and not measurement.replica:
            # A sequential session has several workers, and each warms up from round 0.
            workers = sum(block.program == "run" and block.round == 0 for block in measurement.warm_up)
            blocks = (*measurement.warm_up, *measurement.blocks)
            later = sum(block.compilations for block in blocks) / max(1, workers)
            found[measurement.session] = measurement.startup.compilations + later
    return found


def _found(values: Mapping[int, float | None]) -> Mapping[int, float]:
    return {number: value for number, value in values.items() if value is not None}


def _reading(readings: Mapping[str, Reading], metric: str) -> float | None:
    """Return what one process of an untimed pass read: it stands for one session."""
    if metric == "host_work":
        whole, part = _reading(readings, "host_peak"), _reading(readings, "host_import")
        return None if whole is None or part is None else whole - part
    reading = readings.get(metric)
    return None if reading is None else reading.value


def batch_size(cell: CellResult, plan: CellPlan) -> int | None:
    """Return the batch size in force; the user's own model tells it once it is built."""
    return cell.description.batch_size if cell.description else plan.batch_size


def shared_rounds(sessions: Sequence[Session], programs: Sequence[ProgramName]) -> Sequence[Round]:
    """Return the rounds of one session in which several cells all ran these programs."""
    rounds = [set(session.rounds()) & set(session.rounds(programs)) for session in sessions]
    return sorted(set.intersection(*rounds)) if rounds else []


def _session(measurements: Sequence[Measurement]) -> Session:
    programs: dict[ProgramName, dict[Round, float]] = {}
    for worker, measurement in enumerate(measurements):
        for block in measurement.blocks:
            programs.setdefault(block.program, {})[worker, block.round] = block_value(block)
    return Session(programs=programs)
