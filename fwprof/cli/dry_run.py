"""`fwprof profile --dry-run`: what would be measured, by how many processes, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fwprof.cli.output import print_json, print_list
from fwprof.cli.progress import not_resumed_line, plan_line, resumed_line
from fwprof.errors import ExitCode
from fwprof.report import figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwprof.api import Resume
    from fwprof.estimate import Cost
    from fwprof.records import CellPlan, RunPlan, RunRequest


def say_plan(request: RunRequest, resume: Resume, *, as_json: bool) -> int:
    """Print a plan and return the exit status.

    Args:
        request: what would be measured.
        resume: what becomes of an earlier run of the same request.
        as_json: print a document instead of tables.
    """
    from fwprof import api
    from fwprof.estimate import estimate
    from fwprof.events import RunResumed

    plan = api.make_plan(request)
    earlier = api.find_earlier(plan, resume)
    costs = estimate(plan, earlier.measured if earlier else None)
    seconds = sum(cost.seconds for cost in costs.values())
    event = api.what_became_of(earlier, plan) if earlier else None
    if as_json:
        document = {"plan": plan, "estimated_seconds": seconds, "estimate": costs}
        print_json(document | {"resumes": event if isinstance(event, RunResumed) else None})
        return ExitCode.DONE
    if event is not None:
        print(resumed_line(event) if isinstance(event, RunResumed) else not_resumed_line(event))
    print(f"plan     {plan_line(plan, seconds)}")
    for line in _lines(plan, costs):
        print(line)
    columns = columns_of(plan)
    print()
    print_list(
        [title for title, _ in columns],
        [[part(cell) for _, part in columns] for cell in plan.cells()],
        "no cell",
    )
    for what, why in plan.unavailable.items():
        print(f"\nnot here  {what}: {why}")
    return ExitCode.DONE if plan.cells() else ExitCode.NOT_AVAILABLE


def _lines(plan: RunPlan, costs: Mapping[str, Cost]) -> Iterator[str]:
    schedule = plan.schedule
    yield (
        f"schedule {schedule.budget}, {schedule.kind}, "
        f"at most {schedule.max_seconds:g} s a group and session, until ±{100 * schedule.half_width:g} %"
    )
    groups = [f"{group.name} {len(group.cells)}" for group in plan.groups]
    if len(groups) > 1:
        yield f"groups   {', '.join(groups)}   (cells each; compared within a group)"
    for place, (name, cost) in enumerate(costs.items()):
        guess = "   (a guess: how long a step takes is not known yet)" if name == "training" else ""
        yield (
            f"{'' if place else 'time':<8} {name:<17} {figures.plural(cost.workers, 'process'):>13}   "
            f"{figures.wait(cost.seconds)}{guess}"
        )


def columns_of(plan: RunPlan) -> list[tuple[str, Callable[[CellPlan], str]]]:
    """Return what the table says of each cell: title, and what stands below it.

    The environment is named only where cells run in several.
    """
    from fwprof.report.names import data_text
    from fwprof.workloads.data.sources import data_name

    columns: list[tuple[str, Callable[[CellPlan], str]]] = [
        ("workload", lambda cell: cell.workload.name),
        ("framework", lambda cell: str(cell.choice)),
        ("device", lambda cell: cell.device.name),
        ("precision", lambda cell: cell.precision),
        ("settings", lambda cell: cell.settings_preset),
        ("threads", lambda cell: str(cell.threads)),
        ("batch", lambda cell: "–" if cell.batch_size is None else str(cell.batch_size)),
        ("data", lambda cell: data_text(data_name(cell.workload), cell.workload.data_size) or "–"),
    ]
    if len({cell.interpreter for cell in plan.cells()}) > 1:
        columns.insert(2, ("environment", lambda cell: cell.environment if cell.interpreter else "here"))
    return columns
