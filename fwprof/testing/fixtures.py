"""pytest fixtures for the tests of plugins; a conftest imports them by name.

    from fwprof.testing.fixtures import own_environment as own_environment

Only this module of the kit and `fwprof.testing.conformance.suites` need pytest.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="module")
def module_environment() -> Iterator[None]:
    """Undo what `prepare` sets in the environment, after the last test of a module."""
    with _kept_environment():
        yield


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Undo what `prepare` sets in the environment, after the test."""
    with _kept_environment():
        yield


@contextmanager
def _kept_environment() -> Iterator[None]:
    variables, folder = dict(os.environ), tempfile.tempdir
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)
        tempfile.tempdir = folder
