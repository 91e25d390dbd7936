"""The user's own models: a plain nn.Module, and a small BERT with its own loss."""

from __future__ import annotations

import runpy
from collections import namedtuple
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fwprof.plugin import LoadedWorkload, RequestError
from fwprof.testing.small import train
from fwprof_torch import plugin


def make_parts(optimizer=torch.optim.Adam, seed=3, **arguments):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(5, 6), torch.randint(0, 3, (5,))) for _ in range(8)]
    return {
        "model": model,
        "optimizer": optimizer(model.parameters(), lr=0.01, **arguments),
        "loss": nn.functional.cross_entropy,
        "batches": batches,
    }


@pytest.fixture
def take_over(options):
    def make(native, batches=None, **changes):
        drawn = native["batches"] if batches is None else batches
        made = options(**changes)
        workload = LoadedWorkload(name="own", native=native, batches=drawn)
        model = plugin.build_model(workload=workload, device=made.cell.device, options=made)
        return model, plugin.train_step(model=model)

    return make


def test_a_step_is_the_one_the_user_would_write(take_over):
    native, same = make_parts(), make_parts()
    model, programs = take_over(native)
    torch.manual_seed(1)
    found = train(model, programs, native["batches"])
    torch.manual_seed(1)
    expected = []
    for inputs, targets in same["batches"][:4]:
        same["optimizer"].zero_grad()
        loss = same["loss"](same["model"](inputs), targets)
        loss.backward()
        same["optimizer"].step()
        expected.append(loss.item())
    assert found == expected


def test_parameters_and_gradients_have_the_models_own_names_and_shapes(take_over):
    native = make_parts()
    native["model"][0].bias.requires_grad_(False)
    model, programs = take_over(native)
    names = {"0.weight", "1.weight", "1.bias", "4.weight", "4.bias"}
    assert set(model.parameters()) == names | {"1.running_mean", "1.running_var"}
    _, gradients = programs.read(programs.forward_backward(model.stage(native["batches"][0])))
    assert set(gradients) == names
    np.testing.assert_array_equal(gradients["4.weight"], native["model"][4].weight.grad.numpy())
    assert model.describe().parameter_count == 6 * 8 + 8 + 8 + 8 + 8 * 3 + 3
    assert model.describe().batch_size == 5


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        (torch.optim.Adam, {}),
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
        (torch.optim.NAdam, {}),
        (torch.optim.Adagrad, {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_reset_repeats_the_same_training_bit_by_bit(take_over, optimizer, arguments):
    native = make_parts(optimizer, **arguments)
    model, programs = take_over(native)
    start = model.parameters()
    model.reset()
    losses = train(model, programs, native["batches"])
    model.reset()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, start[name])
    assert int(native["model"][1].num_batches_tracked) == 0
    assert train(model, programs, native["batches"]) == losses


def test_reset_brings_back_an_optimizer_that_was_in_the_middle_of_training(take_over):
    native = make_parts()
    for inputs, targets in native["batches"][:2]:
        nn.functional.cross_entropy(native["model"](inputs), targets).backward()
        native["optimizer"].step()
    model, programs = take_over(native)
    model.reset()
    losses = train(model, programs, native["batches"])
    native["optimizer"].param_groups[0]["lr"] = 9.0
    model.reset()
    assert native["optimizer"].param_groups[0]["lr"] == 0.01
    assert train(model, programs, native["batches"]) == losses
    steps = {int(state["step"]) for state in native["optimizer"].state.values()}
    assert steps == {2 + 4}


def test_the_pipeline_is_the_users_own_and_begins_again(take_over):
    native = make_parts()
    batches = native["batches"]
    native["batches"] = batches[:2]
    _, programs = take_over(native)
    found = [programs.next_batch()[0] for _ in range(3)]
    for tensor, index in zip(found, (0, 1, 0), strict=True):
        assert torch.equal(tensor, batches[index][0])


@pytest.mark.parametrize(
    "source",
    [
        lambda batches: lambda: iter(batches),
        lambda batches: iter(batches[:1]),
        lambda batches: lambda: batches[0],
    ],
    ids=["function of an iterator", "iterator used up", "function of one batch"],
)
def test_batches_may_be_an_iterable_or_a_function(take_over, source):
    native = make_parts()
    batches = native["batches"]
    native["batches"] = source(batches)
    _, programs = take_over(native, batches)
    assert torch.equal(programs.next_batch()[0], batches[0][0])
    assert programs.next_batch()[0].shape == (5, 6)


def test_numpy_batches_and_several_inputs_are_staged(take_over):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, left, right):
            return self.layer(left) + self.layer(right)

    model = Sum()
    data = np.ones((4, 2), np.float32)
    native = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss": nn.functional.cross_entropy,
        "batches": [([data, data], np.zeros(4, np.int64))],
    }
    taken, programs = take_over(native)
    staged = taken.stage(native["batches"][0])
    assert np.isfinite(programs.read(programs.run(staged))[0])
    assert taken.predict(staged).shape == (4, 3)
    assert taken.describe().batch_size == 4


def test_a_saved_model_is_restored(take_over, tmp_path):
    native = make_parts()
    model, programs = take_over(native)
    train(model, programs, native["batches"])
    trained = model.parameters()
    model.save(tmp_path / "saved")
    model.reset()
    model.restore(tmp_path / "saved")
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, trained[name])


