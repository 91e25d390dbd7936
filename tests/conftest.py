"""Fixtures that several folders of tests share."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """Hand-built runs: tests/cli/build.py."""
    spec = spec_from_file_location("hand_built_runs", Path(__file__).parent / "cli" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
