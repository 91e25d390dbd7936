"""What every framework's model must do: parameters, reset, predict, save."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fwprof.testing.conformance.cases import BATCH, CLASSES
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect, expect_close, expect_same

if TYPE_CHECKING:
    from fwprof.contracts import Array

REPEATED = 1e-5
"""Two runs of the same program from the same state may differ by the order of a sum."""


def check_parameters_are_canonical(subject: FrameworkSubject) -> None:
    """A new model holds the canonical weights under their canonical names and shapes."""
    built = subject.build()
    expect_same(built.parameters(), built.loaded.weights, 1e-6, "parameters()")


def check_statistics_are_canonical(subject: FrameworkSubject) -> None:
    """Batch statistics stand beside the parameters, as the workload set them."""
    built = subject.build("batch_norm")
    expect_same(built.parameters(), built.loaded.weights, 1e-6, "parameters()")


def check_parameters_are_copies(subject: FrameworkSubject) -> None:
    """What parameters() returned may be changed, and does not change, without the model."""
    built = subject.build()
    before = built.copies()
    for value in built.parameters().values():
        if value.flags.writeable:
            value += 1
    expect_same(built.parameters(), before, 1e-6, "parameters() after its copies changed")


def check_loading_sets_parameters(subject: FrameworkSubject) -> None:
    """load_parameters sets what parameters() shows and what the programs compute with."""
    built = subject.build("batch_norm")
    outputs = np.array(built.model.predict(built.staged[0]))
    halved = {name: value / 2 for name, value in built.loaded.weights.items()}
    built.model.load_parameters(halved)
    expect_same(built.parameters(), halved, 1e-6, "parameters() after load_parameters")
    again = built.model.predict(built.staged[0])
    expect(not np.allclose(again, outputs), "predict is the same with other parameters loaded")


def check_loading_refuses_an_unknown_name(subject: FrameworkSubject) -> None:
    """load_parameters raises ValueError that names a parameter which is not there."""
    _expect_refusal(subject, "no.such.parameter", np.zeros(3, dtype=np.float32))


def check_loading_refuses_a_wrong_shape(subject: FrameworkSubject) -> None:
    """load_parameters raises ValueError that names a parameter of another shape."""
    # Transposed: as many numbers, so that reshaping would hide it.
    kernel = subject.build().loaded.weights["0.kernel"]
    _expect_refusal(subject, "0.kernel", np.ascontiguousarray(kernel.T))


def _expect_refusal(subject: FrameworkSubject, name: str, value: Array) -> None:
    built = subject.build()
    try:
        built.model.load_parameters({name: value})
    except ValueError as error:
        expect(name in str(error), f"the ValueError does not name {name}: {error}")
    else:
        expect(False, f"load_parameters accepted {name} of shape {value.shape}")


def check_reset_restores_parameters(subject: FrameworkSubject) -> None:
    """reset() brings the parameters back after training steps."""
    built = subject.build()
    before = built.copies()
    built.steps()
    built.model.reset()
    expect_same(built.parameters(), before, 1e-6, "parameters() after reset")


def check_reset_restores_statistics(subject: FrameworkSubject) -> None:
    """reset() brings the batch statistics back."""
    built = subject.build("batch_norm")
    before = built.copies()
    built.steps()
    built.model.reset()
    after = built.parameters()
    for name in sorted(before.keys() - built.trained()):
        expect_close(after[name], before[name], 1e-6, f"{name} after reset")


def check_reset_restores_the_optimizer(subject: FrameworkSubject) -> None:
    """After reset() the same steps give the same parameters: no momentum is left."""
    built = subject.build()
    built.steps()
    first = built.parameters()
    built.model.reset()
    # In case reset() leaves the parameters: only the optimizer is looked at here.
    built.model.load_parameters(built.loaded.weights)
    built.steps()
    expect_same(built.parameters(), first, REPEATED, "parameters() of the same steps after reset")


def check_reset_restores_the_random_state(subject: FrameworkSubject) -> None:
    """After reset() dropout drops the same elements again."""
    built = subject.build("dropout")
    built.model.reset()
    first = [built.forward() for _ in range(3)]
    built.model.reset()
    again = [built.forward() for _ in range(3)]
    expect_close(again, first, REPEATED, "losses under dropout after reset")


def check_reset_does_not_compile(subject: FrameworkSubject) -> None:
    """reset() causes no compilation, neither at once nor in the next steps."""
    built = subject.build()
    built.steps()
    before = built.model.compilations()
    built.model.reset()
    built.steps()
    expect(
        built.model.compilations() == before,
        f"compilations() went from {before} to {built.model.compilations()} by reset",
    )


def check_predict_agrees_with_the_reference(subject: FrameworkSubject) -> None:
    """predict returns the outputs `(batch, classes)` of the canonical weights."""
    built = subject.build()
    found = built.model.predict(built.staged[0])
    expect(np.shape(found) == (BATCH, CLASSES), f"predict has shape {np.shape(found)}")
    expect_close(found, built.reference().predict(0), subject.tolerance, "predict")


def check_predict_infers(subject: FrameworkSubject) -> None:
    """predict drops nothing, and normalises with the moving statistics."""
    checked = 0
    for case in ("dropout", "batch_norm"):
        try:
            built = subject.build(case)
        except NotApplicable:
            continue
        checked += 1
        found = built.model.predict(built.staged[0])
        expect_close(found, built.reference().predict(0), subject.tolerance, f"predict with {case}")
    if not checked:
        raise NotApplicable("neither dropout nor batch_norm is supported")


def check_predict_changes_nothing(subject: FrameworkSubject) -> None:
    """predict leaves parameters, statistics, optimizer and random state as they were."""
    for case in ("plain", "dropout", "batch_norm"):
        try:
            built = subject.build(case)
        except NotApplicable:
            continue
        built.steps()
        undisturbed = built.copies()
        built = subject.build(case)
        for batch in range(3):
            built.model.predict(built.staged[batch + 1])
            built.step(batch)
        expect_same(built.parameters(), undisturbed, REPEATED, f"parameters() with {case} and predict")


def check_save_and_restore(subject: FrameworkSubject) -> None:
    """What save wrote, restore brings back: parameters and optimizer state."""
    built = subject.build()
    built.steps()
    path = subject.folder / "saved"
    built.model.save(path)
    built.step(3)
    wanted = built.parameters()
    built.model.reset()
    built.model.restore(path)
    built.step(3)
    expect_same(built.parameters(), wanted, REPEATED, "parameters() a step after restore")


MODEL_CHECKS = (
    check_parameters_are_canonical,
    check_statistics_are_canonical,
    check_parameters_are_copies,
    check_loading_sets_parameters,
    check_loading_refuses_an_unknown_name,
    check_loading_refuses_a_wrong_shape,
    check_reset_restores_parameters,
    check_reset_restores_statistics,
    check_reset_restores_the_optimizer,
    check_reset_restores_the_random_state,
    check_reset_does_not_compile,
    check_predict_agrees_with_the_reference,
    check_predict_infers,
    check_predict_changes_nothing,
    check_save_and_restore,
)
