"""Write the reference pages that the code itself can tell, so that they cannot go stale.

`python tools/generate_reference.py` writes docs/reference/; a test compares what it would write
with what is there. Reads sources as text where a docstring stands beside a name, which the running
code does not keep.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from fwprof import contracts, errors, hookspecs, metrics, plugin, records
from fwprof.cli.main import cli
from fwprof.codec import json_schema
from fwprof.workloads import scores

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
WIDTH = 100
NOTE = "<!-- Written by tools/generate_reference.py from the code; change the code instead. -->\n"

DOORS = {
    "request": "What the user asked for, in the user's words.",
    "workload": "The model language: what a workload YAML file holds.",
    "pipeline": "A part of a workload: how its data become batches.",
    "plan": "The request resolved: `plan.json`, and the one document a worker is started from.",
    "measurement": "Raw numbers, as the worker measured them.",
    "layer_times": "Layers timed alone: what was measured, and the table that is derived from it.",
    "checkpoint": "Checkpoints, as two processes measured them.",
    "result": "What is stored as `run.json`, and what is derived from it for people and tools.",
    "metric_value": "One figure, derived from what was measured.",
    "frames": "What launcher and worker say to each other.",
}
SCHEMAS = {
    "run": records.RunResult,
    "plan": records.RunPlan,
    "request": records.RunRequest,
    "summary": records.RunSummary,
    "workload": records.Workload,
}
SECTION = re.compile(r"^(Args|Returns|Raises):$\n", re.MULTILINE)
FACT = re.compile(r"^(Called|Kind):(.*)$", re.MULTILINE)
ENTRY = re.compile(r"^(\w+):", re.MULTILINE)
PROTOCOLS = (
    contracts.Model,
    contracts.Programs,
    contracts.DataPipeline,
    contracts.LayerPrograms,
    contracts.Meter,
    contracts.PeakKernels,
)
OFFERED = (
    plugin.Format,
    plugin.read_choice,
    plugin.read_parts,
    plugin.Part,
    plugin.endless_batches,
    plugin.PipelineData,
    plugin.LayerCase,
    plugin.Samples,
)


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        path = REFERENCE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return path below docs/reference → text."""
    written = {
        "cli.md": cli_page(),
        "metrics.md": metrics_page(),
        "labels.md": labels_page(),
        "exit-codes.md": exit_codes_page(),
        "hooks.md": hooks_page(),
        "records.md": records_page(),
        "what-happens-when.md": what_happens_page(),
    }
    for name, record in SCHEMAS.items():
        written[f"schema/{name}.json"] = json.dumps(json_schema(record), indent=2, sort_keys=True) + "\n"
    return written


def cli_page() -> str:
    """Return what every command's `--help` says."""
    context = click.Context(
        cli, info_name="fwprof", max_content_width=WIDTH, terminal_width=WIDTH, **cli.context_settings
    )
    parts = [
        "Stdout holds the answer, stderr everything else. An option given on the command line wins over\n"
        "`FWPROF_*` variables, these over `--config`, that over `[tool.fwprof]` in `pyproject.toml`.\n"
        "What a command exits with: [exit codes](exit-codes.md). What `--json` prints: [JSON](json.md).",
        f"```text\n{cli.get_help(context)}\n```",
    ]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH
        )
        parts += [f"## fwprof {name}", f"```text\n{command.get_help(inner)}\n```"]
    return page("The command line", *parts)


def metrics_page() -> str:
    """Return the table of metrics."""
    rows = [(f"`{m.name}`", m.unit, m.kind, m.better, m.meaning) for m in metrics.METRICS.values()]
    return page(
        "Metrics",
        "The metrics every framework and device shares. A plugin adds its own with a dot in the name.\n"
        "*marginal* metrics are differences of two programs ([protocol](protocol.md)); *derived* ones are\n"
        "computed from others. Times and sizes are stored as integers in the unit given.",
        table(("metric", "unit", "kind", "better", "meaning"), rows),
        "## Scores",
        "Training gives them for every epoch and both splits, counted in float64\n"
        "([protocol](protocol.md#training)).",
        inspect.cleandoc(scores.Tally.scores.__doc__ or "").partition("\n\n")[2].partition("\n\nRaises:")[0],
    )


def labels_page() -> str:
    """Return the table of labels."""
    rows = [(f"`{name}`", meaning) for name, meaning in records.LABELS.items()]
    return page(
        "Labels",
        "A label stands beside a figure and says what to keep in mind when reading it. It forbids nothing.",
        table(("label", "meaning"), rows),
    )


def exit_codes_page() -> str:
    """Return the exit codes, and the exceptions that lead to them."""
    meanings = dict(attribute_docs(errors.ExitCode))
    codes = [(str(int(code)), f"`{code.name}`", meanings[code.name]) for code in errors.ExitCode]
    classes = [
        (f"`{cls.__name__}`", f"`{cls.__mro__[1].__name__}`", str(int(cls.exit_code)), first_line(cls))
        for _, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.FwprofError)
    ]
    return page(
        "Exit codes and errors",
        "The library raises; only the command exits. An error names up to four things, a line each:\n"
        "what happened, its cause, what was kept, what to do next.",
        table(("status", "name", "when"), codes),
        "## Exceptions",
        table(("class", "is a", "status", "when"), classes),
    )


