"""A program that calls itself float32 and rounds its products to TF32 is told: emulated on the cpu."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from fwprof.testing.judged import Judged
from fwprof.testing.sweep import AGREES
from fwprof_torch import plugin

MANTISSA = 10
linear, conv2d = functional.linear, functional.conv2d


def rounded(tensor):
    """Return a tensor with as many bits as TF32 has, rounded to nearest; of other types, as it is."""
    if tensor.dtype != torch.float32:
        return tensor
    cut = 23 - MANTISSA
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + (1 << (cut - 1))) & ~((1 << cut) - 1)).view(torch.float32)


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, bias):
        x, weight = rounded(x), rounded(weight)
        context.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        coarse = rounded(gradient)
        return coarse @ weight, coarse.T @ x, gradient.sum(0)


class Convolution(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, bias):
        x, weight = rounded(x), rounded(weight)
        context.save_for_backward(x, weight)
        return conv2d(x, weight, bias)

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        coarse = rounded(gradient)
        return (
            torch.nn.grad.conv2d_input(x.shape, weight, coarse),
            torch.nn.grad.conv2d_weight(x, weight.shape, coarse),
            gradient.sum((0, 2, 3)),
        )


@pytest.fixture
def tf32(monkeypatch):
    """Let torch compute as a card does that was allowed TF32."""
    monkeypatch.setattr(functional, "linear", Linear.apply)
    monkeypatch.setattr(functional, "conv2d", lambda x, weight, bias, *_: Convolution.apply(x, weight, bias))


def test_products_in_tf32_are_told_in_outputs_and_gradients(options, tmp_path, request):
    """On lenet, whose gradients may jump: it has ReLUs and maxima."""
    lenet = Judged.written("lenet", tmp_path / "inputs")

    def ask(precision):
        return lenet.ask(plugin, options(precision=precision, is_verification=True))

    exact, own = ask("float64"), ask("float32")
    assert all(np.isfinite(list(exact.sensitivity.values())))
    assert lenet.judge(own, exact=exact, reference=own).status == "equivalent"
    request.getfixturevalue("tf32")
    found = lenet.judge(ask("float32"), exact=exact, reference=own)
    assert found.first_difference == "the outputs in float32"
    wrong = [one for one in found.tensors if not one.passed]
    assert {"outputs", "loss", "gradient"} <= {one.kind for one in wrong}
    assert sum(one.kind == "gradient" for one in wrong) > len(exact.gradients) / 2
    assert max(one.function_error or 0 for one in wrong) < AGREES
