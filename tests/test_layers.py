"""The layer table of docs/architecture.md, held by walking the imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parent.parent / "fwprof"

LAYERS = (
    ("errors", "records", "metrics"),
    (
        "contracts",
        "codec",
        "statistics",
        "environment",
        "host",
        "events",
        "cancellation",
        "choices",
        "configuration",
        "workloads",
    ),
    ("hookspecs",),
    ("catalog", "interpreters", "selection", "loading", "plugin"),
    ("planning", "estimate", "execution", "store", "comparison", "report"),
    ("worker", "launcher", "exporters"),
    ("api",),
    ("cli",),
)
LAYER_OF = {unit: number for number, units in enumerate(LAYERS) for unit in units}

SAME_LAYER = {
    ("metrics", "records"): "a metric is a record",
    ("host", "contracts"): "the host's meter is a Meter",
    ("workloads", "configuration"): "a workload may be a YAML file",
    ("workloads", "contracts"): "batches and loaded workloads are what plugins receive",
    ("launcher", "worker"): "isolate=False runs the worker's code in the caller's process",
    ("interpreters", "catalog"): "another environment is asked for its catalog",
    ("selection", "catalog"): "a name selects what the catalog lists",
    ("estimate", "planning"): "of what a plan needs, the planner knows the number",
    ("choices", "configuration"): "a value means the same after --set as in a file",
}
"""(importer, imported) within one layer → why that is no cycle in the making."""


def units_of(module: str) -> str:
    """Return the module or package right below `fwprof`; empty for `fwprof` itself."""
    return ([*module.split("."), ""])[1]


def imports_of(source: str) -> Iterator[tuple[str, bool]]:
    """Yield (fwprof module imported, whether only for type checking)."""

    def visit(node: ast.AST, typing_only: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for child in node.body:
                yield from visit(child, True)
            for child in node.orelse:
                yield from visit(child, typing_only)
            return
        if isinstance(node, ast.Import):
            yield from ((name.name, typing_only) for name in node.names if is_ours(name.name))
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            if node.module == "fwprof":
                yield from ((f"fwprof.{name.name}", typing_only) for name in node.names)
            elif is_ours(node.module or ""):
                yield (node.module or "", typing_only)
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"import_module", "importlib.import_module"}
            and isinstance(node.args[0], ast.Constant)
            and is_ours(str(node.args[0].value))
        ):
            yield (str(node.args[0].value), typing_only)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, typing_only)

    return visit(ast.parse(source), False)


def is_ours(module: str) -> bool:
    return module == "fwprof" or module.startswith("fwprof.")


def all_imports() -> Iterator[tuple[str, str, bool]]:
    """Yield (unit, imported unit, typing only) over the whole core."""
    for file in sorted(CORE.rglob("*.py")):
        parts = file.relative_to(CORE).with_suffix("").parts
        if parts in {("__init__",), ("__main__",)}:  # the front of the package: names of api, loaded lazily
            continue
        for imported, typing_only in imports_of(file.read_text(encoding="utf-8")):
            target = units_of(imported)
            if target in LAYER_OF or target == "testing":  # else a name of fwprof/__init__.py: its version
                yield parts[0], target, typing_only


def violations(typing_only: bool) -> list[str]:
    found = set()
    for unit, target, is_typing in all_imports():
        if is_typing is not typing_only or unit == target or unit == "testing":
            continue
        below = target != "testing" and LAYER_OF[target] < LAYER_OF[unit]
        if not below and (unit, target) not in SAME_LAYER:
            found.add(f"{unit} (layer {LAYER_OF[unit]}) imports {target} (layer {LAYER_OF.get(target, '-')})")
    return sorted(found)


def test_the_page_on_architecture_shows_the_same_layers() -> None:
    page = CORE.parent.joinpath("docs", "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| ([^|]+) \|", page, re.MULTILINE)
    assert tuple(tuple(re.findall(r"`(\w+)`", row)) for row in rows) == LAYERS


def test_every_module_of_the_core_has_a_layer() -> None:
    units = {
        path.stem
        for path in CORE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }
    assert units - {"__init__", "__main__", "testing"} <= set(LAYER_OF)


def test_a_module_imports_only_from_lower_layers() -> None:
    assert violations(typing_only=False) == []


def test_annotations_too_name_only_lower_layers() -> None:
    assert violations(typing_only=True) == []


def test_nothing_in_the_core_imports_the_testing_kit() -> None:
    assert not [unit for unit, target, _ in all_imports() if target == "testing" and unit != "testing"]


def test_every_exception_to_the_rule_is_in_use() -> None:
    used = {(unit, target) for unit, target, _ in all_imports()}
    assert set(SAME_LAYER) <= used
    assert all(LAYER_OF[unit] == LAYER_OF[target] for unit, target in SAME_LAYER)
    assert not {(target, unit) for unit, target in SAME_LAYER} & set(SAME_LAYER)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fwprof.api", [("fwprof.api", False)]),
        ("from fwprof import api", [("fwprof.api", False)]),
        ("def f():\n    from fwprof.cli.main import main", [("fwprof.cli.main", False)]),
        ("if TYPE_CHECKING:\n    from fwprof.records import Block", [("fwprof.records", True)]),
        ("import_module('fwprof.worker')", [("fwprof.worker", False)]),
        ("import fwprof_torch, numpy", []),
    ],
)
def test_the_walk_sees_every_way_of_importing(source: str, expected: list[tuple[str, bool]]) -> None:
    assert list(imports_of(source)) == expected
