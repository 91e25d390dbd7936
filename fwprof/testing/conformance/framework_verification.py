"""What every framework must answer in a cell that is verified: the same as everybody, in float64."""

from __future__ import annotations

from fwprof.testing.conformance.cases import Reference, load_case
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import expect, expect_close, expect_same
from fwprof.testing.conformance.verified_cells import ask
from fwprof.workloads.answers import PARAMETER_STEPS

ANSWER_TOLERANCE = 1e-9
STEP_TOLERANCE = 1e-5
"""Some optimizers keep their bias corrections in float32; a wrong form moves weights by 1e-3 and more."""


def check_verified_answers_agree_with_the_reference(subject: FrameworkSubject) -> None:
    """In float64 and without dropout, outputs, loss and every gradient are the reference's."""
    for case, verified in ask(subject).items():
        answers, reference = verified.answers, Reference(load_case(case))
        outputs, loss, gradients = reference.predict(0), reference.loss(0), reference.gradients(0)
        expect_close(answers.outputs, outputs, ANSWER_TOLERANCE, f"verified outputs of {case}")
        expect_close(answers.loss, loss, ANSWER_TOLERANCE, f"the verified loss of {case}")
        expect_same(answers.gradients, gradients, ANSWER_TOLERANCE, f"verified gradients of {case}")


def check_verified_steps_take_the_canonical_form(subject: FrameworkSubject) -> None:
    """Three S move parameters and statistics as the workload's language writes it."""
    for case, verified in ask(subject).items():
        reference = Reference(load_case(case))
        for batch in range(PARAMETER_STEPS):
            reference.step(batch)
        found, wanted = verified.answers.parameters, reference.network.values
        expect_same(found, wanted, STEP_TOLERANCE, f"verified parameters of {case}")


def check_verification_is_described(subject: FrameworkSubject) -> None:
    """describe() says how the program that is verified differs from the timed one."""
    for case, verified in ask(subject).items():
        expect(bool(verified.description.verified_with), f"verified_with of {case} in float64 is empty")


VERIFICATION_CHECKS = (
    check_verified_answers_agree_with_the_reference,
    check_verified_steps_take_the_canonical_form,
    check_verification_is_described,
)
