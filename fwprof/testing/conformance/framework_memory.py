"""What a framework must say of a step's memory, where it says what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from fwprof.metrics import METRICS
from fwprof.plugin import Reading
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect

CATEGORIES = ("parameter_memory", "gradient_memory", "optimizer_memory", "activation_memory")
ITEM = 4
"""Bytes of a float32."""
COUNTERS = 64
"""Bytes an array that an optimizer may keep besides its moments: counters, a learning rate."""


def check_memory_by_category_is_honest(subject: FrameworkSubject) -> None:
    """Each category of memory has a unit of bytes, and a value with its basis, or a reason."""
    found = _read(_require(subject, "plain"))
    missing = sorted(set(CATEGORIES) - set(found))
    expect(not missing, f"memory() says nothing of {', '.join(missing)}")
    for name, reading in found.items():
        expect(name in METRICS or "." in name, f"{name} is in no namespace: <plugin>.{name}")
        expect(reading.unit == "bytes", f"{name} is in {reading.unit!r}, not in bytes")
        if reading.value is None:
            expect(bool(reading.reason), f"{name} is null without a reason")
        else:
            expect(reading.value >= 0, f"{name} is {reading.value}")
            expect(bool(reading.basis), f"{name} does not say what was counted")


def check_parameters_and_gradients_take_their_shapes(subject: FrameworkSubject) -> None:
    """parameter_memory and gradient_memory are the canonical shapes times 4 bytes."""
    built = _require(subject, "plain")
    found, size = _read(built), _parameters(built)
    for name in CATEGORIES[:2]:
        value = found[name].value
        expect(value in (None, size), f"{name} is {value} bytes; the shapes of the parameters make {size}")


def check_adam_takes_two_moments(subject: FrameworkSubject) -> None:
    """optimizer_memory is twice the parameters under Adam, and some counters."""
    built = _require(subject, "image")
    value, size = _read(built)["optimizer_memory"].value, 2 * _parameters(built)
    allowed = COUNTERS * (2 + len(built.trained()))
    expect(
        value is None or size <= value <= size + allowed,
        f"optimizer_memory is {value} bytes under Adam; two moments make {size}",
    )


def check_reading_memory_changes_no_parameter(subject: FrameworkSubject) -> None:
    """After memory() the programs train as before: reset() brings the same losses."""
    built = _require(subject, "plain")
    wanted, control = _losses(built), _losses(built)
    if not _are_same(control, wanted):
        raise NotApplicable("reset() brings other losses without memory() too")
    built.model.reset()
    _read(built)
    again = _losses(built)
    expect(_are_same(again, wanted), f"losses after memory() are {again}, before {wanted}")


def _losses(built: Built) -> Sequence[float]:
    built.model.reset()
    return built.steps()


def _are_same(losses: Sequence[float], others: Sequence[float]) -> bool:
    apart = max(abs(a - b) for a, b in zip(losses, others, strict=True))
    return apart <= 1e-5 * max(map(abs, others))


def _require(subject: FrameworkSubject, case: str) -> Built:
    built = subject.build(case)
    if getattr(built.programs, "memory", None) is None:
        raise NotApplicable("the plugin does not tell memory by category")
    return built


def _read(built: Built) -> Mapping[str, Reading]:
    built.step()
    found: Mapping[str, Reading] = built.programs.memory(built.staged[0])  # type: ignore[attr-defined]  # optional
    return found


def _parameters(built: Built) -> int:
    return ITEM * sum(prod(shape) for layer in built.loaded.layers for shape in layer.parameters.values())


MEMORY_CHECKS = (
    check_memory_by_category_is_honest,
    check_parameters_and_gradients_take_their_shapes,
    check_adam_takes_two_moments,
    check_reading_memory_changes_no_parameter,
)
