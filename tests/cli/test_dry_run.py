"""What a dry run says of each cell."""

from __future__ import annotations

from types import ModuleType

from fwprof.cli.dry_run import columns_of


def test_environments_are_named_where_they_differ(build: ModuleType) -> None:
    here = build.cell_plan("a", "mlp", "alpha")
    old = build.cell_plan("b", "mlp", "alpha@old", environment="old", interpreter="/old/bin/python")

    def table(*cells: object) -> list[list[str]]:
        plan = build.run_result(*((cell, build.cell_result(cell.id)) for cell in cells)).plan
        columns = columns_of(plan)
        return [
            [title for title, _ in columns],
            *([part(cell) for _, part in columns] for cell in plan.cells()),
        ]

    assert "environment" not in table(here)[0]
    assert [row[1:3] for row in table(here, old)] == [
        ["framework", "environment"],
        ["alpha", "here"],
        ["alpha@old", "old"],
    ]
