"""What every format of a framework's checkpoints must do: hold what it says, and disturb nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import get_args

from fwprof.contracts import Format
from fwprof.execution.checkpoints import formats_of
from fwprof.plugin import UnsupportedError
from fwprof.records import CheckpointPart
from fwprof.testing.conformance.framework_model import REPEATED
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect, expect_close, expect_same

PARTS: tuple[CheckpointPart, ...] = get_args(CheckpointPart)
STEPS = 3
ELSEWHERE = 7
"""A batch that no step before the save takes."""


def check_formats_say_what_they_hold(subject: FrameworkSubject) -> None:
    """Each format names parts that training moves, the parameters among them, or refuses to save."""
    built = subject.build()
    for name, one in formats_of(built.model).items():
        unknown = sorted(set(one.holds) - set(PARTS))
        expect(not unknown, f"format {name} holds {', '.join(unknown)}; parts are {', '.join(PARTS)}")
        if "parameters" not in one.holds:
            expect(_save(subject, one) is None, f"format {name} was saved and holds no parameters")


def check_formats_bring_parameters_back(subject: FrameworkSubject) -> None:
    """After a restore parameters() are those of the save."""
    built = subject.build()
    for name, one, path in _saved(subject, built, "parameters"):
        wanted = built.copies()
        _leave(built)
        one.restore(path)
        expect_same(built.parameters(), wanted, 1e-6, f"parameters() after {name} was restored")


def check_formats_bring_statistics_back(subject: FrameworkSubject) -> None:
    """After a restore the batch statistics are those of the save."""
    built = subject.build("batch_norm")
    for name, one, path in _saved(subject, built, "statistics"):
        wanted = built.copies()
        _leave(built)
        one.restore(path)
        found = built.parameters()
        for each in sorted(wanted.keys() - built.trained()):
            expect_close(found[each], wanted[each], 1e-6, f"{each} after {name} was restored")


def check_formats_bring_the_optimizer_back(subject: FrameworkSubject) -> None:
    """After a restore the next step is the one that would have come: with its momentum."""
    built = subject.build()
    for name, one, path in _saved(subject, built, "optimizer"):
        built.step(STEPS)
        wanted = built.copies()
        _leave(built)
        one.restore(path)
        built.step(STEPS)
        expect_same(built.parameters(), wanted, REPEATED, f"parameters() a step after {name} was restored")


def check_formats_bring_the_random_state_back(subject: FrameworkSubject) -> None:
    """After a restore dropout drops what it would have dropped."""
    built = subject.build("dropout")
    for name, one, path in _saved(subject, built, "random_state"):
        wanted = [built.step(batch) for batch in range(STEPS, ELSEWHERE)]
        _leave(built)
        one.restore(path)
        found = [built.step(batch) for batch in range(STEPS, ELSEWHERE)]
        expect_close(found, wanted, REPEATED, f"losses under dropout after {name} was restored")


def check_saving_leaves_training_alone(subject: FrameworkSubject) -> None:
    """Steps with a save between them are the steps without it, dropout included."""
    for case in ("plain", "dropout"):
        try:
            built = subject.build(case)
        except NotApplicable:
            continue
        wanted = built.steps(2 * STEPS)
        for name, one in formats_of(built.model).items():
            built.model.reset()
            losses = built.steps()
            if _save(subject, one) is None:
                continue
            losses += [built.step(batch) for batch in range(STEPS, 2 * STEPS)]
            expect_close(losses, wanted, REPEATED, f"losses with {case} around a save of {name}")


def check_a_checkpoint_is_in_its_files(subject: FrameworkSubject) -> None:
    """Another model, built anew, goes on from what was saved."""
    built = subject.build()
    for name, _, path in _saved(subject, built, "parameters"):
        wanted = built.copies()
        other = subject.build_prepared(built.loaded, subject.cell(built.loaded))
        other.step(ELSEWHERE)
        formats_of(other.model)[name].restore(path)
        expect_same(other.parameters(), wanted, 1e-6, f"a new model's parameters() after {name} was restored")


def _saved(
    subject: FrameworkSubject, built: Built, part: CheckpointPart
) -> Iterator[tuple[str, Format, Path]]:
    """Yield each format that holds the part, saved after three steps from the start.

    Raises:
        NotApplicable: there is none, or none that this mode has.
    """
    count = 0
    for name, one in formats_of(built.model).items():
        if part not in one.holds:
            continue
        built.model.reset()
        built.steps(STEPS)
        path = _save(subject, one)
        if path is not None:
            count += 1
            yield name, one, path
    if not count:
        raise NotApplicable(f"no format holds {part.replace('_', ' ')}")


def _save(subject: FrameworkSubject, one: Format) -> Path | None:
    """Save to an empty folder and return the path; None where the mode has no such format."""
    path = Path(mkdtemp(prefix="checkpoint-", dir=subject.folder)) / "model"
    try:
        one.save(path)
    except UnsupportedError:
        return None
    return path


def _leave(built: Built) -> None:
    """Bring the model to another state: other parameters, statistics, momentum and random numbers."""
    built.model.reset()
    built.step(ELSEWHERE)


FORMAT_CHECKS = (
    check_formats_say_what_they_hold,
    check_formats_bring_parameters_back,
    check_formats_bring_statistics_back,
    check_formats_bring_the_optimizer_back,
    check_formats_bring_the_random_state_back,
    check_saving_leaves_training_alone,
    check_a_checkpoint_is_in_its_files,
)
