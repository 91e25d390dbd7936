"""What a step's memory is made of, against bytes counted by hand."""

from __future__ import annotations

import pytest
import torch

from fwprof.plugin import LoadedWorkload, layers
from fwprof.testing.small import make_workload
from fwprof_torch import plugin

FEATURES, UNITS, CLASSES, BATCH = 30, 20, 6, 8
PARAMETERS = 4 * (FEATURES * UNITS + UNITS + UNITS * CLASSES + CLASSES)
COUNTERS = 4 * 4
"""Adam counts the steps of each of the four parameters by itself, in a float32."""
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
KEPT = 4 * (BATCH * UNITS + BATCH * CLASSES + 2)
"""The hidden layer after its activation, the logarithms of the classes' shares, the loss and its weight."""


def perceptron(**changes):
    stack = (layers.Dense(units=UNITS, activation="relu"), layers.Dense(units=CLASSES))
    return make_workload(
        stack, (FEATURES,), classes=CLASSES, batch=BATCH, optimizer=layers.Adam(learning_rate=1e-3), **changes
    )


def read(model, batch):
    programs = plugin.train_step(model=model)
    staged = model.stage(batch)
    programs.wait(programs.run(staged))
    return programs.memory(staged)


@pytest.mark.parametrize("variant", ["eager", "compile"])
def test_categories_of_a_perceptron_are_those_counted_by_hand(build, variant):
    workload = perceptron()
    found = read(build(workload, variant=variant), workload.batches[0])
    assert found["parameter_memory"].value == PARAMETERS
    assert found["gradient_memory"].value == PARAMETERS
    assert found["optimizer_memory"].value == 2 * PARAMETERS + COUNTERS
    assert found["activation_memory"].value >= KEPT
    if variant == "eager":
        assert found["activation_memory"].value == KEPT


def test_the_peak_of_a_step_on_the_host_holds_all_categories(build):
    workload = perceptron()
    found = read(build(workload), workload.batches[0])
    batch = workload.batches[0].inputs.nbytes + workload.batches[0].targets.nbytes
    held = 2 * PARAMETERS + 2 * PARAMETERS + COUNTERS + batch
    peak = found["tensor_peak"]
    # The update makes temporaries of one parameter at a time, the passes keep their activations.
    assert held < peak.value <= held + 2 * 4 * FEATURES * UNITS + KEPT
    assert "torch's profiler" in peak.basis


def test_what_a_larger_batch_keeps_grows_with_it(build):
    workload = perceptron()
    twice = perceptron()
    model = build(workload)
    one = read(model, workload.batches[0])["activation_memory"].value
    joined = type(workload.batches[0])(
        *(
            torch.tensor(a).repeat_interleave(2, 0).numpy()
            for a in (twice.batches[0].inputs, twice.batches[0].targets)
        )
    )
    two = read(model, joined)["activation_memory"].value
    assert two - one == KEPT - 8


def test_of_a_batch_in_parts_the_activations_of_one_are_kept(build):
    whole = perceptron()
    model = build(perceptron(accumulate=2))
    found = read(model, whole.batches[0])["activation_memory"]
    assert found.value == 4 * (BATCH // 2 * (UNITS + CLASSES) + 2)
    assert "of one part" in found.basis


def test_a_model_of_the_users_own_is_counted_too(options):
    module = torch.nn.Linear(FEATURES, CLASSES)
    inputs, targets = torch.zeros(BATCH, FEATURES), torch.zeros(BATCH, dtype=torch.int64)
    native = {
        "model": module,
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        "loss": torch.nn.CrossEntropyLoss(),
        "batches": [(inputs, targets)],
    }
    workload = LoadedWorkload(name="mine", batches=[(inputs, targets)], native=native)
    made = options()
    model = plugin.build_model(workload=workload, device=made.cell.device, options=made)
    found = read(model, (inputs, targets))
    size = 4 * (FEATURES * CLASSES + CLASSES)
    names = ("parameter_memory", "gradient_memory", "optimizer_memory")
    assert [found[name].value for name in names] == [size] * 3
