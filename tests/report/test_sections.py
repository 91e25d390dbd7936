"""What a report says of the data that cells were trained on, and in which units."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec
import pytest

from fwprof.records import Equivalence, Recommendation, TensorError
from fwprof.report.equivalence import equivalence_rows
from fwprof.report.layout import to_text
from fwprof.report.names import CellNames
from fwprof.report.sections import report


def report_of(build: ModuleType, *cells: dict[str, Any]) -> str:
    """Return the report of cells with such fields, each of its own plan."""
    plans = [build.cell_plan(f"cell{number}", one["workload"], "alpha") for number, one in enumerate(cells)]
    result = build.run_result(*((plan, build.cell_result(plan.id)) for plan in plans))
    default = build.times(410, (110, 109, 111), (140, 138, 142), (160, 158, 162))
    summaries = [
        build.cell_summary(plan.id, framework="alpha", **{"mode": "eager", "metrics": default, **one})
        for plan, one in zip(plans, cells, strict=True)
    ]
    return to_text(report(result, build.summary(*summaries)), 140)


def data_rows(text: str) -> list[str]:
    """Return the row `data` of a report, and those that belong to it."""
    rows: list[str] = []
    for line in text.splitlines():
        if line.startswith("data ") or (rows and line.startswith("     ")):
            rows.append(line.removeprefix("data").strip())
        elif rows:
            break
    return rows


def mlp(**fields: Any) -> dict[str, Any]:
    return {"workload": "mlp", "data": "mnist", "data_size": 60000, **fields}


@pytest.mark.parametrize(
    ("cells", "rows"),
    [
        ([mlp()], ["mnist, 60000 samples"]),
        ([mlp(), mlp(workload="lenet")], ["mnist, 60000 samples"]),
        ([mlp(), mlp(data_size=1)], ["mnist, 60000 samples; mnist, 1 sample"]),
        (
            [mlp(), mlp(workload="lenet", data="synthetic", data_size=100)],
            ["mlp: mnist, 60000 samples", "lenet: synthetic, 100 samples"],
        ),
        ([mlp(data=None, data_size=None)], []),
    ],
)
def test_the_data_are_named_once_for_all_or_by_workload(
    build: ModuleType, cells: list[dict[str, Any]], rows: list[str]
) -> None:
    assert data_rows(report_of(build, *cells)) == rows


def test_cells_that_differ_in_their_number_of_samples_are_told_apart_by_it(build: ModuleType) -> None:
    text = report_of(build, mlp(data_size=100), mlp(data_size=200))
    assert " workload  data size  batch" in text
    assert "data size" not in report_of(build, mlp(), mlp(workload="lenet", data_size=100))


def test_every_workload_has_times_in_a_unit_of_its_own(build: ModuleType) -> None:
    slow = build.times(26_000, (1_000, 990, 1_010), (20_000, 19_000, 21_000), (5_000, 4_900, 5_100))
    fast = build.times(70, (40, 39, 41), (18, 17, 19), (12, 11, 13))
    text = report_of(build, mlp(metrics=slow), mlp(workload="lenet", metrics=fast))
    steps = [line.split()[2:4] for line in text.splitlines() if line.startswith((" mlp ", " lenet "))][:2]
    assert [unit for _, unit in steps] == ["ms", "µs"]
    assert "Intervals and phases in ms or µs, that of their step." in text
    assert "Intervals and phases in ms.\n" in report_of(build, mlp(metrics=slow))


def test_workloads_whose_cells_all_do_the_same_work_share_a_line(build: ModuleType) -> None:
    plans, cells = [], []
    for workload, status in (("mlp", "equivalent"), ("lenet", "equivalent"), ("bert", "not_equivalent")):
        first, second = f"{workload}.alpha", f"{workload}.beta"
        plans += [build.cell_plan(first, workload, "alpha"), build.cell_plan(second, workload, "beta")]
        reference = Equivalence(status="reference", reference=first, max_error=0.0)
        other = Equivalence(
            status=status, reference=first, max_error=len(plans) * 1e-15, first_difference="the loss"
        )
        for name, equivalence in ((first, reference), (second, other)):
            cells.append(
                build.cell_summary(
                    name, framework="alpha", mode="eager", workload=workload, equivalence=equivalence
                )
            )
    result = build.run_result(*((plan, build.cell_result(plan.id)) for plan in plans))
    rows = [text for _, text in equivalence_rows(cells, CellNames(result, cells))]
    assert rows[0] == (
        "all cells of mlp and lenet do the same work: outputs, loss and gradients agree to 4e-15 in float64"
    )
    assert "does not compute the same as" in rows[1]
    assert equivalence_rows(cells[:2], CellNames(result, cells[:2]))[0][1].startswith("all do the same work")
    cells[2:4] = [msgspec.structs.replace(cell, precision="bfloat16") for cell in cells[2:4]]
    assert equivalence_rows(cells, CellNames(result, cells))[0][1].startswith(
        "all cells of mlp in float32 and lenet in bfloat16 do the same work"
    )
    cells[0] = msgspec.structs.replace(
        cells[0],
        equivalence=Equivalence(
            status="not_equivalent",
            reference="mlp.alpha",
            first_difference="the gradient of 0.kernel in float16",
            tensors=(
                TensorError(
                    name="0.kernel", kind="gradient", passed=False, function_error=0.0, precision_bound=0.1
                ),
            ),
        ),
    )
    (row,) = [text for _, text in equivalence_rows(cells, CellNames(result, cells)) if "mlp" in text]
    assert row.endswith(
        "as itself in float64: first the gradient of 0.kernel in float16 "
        "(gradient of 0.kernel by shape, absence or a value that is no number)"
    )


def test_recommendations_of_several_workloads_stand_below_each(build: ModuleType) -> None:
    plans = [
        build.cell_plan(f"{workload}-{framework}", workload, framework)
        for workload in ("mlp", "lenet")
        for framework in ("alpha", "beta")
    ]
    result = build.run_result(*((plan, build.cell_result(plan.id)) for plan in plans))
    times = build.times(410, (110, 109, 111), (140, 138, 142), (160, 158, 162))
    cells = [
        build.cell_summary(plan.id, plan.workload.name, plan.choice.name, "eager", metrics=times)
        for plan in plans
    ]
    made = [
        Recommendation(
            scenario="fastest training",
            choice=(f"{workload}-alpha",),
            evidence=f"ahead of {workload}-beta",
            among=(f"{workload}-alpha", f"{workload}-beta"),
        )
        for workload in ("mlp", "lenet")
    ]
    lines = to_text(report(result, build.summary(*cells, recommendations=tuple(made))), 140).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("recommended"))
    assert [line[16:] for line in lines[start : start + 4]] == [
        "mlp",
        "  fastest training: alpha:eager (ahead of beta:eager)",
        "lenet",
        "  fastest training: alpha:eager (ahead of beta:eager)",
    ]
