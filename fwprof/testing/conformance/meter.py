"""What every meter must do, whichever plugin it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from fwprof.metrics import METRICS
from fwprof.plugin import Device, Meter, Reading
from fwprof.testing.conformance.subject import register, register_or_leave
from fwprof.testing.conformance.verdicts import expect

PASSES = frozenset({"timing", "memory", "energy"})


@dataclass
class MeterSubject:
    """A plugin whose meters are under test.

    Args:
        plugin: the plugin object or its entry point.
        name: as users type it.
        kind: `meter`, or `device` for the meters of a device plugin.
        device: the device whose resources are read.
    """

    plugin: object
    name: str
    kind: str = "meter"
    device: Device = field(default_factory=lambda: Device(name="cpu", kind="cpu"))

    @cached_property
    def hook(self) -> object:
        """The plugin's hooks."""
        return register_or_leave(self.plugin, self.kind, self.name).hook

    def meters(self) -> list[Meter]:
        """Return the plugin's meters."""
        lists = self.hook.measure(model=None, device=self.device)  # type: ignore[attr-defined]  # pluggy makes it
        return [meter for each in lists for meter in each or ()]


def expect_passes(meter: Meter) -> None:
    """Expect the meter to take part in at least one pass, and only in passes that exist."""
    unknown = sorted(set(meter.passes) - PASSES)
    expect(not unknown, f"{type(meter).__name__} names the unknown passes {', '.join(unknown)}")
    expect(bool(meter.passes), f"{type(meter).__name__} takes part in no pass")


def expect_honest_readings(meter: Meter) -> None:
    """Expect units, reasons and names as the contract has them, in one window."""
    for name, reading in _read_window(meter).items():
        expect(isinstance(reading, Reading), f"{name} is a {type(reading).__name__}, no Reading")
        expect(bool(reading.unit), f"{name} has no unit")
        has_reason = reading.value is not None or bool(reading.reason)
        expect(has_reason, f"{name} is null without a reason")
        expect(name in METRICS or "." in name, f"{name} is in no namespace: <plugin>.{name}")


def _read_window(meter: Meter) -> dict[str, Reading]:
    meter.start()
    meter.sample()
    return dict(meter.stop())


def check_hooks_keep_the_contract(subject: MeterSubject) -> None:
    """The plugin implements the hooks of its kind, with arguments that exist."""
    register(subject.plugin, subject.kind, subject.name)


def check_there_is_a_meter(subject: MeterSubject) -> None:
    """measure returns at least one meter: one that cannot read says so in its readings."""
    expect(bool(subject.meters()), "measure returned no meter")


def check_passes_are_known(subject: MeterSubject) -> None:
    """Each meter names passes that exist."""
    for meter in subject.meters():
        expect_passes(meter)


def check_readings_are_honest(subject: MeterSubject) -> None:
    """Each reading has a unit and a name of its own; one without a value has a reason."""
    for meter in subject.meters():
        expect_honest_readings(meter)


def check_windows_are_apart(subject: MeterSubject) -> None:
    """A second window reads the same names again, with samples of its own."""
    for meter in subject.meters():
        first, second = _read_window(meter), _read_window(meter)
        expect(
            first.keys() == second.keys(),
            f"a second window reads {sorted(second)}, the first {sorted(first)}",
        )
        for name in first:
            counts = len(first[name].samples), len(second[name].samples)
            # A sampler may miss one by timing; samples of the first window would double them.
            expect(counts[1] <= counts[0] + 1, f"{name} keeps samples of the window before")


METER_CHECKS = (
    check_hooks_keep_the_contract,
    check_there_is_a_meter,
    check_passes_are_known,
    check_readings_are_honest,
    check_windows_are_apart,
)
