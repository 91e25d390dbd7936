"""What the core may be called and may say: no framework, no device, no catch-all module."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "fwprof"
SOURCES = [
    file
    for folder in ("fwprof", "plugins", "examples", "benchmarks", "tools", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
]

FOREIGN = re.compile(
    r"(?<![a-z0-9])(torch|pytorch|tensorflow|tf|keras|jax|flax|optax|xla|mxnet|paddle|onnx|cuda|cudnn|nvml|nvidia|gpu|tpu|rocm|mps)(?![a-z0-9])",
    re.IGNORECASE,
)
MAY_NAME_THEM = {
    "cli/examples.py": "help shows commands that a person can type",
    "workloads/builtin/keras-cnn.yaml": "the name by which tutorials and articles know the network",
}
LONGEST = 400
LONGER = {
    # path below the repository → why it is not split
}
CATCH_ALL = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "base"}
ALLOWED_CATCH_ALL = {"fwprof/records/base.py": "holds the base of every record, and nothing else"}


def naming_lines(file: Path) -> list[str]:
    name = file.relative_to(CORE).as_posix()
    lines = file.read_text(encoding="utf-8").splitlines()
    return [
        f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if FOREIGN.search(line)
    ]


def test_the_core_names_no_framework_and_no_device() -> None:
    files = [file for file in sorted(CORE.rglob("*")) if file.suffix in {".py", ".yaml", ".json", ".toml"}]
    assert len(files) > 10
    said = [
        line
        for file in files
        if file.relative_to(CORE).as_posix() not in MAY_NAME_THEM
        for line in naming_lines(file)
    ]
    assert said == []


def test_no_module_is_a_catch_all() -> None:
    found = {
        file.relative_to(ROOT).as_posix() for file in SOURCES if CATCH_ALL & {file.stem, file.parent.name}
    }
    assert found == set(ALLOWED_CATCH_ALL)


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in SOURCES
    }
    too_long = {name: length for name, length in lengths.items() if length > LONGEST}
    assert too_long.keys() == LONGER.keys(), too_long


def test_every_module_says_what_it_owns() -> None:
    silent = [
        file.relative_to(ROOT).as_posix()
        for file in sorted(CORE.rglob("*.py"))
        if not file.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []
