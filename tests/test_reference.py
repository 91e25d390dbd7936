"""The generated reference pages say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from fwprof.records import Schedule

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_reference", ROOT / "tools" / "generate_reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[str, str] = load_generator().pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    stored = (REFERENCE / name).read_text(encoding="utf-8")
    assert stored == PAGES[name], "run: python tools/generate_reference.py"


def test_every_number_of_the_schedule_is_explained() -> None:
    text = (REFERENCE / "protocol.md").read_text(encoding="utf-8")
    assert [name for name in msgspec.structs.asdict(Schedule()) if f"`{name}`" not in text] == []
