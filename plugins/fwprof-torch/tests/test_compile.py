"""torch.compile: the same numbers as eager, no compilation but the first, and none hidden."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from fwprof.plugin import LoadedWorkload, layers
from fwprof.testing.small import make_workload, train
from fwprof_torch import plugin

pytestmark = [
    pytest.mark.usefixtures("module_environment"),
    # torch's compiler still uses torch.jit inside, which torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning"),
]

SPECS = (layers.Dense(units=6, activation="relu"), layers.BatchNorm(), layers.Dense(units=3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory, module_environment):
    """One cache for the module, in which torch compiles its C++ headers once."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def compile_workload(make_cell, build, cache):
    """Build the small network compiled, in a process whose compiler starts from nothing."""

    def make(workload=None, **options):
        workload = workload or make_workload(SPECS, (4,), optimizer=layers.Adam(learning_rate=0.01))
        changes = {"variant": "compile", "options": {"cache": str(cache), **options}}
        torch.compiler.reset()
        plugin.prepare(plan=make_cell(**changes), cache=cache)
        model = build(workload, **changes)
        return workload, model, plugin.train_step(model=model)

    return make


def test_compiled_training_is_eager_training(compile_workload, build):
    workload, model, programs = compile_workload()
    eager = build(workload)
    eager_programs = plugin.train_step(model=eager)
    staged = model.stage(workload.batches[0])
    loss, gradients = programs.read(programs.forward_backward(staged))
    expected, wanted = eager_programs.read(eager_programs.forward_backward(staged))
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, value in wanted.items():
        np.testing.assert_allclose(gradients[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    model.reset()
    eager.reset()
    losses = train(model, programs, workload.batches, 5)
    assert losses == pytest.approx(train(eager, eager_programs, workload.batches, 5), rel=1e-4)
    for name, value in eager.parameters().items():
        np.testing.assert_allclose(model.parameters()[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    found = model.describe()
    assert found.mode == "compile"
    assert found.settings["jit"] is True
    assert found.settings["jit_optimizer"] is False
    assert found.settings["graph_breaks"] == 0
    assert any(Path(torch._inductor.codecache.cache_dir()).iterdir())


def test_the_loss_of_one_part_is_compiled_where_gradients_are_accumulated(compile_workload, build):
    workload = make_workload((layers.Dense(units=6), layers.Dense(units=3)), (4,), accumulate=2)
    _, model, programs = compile_workload(workload)
    eager = build(workload)
    losses = train(model, programs, workload.batches, 1)
    before = model.compilations()
    losses += train(model, programs, workload.batches[1:], 3)
    assert model.compilations() == before
    expected = train(eager, plugin.train_step(model=eager), workload.batches, 4)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_steps_resets_and_predictions_compile_nothing_more(compile_workload):
    workload, model, programs = compile_workload()
    train(model, programs, workload.batches, 1)
    before = model.compilations()
    assert before > 0
    for _ in range(2):
        model.reset()
        staged = model.stage(workload.batches[1])
        programs.forward(staged)
        programs.forward_backward(staged)
        model.predict(staged)
        train(model, programs, workload.batches, 2)
    assert model.compilations() == before


def test_a_batch_of_another_size_is_counted_as_a_compilation(compile_workload):
    workload, model, programs = compile_workload()
    train(model, programs, workload.batches, 1)
    before = model.compilations()
    batch = workload.batches[0]
    smaller = dataclasses.replace(batch, inputs=batch.inputs[:3], targets=batch.targets[:3])
    programs.run(model.stage(smaller))
    assert model.compilations() == before + 1


@pytest.mark.sweep  # the compiled optimizer alone takes torch about a minute
def test_a_compiled_optimizer_updates_alike_and_survives_a_reset(compile_workload, build):
    workload, model, programs = compile_workload(compile_optimizer=True)
    eager = build(workload)
    losses = train(model, programs, workload.batches, 4)
    assert losses == pytest.approx(
        train(eager, plugin.train_step(model=eager), workload.batches, 4), rel=1e-4
    )
    before = model.compilations()
    model.reset()
    assert train(model, programs, workload.batches, 4) == pytest.approx(losses, rel=1e-6)
    assert model.compilations() == before
    assert model.settings()["jit_optimizer"] is True


def test_a_cache_that_holds_compiled_code_is_labelled_warm(compile_workload):
    workload, model, programs = compile_workload()
    train(model, programs, workload.batches, 1)
    _, again, _ = compile_workload()
    assert "warm_cache" in again.describe().labels


# At a graph break torch looks at .grad of what is no leaf, and warns of itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_graph_break_is_counted(options, cache):
    class Breaking(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, inputs):
            outputs = self.layer(inputs)
            torch._dynamo.graph_break()
            return outputs * 2

    torch.compiler.reset()
    module = Breaking()
    native = {
        "model": module,
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1),
        "loss": torch.nn.functional.mse_loss,
        "batches": [(torch.ones(3, 2), torch.zeros(3, 2))],
    }
    made = options(variant="compile", options={"cache": str(cache)})
    workload = LoadedWorkload(name="own", native=native, batches=native["batches"])
    model = plugin.build_model(workload=workload, device=made.cell.device, options=made)
    programs = plugin.train_step(model=model)
    programs.run(model.stage(native["batches"][0]))
    assert model.describe().mode == "compile"
    assert model.describe().settings["graph_breaks"] >= 1
    assert msgspec.json.encode(model.describe())
