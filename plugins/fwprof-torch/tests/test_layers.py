"""Layers alone: one into the next they are the model; compiled, each has code of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fwprof.plugin import UnsupportedError, layers
from fwprof.testing.layered import chain_layers, images, words
from fwprof.testing.small import make_workload
from fwprof_torch import plugin

pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.mark.parametrize("make", [images, words])
def test_layers_one_into_the_next_give_what_the_model_gives(build, make):
    loaded = make()
    model = build(loaded)
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=1e-4, atol=1e-5)
    assert model.fused_by == ""


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_layers_take_what_flows_there(options, precision):
    loaded, made = words(), options(precision=precision)
    model = plugin.build_model(workload=loaded, device=made.cell.device, options=made)
    outputs = model.predict(model.stage(loaded.batches[0]))
    np.testing.assert_allclose(chain_layers(model, loaded), outputs, rtol=0.1, atol=0.05)


def test_an_lstm_in_a_format_that_torch_has_none_in_is_refused_before_it_is_built(options, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("could not create a primitive descriptor. Run with ONEDNN_VERBOSE")

    stack = (layers.Embedding(vocabulary=11, units=6), layers.Lstm(units=5), layers.Dense(units=2))
    loaded, made = make_workload(stack, (7,), classes=2, vocabulary=11), options(precision="float16")
    monkeypatch.setattr(torch, "lstm", refuse)
    with pytest.raises(UnsupportedError, match="torch has no LSTM in float16 on this cpu") as caught:
        plugin.build_model(workload=loaded, device=made.cell.device, options=made)
    assert caught.value.cause == "could not create a primitive descriptor"
