"""What every framework's programs must do: F, G, S, D, waiting and reading."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np

from fwprof.testing.conformance.cases import Reference
from fwprof.testing.conformance.framework_model import REPEATED
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import expect, expect_close, expect_same

WAIT_REPEATS = 5


def check_forward_gives_the_loss(subject: FrameworkSubject) -> None:
    """F's loss is the mean cross-entropy of the canonical weights, on every batch."""
    built, reference = _built_with_reference(subject)
    found = [built.forward(batch) for batch in range(len(built.staged))]
    wanted = [reference.loss(batch) for batch in range(len(built.staged))]
    expect_close(found, wanted, subject.tolerance, "the loss of F")


def check_forward_trains_nothing(subject: FrameworkSubject) -> None:
    """F leaves parameters and optimizer state as they were."""
    _expect_no_trace(subject, Built.forward, "F")


def check_gradients_agree_with_the_reference(subject: FrameworkSubject) -> None:
    """G's loss and every gradient are those of the canonical weights, in canonical layout."""
    built, reference = _built_with_reference(subject)
    loss, gradients = built.gradients()
    expect_close(loss, reference.loss(0), subject.tolerance, "the loss of G")
    wanted = reference.gradients(0)
    for name in sorted(gradients.keys() & wanted.keys()):
        expect_close(gradients[name], wanted[name], subject.tolerance, f"the gradient of {name}")


def check_sequences_agree_with_the_reference(subject: FrameworkSubject) -> None:
    """Ids, an LSTM and a yes or no: outputs, loss and every gradient, as they are timed."""
    built = subject.build("sequence")
    reference = built.reference()
    found = built.model.predict(built.staged[0])
    expect_close(found, reference.predict(0), subject.tolerance, "predict of a sequence")
    expect_close(built.forward(), reference.loss(0), subject.tolerance, "the loss of a sequence")
    gradients, wanted = built.gradients()[1], reference.gradients(0)
    for name in sorted(gradients.keys() & wanted.keys()):
        expect_close(gradients[name], wanted[name], subject.tolerance, f"a sequence's gradient of {name}")


def check_gradients_are_complete(subject: FrameworkSubject) -> None:
    """G returns a gradient for every trainable parameter, and for nothing else."""
    built = subject.build("batch_norm")
    _, gradients = built.gradients()
    missing, extra = built.trained() - gradients.keys(), gradients.keys() - built.trained()
    expect(not missing, f"G returns no gradient for {', '.join(sorted(missing))}")
    expect(not extra, f"G returns a gradient for {', '.join(sorted(extra))}")


def check_gradients_are_cleared(subject: FrameworkSubject) -> None:
    """G twice gives the same gradients: nothing accumulates."""
    built = subject.build()
    first = {name: np.array(value) for name, value in built.gradients()[1].items()}
    expect_same(built.gradients()[1], first, REPEATED, "the gradients of a second G")


def check_gradients_train_nothing(subject: FrameworkSubject) -> None:
    """G leaves parameters and optimizer state as they were."""
    _expect_no_trace(subject, lambda built, batch: built.gradients(batch)[0], "G")


def check_only_gradients_are_read(subject: FrameworkSubject) -> None:
    """read returns gradients after G and None after F and S."""
    built = subject.build()
    programs = built.programs
    for name, program in (("F", programs.forward), ("S", programs.run)):
        result = program(built.staged[0])
        programs.wait(result)
        expect(programs.read(result)[1] is None, f"read returns gradients after {name}")


def check_reading_changes_nothing(subject: FrameworkSubject) -> None:
    """read may be called again and gives the same."""
    built = subject.build()
    result = built.programs.forward_backward(built.staged[0])
    built.programs.wait(result)
    loss, gradients = built.programs.read(result)
    first = {name: np.array(value) for name, value in (gradients or {}).items()}
    again, gradients = built.programs.read(result)
    expect_close(again, loss, 0.0, "the loss read again")
    expect_same(gradients or {}, first, 0.0, "the gradients read again")


def check_step_gives_the_loss(subject: FrameworkSubject) -> None:
    """S's loss is that of the parameters before the update."""
    built, reference = _built_with_reference(subject)
    expect_close(built.step(), reference.step(0), subject.tolerance, "the loss of S")


def check_step_updates_as_the_optimizer_says(subject: FrameworkSubject) -> None:
    """Three S move the parameters as SGD with momentum does."""
    built, reference = _built_with_reference(subject)
    for batch in range(3):
        built.step(batch)
        reference.step(batch)
        wanted = reference.network.values
        expect_same(built.parameters(), wanted, subject.tolerance, f"parameters() after step {batch + 1}")


