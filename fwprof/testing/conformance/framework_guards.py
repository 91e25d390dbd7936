"""Whether the engine's guards against wrong answers see through this plugin."""

from __future__ import annotations

from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import expect
from fwprof.testing.guards import WRONG, failed_guards


def check_guards_notice_wrong_answers(subject: FrameworkSubject) -> None:
    """A dropped gradient, a step that trains nothing and a forward that trains are each noticed."""
    for wrong, guard in WRONG.items():
        built = subject.build()
        found = failed_guards(built.model, wrong(built.programs), built.staged, built.trained())
        expect(guard in found, f"guard {guard} did not notice a plugin of which {wrong.__doc__}")


GUARD_CHECKS = (check_guards_notice_wrong_answers,)
