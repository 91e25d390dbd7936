from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fwprof import workloads
from fwprof.contracts import Options
from fwprof.execution.session import Session
from fwprof.records import Scalar, Schedule
from fwprof.testing.clock import FakeClock
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms
from fwprof.testing.samples import WORKLOAD, sample_cell
from fwprof.workloads.inputs import read_inputs, write_inputs


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_000)


class Scripted:
    """Model and programs at once: a call takes as long as the script says, and is written down."""

    def __init__(self, clock: FakeClock, lengths_ns: Mapping[str, int]) -> None:
        self.clock = clock
        self.lengths_ns = dict(lengths_ns)
        self.calls: list[str] = []
        self.batches: list[int] = []
        self.loss = 1.0

    def _call(self, name: str, staged: int) -> object:
        self.calls.append(name)
        self.batches.append(staged)
        self.clock.advance(self.lengths_ns[name])
        return object()

    def forward(self, staged: int) -> object:
        return self._call("forward", staged)

    def forward_backward(self, staged: int) -> object:
        return self._call("forward_backward", staged)

    def run(self, staged: int) -> object:
        return self._call("run", staged)

    def next_batch(self) -> object:
        return self._call("next_batch", -1)

    def wait(self, result: object) -> None:
        self.calls.append("wait")
        self.clock.advance(self.lengths_ns.get("wait", 0))

    def read(self, result: object) -> tuple[float, None]:
        self.calls.append("read")
        return self.loss, None

    def reset(self) -> None:
        self.calls.append("reset")
        self.clock.advance(10_000_000)

    def compilations(self) -> int:
        return self.lengths_ns.get("compilations", 0) * len(self.calls)


@pytest.fixture
def scripted(clock: FakeClock) -> Callable[..., tuple[Scripted, Session]]:
    """Make a session over two batches of programs with these lengths, ns."""

    def make(kinds: int = 1, **lengths_ns: int) -> tuple[Scripted, Session]:
        lengths = {"forward": 100_000, "forward_backward": 300_000, "run": 400_000, "next_batch": 20_000}
        script = Scripted(clock, {**lengths, **lengths_ns})
        model: Any = script
        batches = range(max(2, kinds))
        return script, Session(model, model, batches, Schedule(), clock=clock, kinds=kinds)

    return make


@pytest.fixture
def built(clock: FakeClock, tmp_path: Path) -> Callable[..., Session]:
    """Make a session over the fake framework, which really computes; time is still the fake clock's."""

    def make(
        model_class: type[FakeModel] = FakeModel,
        programs_class: type[FakePrograms] = FakePrograms,
        **options: Scalar,
    ) -> Session:
        plan = workloads.plan_workload(WORKLOAD, 16)
        cell = sample_cell(workload=plan, options=options)
        write_inputs(plan, 16, 0, tmp_path, with_data_set=False)
        loaded = read_inputs(tmp_path, plan)
        framework = FakeFramework(clock, model_class, programs_class)
        model: Any = framework.build_model(loaded, cell.device, Options(cell=cell, cache=tmp_path))
        staged: Sequence[Any] = [model.stage(batch) for batch in loaded.batches]
        trained = frozenset(name for layer in plan.layers for name in layer.parameters)
        return Session(model, framework.train_step(model), staged, Schedule(), clock=clock, trained=trained)

    return make