Output = namedtuple("Output", ["logits", "loss"])


class WithOwnLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x, labels=None):
        logits = self.layer(x)
        return Output(logits, None if labels is None else nn.functional.cross_entropy(logits, labels))


def make_own_loss(**changes):
    model = WithOwnLoss()
    batch = {"x": torch.ones(4, 2), "labels": torch.zeros(4, dtype=torch.int64)}
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": [batch],
    } | changes


def test_a_model_that_returns_its_own_loss_needs_none(take_over):
    native = make_own_loss()
    model, programs = take_over(native)
    staged = model.stage(native["batches"][0])
    losses = [programs.read(programs.run(staged))[0] for _ in range(3)]
    assert losses == sorted(losses, reverse=True)
    assert model.predict(staged).shape == (4, 3)


def test_a_model_that_returns_no_loss_is_told_so_at_the_first_step(take_over):
    native = make_own_loss(batches=[{"x": torch.ones(4, 2)}])
    model, programs = take_over(native)
    with pytest.raises(RequestError, match="the model returned no loss") as caught:
        programs.run(model.stage(native["batches"][0]))
    assert "put the labels into the batch" in caught.value.next


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda native: native.pop("model"), "dict has no 'model'"),
        (lambda native: native.pop("optimizer"), "dict has no 'optimizer'"),
        (lambda native: native.pop("loss"), "dict has no 'loss'"),
        (lambda native: native.update(optimiser=1), "unknown key 'optimiser'"),
        (lambda native: native.update(model="bert"), r"'model' is not a torch\.nn\.Module"),
        (lambda native: native.update(optimizer="adam"), r"'optimizer' is not a torch\.optim\.Optimizer"),
        (lambda native: native.update(batches=3), "'batches' is not an iterable or a callable"),
        (lambda native: native.update(loss=3), "'loss' is not a callable"),
        (
            lambda native: native.update(optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1)),
            "'optimizer' holds no parameter of its 'model'",
        ),
    ],
)
def test_a_wrong_dict_is_refused_with_key_expectation_and_next_step(take_over, change, words):
    native = make_parts()
    batches = native["batches"]
    change(native)
    with pytest.raises(RequestError, match=words) as caught:
        take_over(native, batches)
    assert caught.value.next
    assert all(len(line) <= 100 for line in caught.value.lines()), caught.value.lines()


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "gave no batch"),
        ([torch.ones(3)], "something else than a batch"),
        ([(1, 2, 3)], "something else than a batch"),
        ([{"x": torch.ones(2, 6)}], "'loss' has no targets"),
    ],
)
def test_a_wrong_batch_is_refused(take_over, batches, words):
    with pytest.raises(RequestError, match=words) as caught:
        take_over(make_parts(), batches)
    assert all(len(line) <= 100 for line in caught.value.lines())


def test_a_factory_that_returns_no_dict_is_refused(take_over):
    with pytest.raises(RequestError, match="must return a dict") as caught:
        take_over([1], batches=[1])
    assert caught.value.cause == "it returned a list"


# torch's compiler still uses torch.jit inside, which torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning")
def test_a_model_the_user_compiled_is_described_as_compiled(take_over):
    native = make_parts()
    native["model"].compile()
    model, _ = take_over(native)
    assert model.describe().mode == "compile"
    assert model.settings()["jit"] is True


class TestBert:
    """A randomly initialised BERT of a few thousand parameters; nothing is downloaded."""

    @pytest.fixture
    def native(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=12,
            num_labels=3,
        )
        model = transformers.BertForSequenceClassification(config)
        batch = {
            "input_ids": torch.randint(0, 50, (4, 10)),
            "attention_mask": torch.ones(4, 10, dtype=torch.int64),
            "labels": torch.randint(0, 3, (4,)),
        }
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        return {"model": model, "optimizer": optimizer, "batches": [batch] * 8}

    def test_it_trains_by_its_own_loss_and_starts_over(self, take_over, native):
        model, programs = take_over(native)
        model.reset()
        losses = train(model, programs, native["batches"], 6)
        assert losses[-1] < losses[0]
        model.reset()
        assert train(model, programs, native["batches"], 6) == losses

    def test_gradients_prediction_and_description(self, take_over, native):
        model, programs = take_over(native)
        staged = model.stage(native["batches"][0])
        loss, gradients = programs.read(programs.forward_backward(staged))
        assert np.isfinite(loss)
        assert set(gradients) == {name for name, _ in native["model"].named_parameters()}
        assert model.predict(staged).shape == (4, 3)
        found = model.describe()
        assert found.batch_size == 4
        assert found.parameter_count == sum(p.numel() for p in native["model"].parameters())


EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", ["own_model", "bert_tiny"])
def test_an_example_trains_and_needs_no_fwprof(take_over, monkeypatch, name):
    if name == "bert_tiny":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        pytest.importorskip("transformers", reason="transformers is not installed")
    file = EXAMPLES / f"{name}.py"
    assert "import fwprof" not in file.read_text()
    native = runpy.run_path(str(file))["make"]()
    model, programs = take_over(native, list(islice(native["batches"], 8)))
    staged = programs.next_batch()
    losses = [programs.read(programs.run(staged))[0] for _ in range(5)]
    assert losses[-1] < losses[0]
    assert model.predict(staged).ndim == 2