def what_happens_page() -> str:
    """Return what is promised where something goes wrong: the table that the tests play."""
    path = ROOT / "tests" / "faults" / "table.py"
    spec = importlib.util.spec_from_file_location("table_of_faults", path)
    assert spec is not None
    assert spec.loader is not None
    faults = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(faults)
    parts = [
        "Every row is played by a test, through the command. Whatever happens: no process is left behind,\n"
        "each block is on disk as soon as it is measured, and only a bug in fwprof shows a traceback.\n"
        "What the numbers mean: [exit codes](exit-codes.md)."
    ]
    for section in faults.SECTIONS:
        rows = [
            (
                case.when,
                "" if case.status is None else str(case.status),
                ", ".join(f"`{fate}`" for fate in case.fates),
                f"`{case.says}`" if case.says else "",
                faults.KEPT[case.kept],
            )
            for case in section.cases
        ]
        head = ("what happens", "exit", "fate", "what fwprof says", "what is on disk")
        parts += [f"## {section.title}", table(head, rows)]
    return page("What happens when", *parts)


def hooks_page() -> str:
    """Return hooks in the order they fire, then the objects they return."""
    hooks = [item for item in vars(hookspecs).values() if hasattr(item, f"{hookspecs.PROJECT}_spec")]
    parts = [
        f"`API_VERSION` is {hookspecs.API_VERSION}. Adding an optional hook or an argument keeps it. A\n"
        "plugin imports what it needs from `fwprof.plugin`, and may leave out arguments it does not use.",
        "They stand in the order in which they fire. What one raises in a worker becomes the fate of its\n"
        "cell, and the other cells go on: `UnsupportedError` and `PluginUnavailableError` make it\n"
        "`unsupported`, `MemoryError` and what `is_out_of_memory` knows `out_of_memory`, all else `failed`,\n"
        "with its traceback. Step by step: [a framework plugin](../how-to/write-a-framework-plugin.md),\n"
        "[a device plugin](../how-to/write-a-device-plugin.md).",
    ]
    for hook in hooks:
        parts += [f"## {hook.__name__}", signature_block(hook), markdown_of(hook)]
    parts += ["# What hooks return", "Objects with these methods; they need not inherit from anything."]
    for protocol in PROTOCOLS:
        parts += [f"## {protocol.__name__}", markdown_of(protocol)]
        for name, method in vars(protocol).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                parts += [f"### {protocol.__name__}.{name}", signature_block(method), markdown_of(method)]
    parts += ["# What a framework plugin may use", "What all of them need, in `fwprof.plugin`."]
    for offered in OFFERED:
        parts += [f"## {offered.__name__}", signature_block(offered), markdown_of(offered)]
    return page("Hooks", *parts)


def records_page() -> str:
    """Return every record with its fields, one section a door."""
    parts = [
        "Frozen values of [msgspec](../decisions/001-msgspec-records.md). Unknown fields are refused,\n"
        "except in stored files of the same major version. JSON Schemas are in [schema/](schema/).",
    ]
    for module, what in DOORS.items():
        source = (ROOT / "fwprof" / "records" / f"{module}.py").read_text(encoding="utf-8")
        parts += [f"## {module}", what]
        body = ast.parse(source).body
        names = [
            (f"`{node.targets[0].id}`", code(node.value))
            for node in body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Subscript | ast.BinOp)
        ]
        if names:
            parts.append(table(("name", "stands for"), names))
        for node in body:
            if isinstance(node, ast.ClassDef):
                parts += record_section(node)
    return page("Records", *parts)


def record_section(node: ast.ClassDef) -> Iterator[str]:
    """Yield the parts that document one record."""
    yield f"### {node.name}"
    tags = [str(ast.literal_eval(word.value)) for word in node.keywords if word.arg == "tag"]
    yield "".join(f"`{tag}`: " for tag in tags) + inspect.cleandoc(ast.get_docstring(node) or "")
    docs = dict(docs_in(node))
    rows = [
        (
            f"`{field.target.id}`",
            code(field.annotation),
            code(field.value) if field.value else "",
            docs.get(field.target.id, ""),
        )
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]
    if rows:
        yield table(("field", "type", "default", "meaning"), rows)


def code(node: ast.expr) -> str:
    """Return an expression as inline code."""
    return f"`{ast.unparse(node)}`".replace("msgspec.Meta", "Meta")


def attribute_docs(cls: type) -> Iterator[tuple[str, str]]:
    """Yield (attribute, the docstring that follows it) of a class."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    return docs_in(tree)


def docs_in(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield (attribute, the string literal that follows it)."""
    for field, follower in zip(node.body, node.body[1:], strict=False):
        target = field.targets[0] if isinstance(field, ast.Assign) else getattr(field, "target", None)
        said = follower.value if isinstance(follower, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(said, ast.Constant) and isinstance(said.value, str):
            yield target.id, " ".join(said.value.split())


def signature_block(function: Any) -> str:
    """Return a function's signature as a block that is shown, not run."""
    return f"```text\n{function.__name__}{inspect.signature(function)}\n```".replace("'", "").replace(
        "(self, ", "("
    )


def markdown_of(thing: Any) -> str:
    """Return a docstring as Markdown: its sections become lists."""
    summary, *sections = SECTION.split(inspect.getdoc(thing) or "")
    parts = [FACT.sub(r"*\1:*\2  ", summary.rstrip())]
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        text = inspect.cleandoc(body)
        parts.append(f"{name}: {text}" if name == "Returns" else f"{name}:\n\n" + ENTRY.sub(r"- `\1`:", text))
    return "\n\n".join(parts)


def first_line(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").splitlines()[0]


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(title: str, *parts: str) -> str:
    """Return a page of parts, a blank line between them."""
    return "\n\n".join((f"{NOTE}\n# {title}", *parts)) + "\n"


if __name__ == "__main__":
    main()
