"""A model's answers and what `fwprof verify` says of them, asked in this process, without a worker.

For tests that change how a framework computes, and expect that to be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fwprof.comparison.equivalence import ROUNDING, judge_answers
from fwprof.contracts import LoadedWorkload, Options
from fwprof.execution.answers import take_answers
from fwprof.records import Equivalence
from fwprof.workloads import find_workload, plan_workload
from fwprof.workloads.answers import Answers, write_check_inputs
from fwprof.workloads.inputs import read_inputs
from fwprof.workloads.language import parameter_shapes, state_shapes


@dataclass(frozen=True)
class Judged:
    """One workload with the check batches it is verified by."""

    workload: LoadedWorkload

    @classmethod
    def written(cls, name: str, folder: Path) -> Self:
        """Return a built-in workload, its weights and check batches written to an empty folder."""
        plan = plan_workload(find_workload(name), 64)
        write_check_inputs(plan, 0, folder)
        return cls(read_inputs(folder, plan))

    def ask(self, plugin: Any, options: Options) -> Answers:
        """Build the workload with a framework plugin and return what it answers.

        Args:
            plugin: an object with the hooks `build_model` and `train_step`.
            options: of the model, with the precision that is asked for.
        """
        model = plugin.build_model(workload=self.workload, device=options.cell.device, options=options)
        staged = [model.stage(batch) for batch in self.workload.batches]
        is_exact = options.cell.precision == "float64"
        rounding = ROUNDING["float32"] if is_exact else 0.0
        return take_answers(model, plugin.train_step(model=model), staged, rounding=rounding)

    def judge(self, answers: Answers, *, exact: Answers, reference: Answers) -> Equivalence:
        """Return what verification says of answers in float32.

        Args:
            answers: of the framework as it is judged.
            exact: of the same framework in float64, which is its own reference there.
            reference: of the reference framework in float32.
        """
        layers = self.workload.layers
        return judge_answers(
            {"float64": exact, "own": answers},
            {"float64": exact, "own": reference},
            names=[*parameter_shapes(layers), *state_shapes(layers)],
            precision="float32",
            reference_id="reference",
            verified_with=(),
        )
