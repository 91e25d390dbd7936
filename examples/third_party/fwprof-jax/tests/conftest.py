"""Small workloads with their shapes resolved, and cells to build them in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import pytest

KEPT = ("jax_default_matmul_precision", "jax_enable_x64", "jax_compilation_cache_dir")


@pytest.fixture(scope="module")
def module_environment() -> Iterator[None]:
    """Undo what `prepare` sets in the environment, after the last test of a module."""
    with _kept_environment():
        yield


@contextmanager
def _kept_environment() -> Iterator[None]:
    variables = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(variables)


@pytest.fixture(autouse=True)
def _keep_configuration() -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in KEPT}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
