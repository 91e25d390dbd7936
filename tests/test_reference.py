"""The generated reference pages say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fwprof import hookspecs
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


HOOKS = [item for item in vars(hookspecs).values() if hasattr(item, f"{hookspecs.PROJECT}_spec")]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_a_hook_says_where_it_is_called_whether_timed_for_which_kind_and_what_to_raise(hook: Any) -> None:
    told = hook.__doc__
    assert re.search(r"Called: in (the|a) [^:]*\btimed\b", told)
    assert re.search(r"Kind: [a-z, ]+\. (Required|Optional)", told)
    assert re.search(r"\braises?\b", told, re.IGNORECASE)


def test_hooks_stand_in_the_order_in_which_they_fire() -> None:
    assert [hook.__name__ for hook in HOOKS] == [
        "devices",
        "prepare",
        "build_model",
        "train_step",
        "measure",
        "is_out_of_memory",
        "peak_kernels",
        "export",
    ]


def test_every_number_of_the_schedule_is_explained() -> None:
    text = (REFERENCE / "protocol.md").read_text(encoding="utf-8")
    assert [name for name in msgspec.structs.asdict(Schedule()) if f"`{name}`" not in text] == []
