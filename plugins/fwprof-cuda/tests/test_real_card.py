"""What only a real card can show. README.md lists it as unverified until these have run on one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest

from fwprof.plugin import Device, PluginUnavailableError, Reading
from fwprof_cuda import plugin

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def cards() -> Sequence[Device]:
    """Return the cards of this machine."""
    try:
        return plugin.devices()
    except PluginUnavailableError as error:
        pytest.skip(f"needs a CUDA card: {error.what}; {error.cause}")


@pytest.fixture
def readings(cards: Sequence[Device]) -> dict[str, Reading]:
    """Return what all meters read over three samples of the first card."""
    found: dict[str, Reading] = {}
    for meter in plugin.measure(cards[0]):
        meter.start()
        for _ in range(3):
            meter.sample()
        found |= meter.stop()
    return found


def test_every_card_has_a_name_a_uuid_and_memory(cards: Sequence[Device]) -> None:
    for card in cards:
        assert re.fullmatch(r"cuda:\d+", card.name)
        assert re.match("GPU-", card.uuid)
        assert card.memory_bytes is not None
        assert card.memory_bytes > 2**30


def test_the_driver_and_the_compute_capability_are_told(cards: Sequence[Device]) -> None:
    for card in cards:
        assert re.match(r"\d+\.\d+", str(card.capabilities["driver"]))
        assert re.fullmatch(r"\d+\.\d+", str(card.capabilities["compute_capability"]))


def test_every_reading_has_a_value_or_a_reason(readings: dict[str, Reading]) -> None:
    for name, reading in readings.items():
        assert (reading.value is None) == bool(reading.reason), name


def test_readings_are_of_a_plausible_size(readings: dict[str, Reading]) -> None:
    limits = {
        "cuda.card_memory": (0, 2**40),
        "utilisation": (0, 100),
        "power": (1_000, 2_000_000),
        "temperature": (5, 120),
        "cuda.sm_clock": (50, 5_000),
    }
    for name, (low, high) in limits.items():
        value = readings[name].value
        assert value is None or low <= value <= high, name


@pytest.fixture
def torch_on_card(cards: Sequence[Device]) -> Device:
    """Return the card that torch sees first in this process."""
    torch = pytest.importorskip("torch", reason="torch makes the work for the card")
    if not torch.cuda.is_available():
        pytest.skip("the torch that is installed cannot use CUDA")
    torch.ones(1, device="cuda:0")
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    return next(card for card in cards if card.uuid == uuid)


def test_memory_that_this_process_takes_is_seen(torch_on_card: Device) -> None:
    import torch

    memory, _ = plugin.measure(torch_on_card)
    memory.start()
    held = torch.ones(2**28, dtype=torch.uint8, device="cuda:0")
    torch.cuda.synchronize()
    readings = memory.stop()
    samples = [value for _, value in readings["cuda.card_memory"].samples]
    assert samples[-1] - samples[0] >= held.numel() * 0.9
    own = readings["device_process_memory"]
    assert own.reason or (own.value or 0) >= held.numel()


def test_work_costs_energy(torch_on_card: Device) -> None:
    import torch

    _, activity = plugin.measure(torch_on_card)
    matrix = torch.ones((4096, 4096), device="cuda:0")
    activity.start()
    for _ in range(200):
        product = matrix @ matrix
    torch.cuda.synchronize()
    energy = activity.stop()["energy_window"]
    assert product.isfinite().all()
    assert energy.reason or (energy.value or 0) > 0


def test_a_worker_s_environment_shows_it_exactly_its_card(torch_on_card: Device) -> None:
    import subprocess
    import sys

    code = "import torch; print(torch.cuda.device_count(), torch.cuda.get_device_properties(0).uuid)"
    environment = {**os.environ, **torch_on_card.environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", torch_on_card.uuid.removeprefix("GPU-")]
