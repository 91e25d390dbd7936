"""Peaks of data sheets: named for the card that NVML names, and for no other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fwprof_cuda.cards import PRECISIONS
from fwprof_cuda.datasheets import SHEETS, find_peaks

if TYPE_CHECKING:
    from conftest import StandIn

LIST = "answer(plugin.devices())"


def test_a_card_of_the_table_names_its_peaks_and_the_sheet(stand_in: StandIn) -> None:
    lines = stand_in.machine(1, {"0.name": "NVIDIA A100-SXM4-80GB"})
    (device,) = stand_in.run(LIST, lines)
    # As the sheet has them, dense.
    assert {name: peak["flops_per_s"] for name, peak in device["peaks"].items()} == {
        "float32": 19.5e12,
        "tf32": 156e12,
        "bfloat16": 312e12,
        "float16": 312e12,
    }
    assert {peak["source"] for peak in device["peaks"].values()} == {
        "NVIDIA A100 Tensor Core GPU datasheet, 2021"
    }
    assert device["no_peaks"] == ""


def test_a_card_that_is_not_in_the_table_says_so(stand_in: StandIn) -> None:
    (device,) = stand_in.run(LIST, stand_in.machine(1))
    assert (device["peaks"], device["no_peaks"]) == (
        {},
        "fwprof-cuda knows no datasheet of 'Fictive Card 80GB'",
    )


def test_an_instance_has_no_peak_even_of_a_card_in_the_table(stand_in: StandIn) -> None:
    named = {"0.name": "NVIDIA A100-SXM4-80GB", "0.0.name": "NVIDIA A100-SXM4-80GB MIG 1g.10gb"}
    lines = stand_in.machine(1, stand_in.instances(0, 1) | named)
    (device,) = stand_in.run(LIST, lines)
    assert device["peaks"] == {}
    assert re.search("an instance has a part of its card's arithmetic", device["no_peaks"])


def test_names_are_looked_up_whole() -> None:
    assert (
        find_peaks("NVIDIA A10", is_instance=False)[0]
        != find_peaks("NVIDIA A100-SXM4-40GB", is_instance=False)[0]
    )
    for name in ("NVIDIA A10G", "NVIDIA H100 NVL", "NVIDIA L40", "A1", ""):
        assert find_peaks(name, is_instance=False) == ({}, f"fwprof-cuda knows no datasheet of {name!r}")


def test_an_older_driver_leaves_out_the_maker() -> None:
    assert find_peaks("A100-SXM4-40GB", is_instance=False) == find_peaks(
        "NVIDIA A100-SXM4-40GB", is_instance=False
    )


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_is_of_formats_that_are_and_rises_as_they_narrow(name: str) -> None:
    peaks = SHEETS[name]
    rates = [peaks[precision].flops_per_s for precision in PRECISIONS if precision in peaks]
    assert set(peaks) <= set(PRECISIONS)
    assert rates == sorted(rates)
    assert rates[0] > 1e12
    # 16 bits are twice the TF32 of the same card, and bfloat16 is as fast as float16.
    if "tf32" in peaks:
        assert peaks["bfloat16"].flops_per_s == pytest.approx(2 * peaks["tf32"].flops_per_s, rel=0.03)
        assert peaks["bfloat16"] == peaks["float16"]
    assert all(re.search(r"NVIDIA .*(datasheet|whitepaper).*20\d\d", peak.source) for peak in peaks.values())
