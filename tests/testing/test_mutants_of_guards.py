"""A plugin through which the engine's guards are blind, and the check that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fwprof.testing.conformance.framework_guards import GUARD_CHECKS
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import ConformanceError
from fwprof.testing.fake_framework import FakeFramework, FakeModel
from fwprof.testing.guards import WRONG, Around, failed_guards

NOISE = np.random.default_rng(0)


class ReadsNoise(FakeModel):
    """Its parameters never read the same twice: a step that trains nothing looks like one that does."""

    def parameters(self):
        return {
            name: value + 1e-9 * NOISE.standard_normal(value.shape).astype(value.dtype)
            for name, value in super().parameters().items()
        }


def subject_of(plugin: FakeFramework, folder: Path) -> FrameworkSubject:
    return FrameworkSubject(plugin=plugin, name="fake", folder=folder)


def test_guards_that_see_nothing_through_a_plugin_are_told(tmp_path: Path) -> None:
    (check,) = GUARD_CHECKS
    check(subject_of(FakeFramework(), tmp_path))
    with pytest.raises(ConformanceError, match="step_trains did not notice a plugin of which S only"):
        check(subject_of(FakeFramework(model_class=ReadsNoise), tmp_path))


def test_no_guard_speaks_of_programs_that_are_right(tmp_path: Path) -> None:
    built = subject_of(FakeFramework(), tmp_path).build()
    assert failed_guards(built.model, Around(built.programs), built.staged, built.trained()) == frozenset()
    assert len(set(WRONG.values())) == len(WRONG)
