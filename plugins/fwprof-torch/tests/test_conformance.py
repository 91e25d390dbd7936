"""The plugin against fwprof's own conformance suite, in both modes."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from fwprof.testing.conformance.suites import FrameworkConformance

pytestmark = pytest.mark.usefixtures("module_environment")


@contextmanager
def change_deterministic_algorithms():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(not before)
    try:
        yield "deterministic_algorithms", not before
    finally:
        torch.use_deterministic_algorithms(before)


def make_native():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters()),
        "loss": torch.nn.functional.cross_entropy,
        "batches": [(torch.randn(5, 6), torch.randint(0, 3, (5,))) for _ in range(8)],
    }


class TestEager(FrameworkConformance):
    plugin = "fwprof_torch.plugin"
    name = "torch"
    change_setting = staticmethod(change_deterministic_algorithms)
    native = staticmethod(make_native)


# torch's compiler still uses torch.jit inside, which torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
# It also looks at .grad of tensors between the two graphs that an LSTM breaks a model into.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
class TestCompile(FrameworkConformance):
    plugin = "fwprof_torch.plugin"
    name = "torch"
    variant = "compile"
    reuse = True
    change_setting = staticmethod(change_deterministic_algorithms)
    native = staticmethod(make_native)
