"""The examples that help pages begin with. Frameworks and devices may be named here."""

from __future__ import annotations

_EXAMPLES = {
    "fwprof": (
        ("fwprof profile --quick", "the quick set on the cpu"),
        ("fwprof profile mlp --plugin torch --plugin torch:compile", "several cells, compared"),
        ("fwprof show last", "what the last run found"),
    ),
    "profile": (
        ("fwprof profile mlp --plugin torch", "one cell"),
        ("fwprof profile lenet --plugin torch --plugin torch:compile --thorough", "a ranking"),
        ("fwprof profile --model train.py:make --plugin torch --device cuda", "your own model"),
        ("fwprof profile --config matrix.yaml --dry-run", "many cells: how long would it take?"),
    ),
    "verify": (
        ("fwprof verify lenet --plugin torch --plugin tensorflow", "do both compute the same?"),
        ("fwprof verify mlp lenet --plugin torch --plugin keras:jax --json", "every error, for a program"),
    ),
    "compare": (
        ("fwprof compare last~1 last", "what changed since the run before"),
        ("fwprof compare 01KA last --fail-on 'step_time>+5%'", "exit 1 if it got slower"),
    ),
    "show": (
        ("fwprof show last", "the last run"),
        ("fwprof show last~1 --json", "the one before, for a program"),
    ),
    "runs": (("fwprof runs", "runs in ./fwprof-runs"), ("fwprof runs -o DIR --json", "elsewhere, as JSON")),
    "export": (
        ("fwprof export last --to csv results.csv", "one row a figure"),
        ("fwprof export last --to markdown -", "to stdout"),
    ),
    "plugins": (("fwprof plugins", "frameworks, devices, meters and exporters"),),
    "devices": (("fwprof devices", "what --device may name"),),
    "workloads": (("fwprof workloads", "what can be profiled without a model of your own"),),
    "check": (
        ("fwprof check torch", "every check of a framework, on the cpu"),
        ("fwprof check torch --variant compile", "of another variant"),
        ("fwprof check cpu --json", "of a device, for a program"),
    ),
    "doctor": (("fwprof doctor", "start here when something does not work"),),
}

OWN_MODEL = "--model train.py:make"


def with_examples(text: str, command: str) -> str:
    """Put a command's examples before what its help page says."""
    rows = _EXAMPLES[command]
    wide = max(len(line) for line, _ in rows)
    if wide > 60:
        lines = [f"  {line}\n      {meaning}" for line, meaning in rows]
    else:
        lines = [f"  {line:<{wide}}   {meaning}" for line, meaning in rows]
    # \b keeps click from joining the lines.
    return "\b\n" + "\n".join(lines) + f"\n\n{text}"
