"""What only a card can show: placement, waiting, events, allocator, TF32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fwprof.plugin import Device, layers
from fwprof.testing.small import make_workload
from fwprof_torch import plugin
from fwprof_torch.modes import read_mode
from fwprof_torch.places import open_place
from fwprof_torch.settings import apply_preset

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card, or torch built without CUDA"),
]

CARD = Device(name="cuda:0", kind="cuda", native={"torch": "cuda:0"})
SPECS = (layers.Dense(units=64, activation="relu"), layers.Dropout(rate=0.2), layers.Dense(units=3))


@pytest.fixture
def on_card(build):
    workload = make_workload(SPECS, (8,), batch=16, optimizer=layers.Adam(learning_rate=0.01))
    model = build(workload, device=CARD)
    return workload, model, plugin.train_step(model=model)


def test_everything_lies_on_the_card(on_card):
    workload, model, programs = on_card
    assert all(part.device.type == "cuda" for part in model.stage(workload.batches[0]))
    assert all(part.device.type == "cuda" for part in programs.next_batch())
    assert model.describe().native_device == "cuda:0"
    assert {"torch", "cuda"} <= set(model.describe().versions)


def test_the_card_computes_what_the_cpu_computes(on_card, build):
    workload, model, programs = on_card
    host = build(workload)
    staged = model.stage(workload.batches[0])
    expected = host.predict(host.stage(workload.batches[0]))
    np.testing.assert_allclose(model.predict(staged), expected, rtol=1e-3, atol=1e-5)
    programs.wait(programs.run(staged))


def test_waiting_returns_only_when_the_work_is_done(on_card):
    _, _, programs = on_card
    matrix = torch.rand(4096, 4096, device="cuda:0")
    event = torch.cuda.Event()
    for _ in range(20):
        product = matrix @ matrix
    event.record()
    assert not event.query(), "the card was too fast for this test"
    programs.wait(product)
    assert event.query()


def test_split_is_timed_by_events(on_card):
    workload, model, programs = on_card
    split = programs.split(model.stage(workload.batches[0]))
    assert list(split) == ["forward", "backward", "optimizer"]
    assert all(length > 0 for length in split.values())
    assert type(programs.device_timer()).__name__ == "EventMarks"


def test_the_allocator_reports_its_peaks(on_card):
    workload, model, programs = on_card
    (meter,) = plugin.measure(model=model, device=CARD)
    meter.start()
    programs.run(model.stage(workload.batches[0]))
    readings = meter.stop()
    parameters = sum(p.numel() * 4 for p in model.module.parameters())
    assert readings["tensor_peak"].value >= parameters
    assert readings["torch.reserved_peak"].value >= readings["tensor_peak"].value


def test_reset_repeats_dropout_on_the_card(on_card):
    workload, model, programs = on_card
    staged = model.stage(workload.batches[0])
    model.reset()
    losses = [programs.read(programs.run(staged))[0] for _ in range(3)]
    model.reset()
    assert [programs.read(programs.run(staged))[0] for _ in range(3)] == pytest.approx(losses, rel=1e-5)


def test_running_out_of_memory_is_recognised():
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**45, dtype=torch.uint8, device="cuda:0")
    assert plugin.is_out_of_memory(error=caught.value)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
def test_tf32_is_set_and_read_back(on_card, make_cell, precision, allowed):
    _, model, _ = on_card
    cell = make_cell(device=CARD)
    assert read_mode(cell).name == "eager"
    apply_preset("equal", precision, open_place(CARD))
    assert model.settings()["matmul_allow_tf32"] is allowed
    assert model.settings()["cudnn_allow_tf32"] is allowed
