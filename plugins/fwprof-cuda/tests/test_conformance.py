"""The conformance suites of devices and meters, on two cards of the stand-in and on none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import StandIn

SUITE = """
from fwprof.testing.conformance import DEVICE_CHECKS, METER_CHECKS, DeviceSubject, MeterSubject, run_checks

device = Device(name="cuda:1", kind="cuda", uuid={uuid!r})
suites = {{
    "device": run_checks(DEVICE_CHECKS, DeviceSubject(plugin, "cuda")),
    "meter": run_checks(METER_CHECKS, MeterSubject(plugin, "cuda", "device", device)),
}}
answer({{
    f"{{kind}}: {{outcome.check}}": [outcome.verdict, outcome.message]
    for kind, outcomes in suites.items()
    for outcome in outcomes
}})
"""


def verdicts(stand_in: StandIn, count: int) -> dict[str, tuple[str, str]]:
    outcomes = stand_in.run(SUITE.format(uuid=stand_in.uuid(1)), stand_in.machine(count))
    assert len(outcomes) > 10
    return {check: (verdict, message) for check, (verdict, message) in outcomes.items()}


def test_every_check_passes_where_cards_are(stand_in: StandIn) -> None:
    found = verdicts(stand_in, 2)
    assert {check: said for check, said in found.items() if said[0] != "passed"} == {}


def test_no_check_fails_where_no_card_is(stand_in: StandIn) -> None:
    found = verdicts(stand_in, 0)
    assert {verdict for verdict, _ in found.values()} == {"passed", "not applicable"}
    assert found["meter: readings_are_honest"][0] == "passed"
