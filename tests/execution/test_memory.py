"""What a step's memory is made of, and the peak of the first steps: asked of a framework and of meters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fwprof.contracts import Batch
from fwprof.execution.memory import CATEGORIES, by_category, over_first_steps
from fwprof.execution.session import Session
from fwprof.records import Reading
from fwprof.testing.fake_framework import FakePrograms
from fwprof.testing.fake_meter import CountingMeter

Built = Callable[..., Session]


def staged_in(session: Session) -> Any:
    return session.model.stage(Batch(*([[0.0] * 12], [0])))  # type: ignore[arg-type]  # staged by the model


def test_a_framework_tells_what_its_memory_is_made_of(built: Built) -> None:
    session = built()
    staged = staged_in(session)
    session.programs.run(staged)
    found = by_category(session.programs, staged)
    size = sum(array.nbytes for array in session.model.parameters().values())
    assert found["parameter_memory"].value == found["gradient_memory"].value == size
    assert found["activation_memory"].reason == "NumPy keeps no count of what a pass holds"


def test_a_framework_that_does_not_tell_is_left_alone() -> None:
    assert by_category(object(), None) == {}  # type: ignore[arg-type]  # programs without the method


def test_a_framework_that_fails_to_tell_keeps_what_was_read_before(built: Built) -> None:
    class Failing(FakePrograms):
        def memory(self, staged: Batch) -> Mapping[str, Reading]:
            raise RuntimeError("no count\nsecond line")

    session = built(programs_class=Failing)
    found = by_category(session.programs, staged_in(session))
    assert {name: (reading.value, reading.reason) for name, reading in found.items()} == dict.fromkeys(
        CATEGORIES, (None, "RuntimeError: no count")
    )


def test_peaks_over_the_first_steps_have_names_of_their_own() -> None:
    meters = [CountingMeter("tensor_peak", "bytes", 7), CountingMeter("fake.other", "bytes", 8)]
    with over_first_steps(meters) as found:
        assert found == {}
    assert found == {"tensor_first_step_peak": Reading(value=7, unit="bytes")}


def test_without_meters_nothing_is_looked_at() -> None:
    with over_first_steps([]) as found:
        pass
    assert found == {}