def check_step_moves_statistics(subject: FrameworkSubject) -> None:
    """S trains in training mode: it moves the batch statistics."""
    built = subject.build("batch_norm")
    built.step()
    after = built.parameters()
    for name in sorted(after.keys() - built.trained()):
        moved = not np.allclose(after[name], built.loaded.weights[name], rtol=1e-4)
        expect(moved, f"a training step leaves {name} as it was")


def check_wait_waits(subject: FrameworkSubject) -> None:
    """After wait, reading finds nothing left to wait for.

    Compared within one process, as the least of several: what was read right after wait against
    what is read once everything has settled. A lie costs at least half the step.
    """
    built = subject.build()
    built.steps()
    at_once_ns, settled_ns, whole_ns = [], [], []
    for _ in range(WAIT_REPEATS):
        begin_ns = time.perf_counter_ns()
        at_once_ns.append(_read_after_a_step(built, settle_ns=0))
        whole_ns.append(time.perf_counter_ns() - begin_ns)
        # Of a step of its own: what was read once, a framework may keep on the host.
        settled_ns.append(_read_after_a_step(built, settle_ns=2 * whole_ns[-1]))
    late_ns = min(at_once_ns) - max(settled_ns)
    expect(
        late_ns <= min(whole_ns) / 2,
        f"wait returned {late_ns / 1e6:.1f} ms before the work was done",
    )


def _read_after_a_step(built: Built, settle_ns: int) -> int:
    """Return how long loss and parameters take to be read, so long after `wait`."""
    result = built.programs.run(built.staged[0])
    built.programs.wait(result)
    time.sleep(settle_ns / 1e9)
    begin_ns = time.perf_counter_ns()
    built.programs.read(result)
    built.parameters()
    return time.perf_counter_ns() - begin_ns


def check_next_batch_is_ready_to_run(subject: FrameworkSubject) -> None:
    """D returns a batch of the workload, staged: F on it gives a known loss."""
    built, reference = _built_with_reference(subject)
    known = [reference.loss(batch) for batch in range(len(built.staged))]
    found = _forward_next(built)
    nearest = min(known, key=lambda loss: abs(loss - found) if math.isfinite(found) else 0.0)
    expect_close(found, nearest, subject.tolerance, "the loss of F on what D returned")


def check_next_batch_goes_on(subject: FrameworkSubject) -> None:
    """D does not return the same batch for ever, and does not end."""
    built = subject.build()
    count = 2 * len(built.staged) + 1
    losses: list[float] = []
    while len(losses) < count:
        try:
            losses.append(_forward_next(built))
        except StopIteration:
            expect(False, f"D ends after {len(losses)} batches")
    expect(max(losses) - min(losses) > 1e-6, "D returns the same batch every time")


def check_own_loops_train(subject: FrameworkSubject) -> None:
    """Each training loop of `api()` trains, and reset() undoes it; having none is fine."""
    built = subject.build()
    api = getattr(built.programs, "api", None)
    loops: Mapping[str, Callable[[int], None]] = api() if api is not None else {}
    start = built.copies()
    for name, loop in loops.items():
        loop(2)
        after = built.parameters()
        changed = any((after[key] != start[key]).any() for key in built.trained())
        expect(changed, f"two steps by api()[{name!r}] changed no parameter")
        built.model.reset()
        expect_same(built.parameters(), start, 1e-6, f"parameters() after {name} and reset")


def _built_with_reference(subject: FrameworkSubject) -> tuple[Built, Reference]:
    built = subject.build()
    return built, built.reference()


def _forward_next(built: Built) -> float:
    result = built.programs.forward(built.programs.next_batch())
    built.programs.wait(result)
    return built.programs.read(result)[0]


def _expect_no_trace(subject: FrameworkSubject, call: Callable[[Built, int], float], name: str) -> None:
    built = subject.build()
    built.steps()
    undisturbed = built.copies()
    built = subject.build()
    for batch in range(3):
        call(built, batch + 1)
        built.step(batch)
    expect_same(built.parameters(), undisturbed, REPEATED, f"parameters() of steps with {name} between")


PROGRAM_CHECKS = (
    check_forward_gives_the_loss,
    check_forward_trains_nothing,
    check_gradients_agree_with_the_reference,
    check_sequences_agree_with_the_reference,
    check_gradients_are_complete,
    check_gradients_are_cleared,
    check_gradients_train_nothing,
    check_only_gradients_are_read,
    check_reading_changes_nothing,
    check_step_gives_the_loss,
    check_step_updates_as_the_optimizer_says,
    check_step_moves_statistics,
    check_wait_waits,
    check_next_batch_is_ready_to_run,
    check_next_batch_goes_on,
    check_own_loops_train,
)
