"""What every framework must say truthfully: settings, description, compilations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fwprof.testing.conformance import fresh_process
from fwprof.testing.conformance.cases import BATCH, load_case
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect

if TYPE_CHECKING:
    from fwprof.records import Scalar


def check_settings_are_read_back(subject: FrameworkSubject) -> None:
    """settings() follows the framework when a setting is changed behind the plugin's back."""
    if subject.change_setting is None:
        raise NotApplicable("change_setting was not given")
    built = subject.build()
    before = dict(built.model.settings())
    with subject.change_setting() as (name, value):
        after = dict(built.model.settings())
        expect(name in before, f"settings() has no {name!r}")
        expect(before[name] != value, f"change_setting set {name!r} to what it was: {value!r}")
        expect(
            after[name] == value,
            f"settings() echoes what was asked: {name!r} is {value!r}, reported {after[name]!r}",
        )


def check_settings_follow_the_threads_asked(subject: FrameworkSubject) -> None:
    """In fresh processes, one and two threads asked for give different settings."""
    if not subject.follows_threads:
        raise NotApplicable("the framework shows its threads in no setting")
    one, two = (_settings_of_a_fresh_process(subject, threads) for threads in (1, 2))
    expect(one != two, f"one or two threads asked for, settings() is the same: {one}")


def check_settings_are_scalars(subject: FrameworkSubject) -> None:
    """settings() holds names and values that JSON can hold, at least one."""
    settings = subject.build().model.settings()
    expect(bool(settings), "settings() is empty")
    for name, value in settings.items():
        is_scalar = value is None or isinstance(value, str | int | float | bool)
        expect(isinstance(name, str) and is_scalar, f"setting {name!r} is a {type(value).__name__}")


def check_description_is_complete(subject: FrameworkSubject) -> None:
    """describe() names mode, native device and versions."""
    description = subject.build().model.describe()
    expect(bool(description.mode), "describe() names no mode")
    expect(bool(description.native_device), "describe() names no native device")
    expect(bool(description.versions), "describe() names no version")


def check_description_counts(subject: FrameworkSubject) -> None:
    """describe() counts the trainable parameters, and the samples of a batch."""
    built = subject.build("batch_norm")
    wanted = sum(built.loaded.weights[name].size for name in built.trained())
    description = built.model.describe()
    count, size = description.parameter_count, description.batch_size
    expect(count == wanted, f"describe() counts {count} parameters, not {wanted}")
    expect(size == BATCH, f"describe() says batches of {size}, not {BATCH}")


def check_description_holds_the_settings(subject: FrameworkSubject) -> None:
    """describe() and settings() say the same."""
    model = subject.build().model
    described, settings = model.describe().settings, dict(model.settings())
    expect(described == settings, f"describe() says {described}, settings() {settings}")


def check_compilations_never_fall(subject: FrameworkSubject) -> None:
    """compilations() counts in this process, from build on, and never goes back."""
    built = subject.build()
    counts = [built.model.compilations()]
    for program in (built.forward, lambda: built.gradients(0), built.step, built.model.reset):
        program()
        counts.append(built.model.compilations())
    expect(counts == sorted(counts) and counts[0] >= 0, f"compilations() went {counts}")


def check_equal_steps_do_not_compile(subject: FrameworkSubject) -> None:
    """After its first calls, a program does not compile again for the same shapes."""
    built = subject.build()
    programs = (built.forward, lambda batch: built.gradients(batch)[0], built.step)
    for batch in range(3):
        for program in programs:
            program(batch)
    before = built.model.compilations()
    for batch in range(len(built.staged)):
        for program in programs:
            program(batch)
    after = built.model.compilations()
    expect(after == before, f"compilations() went from {before} to {after} over equal steps")


def _settings_of_a_fresh_process(subject: FrameworkSubject, threads: int) -> dict[str, Scalar]:
    if subject.entry_point is None:
        raise NotApplicable("the plugin was given as an object that a fresh process cannot import")
    folder = subject.folder / f"threads-{threads}"
    (folder / "cache").mkdir(parents=True)
    cell = subject.cell(load_case("plain"), threads=threads, value=subject.entry_point)
    fresh_process.run("settings", cell, folder, folder / "cache")
    settings: dict[str, Scalar] = msgspec.json.decode((folder / "settings.json").read_bytes())
    return settings


SETTINGS_CHECKS = (
    check_settings_are_read_back,
    check_settings_follow_the_threads_asked,
    check_settings_are_scalars,
    check_description_is_complete,
    check_description_counts,
    check_description_holds_the_settings,
    check_compilations_never_fall,
    check_equal_steps_do_not_compile,
)
