"""The checks by definition pass on the honest fake, and fail on one that does one thing wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fwprof.plugin import Batch, Options, UnsupportedError, layers
from fwprof.testing.checks import (
    LAYER_CASES,
    OPTIMIZERS,
    STATISTICS_CASES,
    check_network,
    check_optimizer,
    check_statistics,
)
from fwprof.testing.conformance import ConformanceError
from fwprof.testing.conformance.cases import load_case
from fwprof.testing.definitions import loss_of, outputs_of
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms, Outcome
from fwprof.testing.numpy_network import Network, Update
from fwprof.testing.samples import sample_cell
from fwprof.testing.small import make_workload, train

IDS = partial(
    make_workload,
    (
        layers.Embedding(vocabulary=9, units=4),
        layers.Flatten(),
        layers.Dropout(rate=0.5),
        layers.Activation(function="sigmoid"),
        layers.Dense(units=3),
    ),
    (5,),
    vocabulary=9,
)
SUPPORTED = {
    **{
        name: LAYER_CASES[name]
        for name in (
            "dense",
            "batch norm over features",
            "lstm",
            "yes or no",
            "numbers to predict",
            "gradients accumulated",
        )
    },
    "ids": IDS,
}
"""What the fake framework has layers for."""


@pytest.fixture
def build(tmp_path):
    def make(workload, **classes):
        """Return the arguments of a check."""
        framework, cell = FakeFramework(**classes), sample_cell(precision="float64", is_verification=True)
        model = framework.build_model(workload, cell.device, Options(cell=cell, cache=tmp_path))
        return workload, model, framework.train_step(model)

    return make


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_fake_network_is_the_one_of_the_definitions(build, name):
    check_network(*build(SUPPORTED[name]()))


@pytest.mark.parametrize("name", [name for name in LAYER_CASES if name not in SUPPORTED])
def test_every_other_case_is_one_that_the_fake_refuses(build, name):
    with pytest.raises(UnsupportedError):
        build(LAYER_CASES[name]())


def test_every_kind_of_layer_has_a_case():
    def kinds(specs):
        inner = (kinds(getattr(spec, "layers", ())) for spec in specs)
        return {type(spec) for spec in specs}.union(*inner)

    found = set().union(*(kinds(make().spec.layers) for make in LAYER_CASES.values()))
    assert found == set(layers.Layer.__args__) - {layers.Repeat}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_fake_optimizers_are_those_of_the_definitions(build, name):
    check_optimizer(*build(SUPPORTED["dense"](optimizer=OPTIMIZERS[name])), tolerance=1e-12)


@pytest.mark.parametrize("name", STATISTICS_CASES)
def test_the_fake_statistics_are_those_of_the_definitions(build, name):
    check_statistics(*build(STATISTICS_CASES[name]()))


MUTANTS = []
"""A class that does one thing wrong, and what the check of a network says of it."""


def fails(message, name="dense"):
    def note(cls):
        MUTANTS.append(pytest.param(cls, SUPPORTED[name], message, id=cls.__name__))
        return cls

    return note


@fails("parameters() lacks 1.kernel")
class HidesAParameter(FakeModel):
    def parameters(self):
        return {name: value for name, value in super().parameters().items() if name != "1.kernel"}


@fails("parameters(): 0.kernel is off by")
class ChangesAParameter(FakeModel):
    def parameters(self):
        found = super().parameters()
        found["0.kernel"] *= 1 + 1e-8
        return found


@fails("predict is off by")
class PredictsShares(FakeModel):
    def predict(self, staged):
        return np.exp(super().predict(staged))


@fails("predict is off by", "batch norm over features")
class PredictsInTrainingMode(FakeModel):
    def predict(self, staged):
        return self.network.outputs(staged.inputs, is_training=True)[0]


@fails("predict has shape (4,), not (4, 3)")
class PredictsClasses(FakeModel):
    def predict(self, staged):
        return super().predict(staged).argmax(axis=1)


@fails("the loss of forward is off by")
class SumsTheLoss(FakePrograms):
    def forward(self, staged):
        return Outcome(super().forward(staged).loss * len(staged.targets))


@fails("the loss of forward_backward is off by")
class AddsToTheLoss(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        return replace(outcome, loss=outcome.loss + 1e-6)


@fails("the gradient of 1.kernel is off by")
class ScalesAGradient(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        outcome.gradients["1.kernel"] *= 1.001
        return outcome


@fails("the gradient of 0.kernel is not of shape (4, 6)")
class TransposesAGradient(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        outcome.gradients["0.kernel"] = outcome.gradients["0.kernel"].T
        return outcome


@fails("gradients lacks 0.bias")
class ForgetsAGradient(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        del outcome.gradients["0.bias"]
        return outcome


@fails("gradients has 1.moving_mean, which the workload has not", "batch norm over features")
class TrainsAStatistic(FakePrograms):
    def forward_backward(self, staged):
        outcome = super().forward_backward(staged)
        outcome.gradients["1.moving_mean"] = np.zeros(4)
        return outcome


@fails("the loss of forward is off by", "ids")
class DropsWhatIsVerified(FakeModel):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.network.layers = self.workload.layers


@pytest.mark.parametrize(("mutant", "load", "message"), MUTANTS)
def test_a_broken_network_is_told(build, mutant, load, message):
    kind = "programs_class" if issubclass(mutant, FakePrograms) else "model_class"
    with pytest.raises(ConformanceError) as caught:
        check_network(*build(load(), **{kind: mutant}))
    assert message in str(caught.value)


class EpsilonInsideTheRoot(Update):
    def _adapt(self, adam, name, value, gradient):
        """Step by m/√(v + ε) in place of m/(√v + ε)."""
        before = value.copy()
        super()._adapt(adam, name, value, gradient)
        root = np.sqrt(self.second[name])
        decayed = before * (1 - adam.learning_rate * adam.weight_decay)
        step = (decayed - value) * (root + adam.epsilon) / np.sqrt(root**2 + adam.epsilon)
        value[...] = decayed - step


class EpsilonOnTheCorrectedRoot(Update):
    """Adam as most frameworks have it: m̂/(√v̂ + ε)."""

    def apply(self, values, gradients):
        adam = self.optimizer
        root = np.sqrt(1 - adam.beta_2 ** (self.step_count + 1))
        self.optimizer = layers.Adam(
            learning_rate=adam.learning_rate, epsilon=adam.epsilon * root, weight_decay=adam.weight_decay
        )
        super().apply(values, gradients)
        self.optimizer = adam


def with_update(cls):
    def make(*arguments):
        model = FakeModel(*arguments)
        model.update = cls(model.spec.optimizer)
        return model

    return make


@pytest.mark.parametrize("cls", [EpsilonInsideTheRoot, EpsilonOnTheCorrectedRoot])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_another_form_of_adam_is_told(build, name, cls):
    workload = SUPPORTED["dense"](optimizer=OPTIMIZERS[name])
    with pytest.raises(ConformanceError, match="after four steps is off by"):
        check_optimizer(*build(workload, model_class=with_update(cls)), tolerance=1e-5)


def test_the_common_form_of_adam_is_checked_where_it_is_not_canonical(build):
    workload = SUPPORTED["dense"](optimizer=OPTIMIZERS["adamw"])
    common = with_update(EpsilonOnTheCorrectedRoot)
    check_optimizer(*build(workload, model_class=common), tolerance=1e-12, canonical=False)
    with pytest.raises(ConformanceError, match="after four steps is off by"):
        check_optimizer(*build(workload), tolerance=1e-5, canonical=False)


class UnbiasedVariance(Network):
    def _batch_norm(self, path, layer, inputs, is_training):
        name = f"{path}.moving_variance"
        before = self.values[name].copy()
        found = super()._batch_norm(path, layer, inputs, is_training)
        count = inputs.size / inputs.shape[-1]
        kept = layer.momentum * before
        self.values[name][...] = kept + (self.values[name] - kept) * count / (count - 1)
        return found


class WithUnbiasedVariance(FakeModel):
    network_class = UnbiasedVariance


@pytest.mark.parametrize("name", STATISTICS_CASES)
def test_an_unbiased_moving_variance_is_told(build, name):
    with pytest.raises(ConformanceError, match=r"0\.moving_variance after three steps is off by"):
        check_statistics(*build(STATISTICS_CASES[name](), model_class=WithUnbiasedVariance))


def test_a_convolution_is_a_sum_over_its_window():
    """By hand: the odd row and column of zeros stand at the end."""
    specs = (layers.Conv2d(filters=1, size=2, padding="same", use_bias=False), layers.Flatten())
    workload = make_workload(specs, (2, 2, 1), classes=4, batch=1)
    batch = Batch(np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), np.array([0]))
    kernel = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(2, 2, 1, 1)
    found = outputs_of(workload, {"0.kernel": kernel}, batch, is_training=True)
    assert found.tolist() == [[4321.0, 402.0, 43.0, 4.0]]


def test_attention_to_what_is_alike_is_its_mean():
    """By hand: without queries all scores are equal; causal, each position sees those before it."""
    for causal, wanted in ((False, [2.0, 2.0, 2.0]), (True, [1.0, 1.5, 2.0])):
        workload = make_workload(
            (layers.Attention(heads=1, causal=causal), layers.Flatten()), (3, 1), batch=1
        )
        weights = {name: np.zeros_like(value) for name, value in workload.weights.items()}
        weights |= {"0.value_kernel": np.ones((1, 1)), "0.output_kernel": np.ones((1, 1))}
        batch = Batch(np.array([[[1.0], [2.0], [3.0]]]), np.array([0]))
        assert outputs_of(workload, weights, batch, is_training=True)[0] == pytest.approx(wanted)


def test_both_losses_of_no_opinion_are_logarithms():
    for loss, wanted in (("cross_entropy", np.log(3)), ("binary_cross_entropy", np.log(2))):
        workload = SUPPORTED["dense"](loss=loss)
        weights = {name: np.zeros_like(value) for name, value in workload.weights.items()}
        assert loss_of(workload, weights, workload.batches[0]) == pytest.approx(wanted)


def test_a_small_workload_is_the_same_for_the_same_seed():
    first, again, other = SUPPORTED["dense"](), SUPPORTED["dense"](), SUPPORTED["dense"](seed=1)
    assert np.array_equal(first.weights["0.kernel"], again.weights["0.kernel"])
    assert np.array_equal(first.batches[7].inputs, again.batches[7].inputs)
    assert not np.array_equal(first.weights["0.kernel"], other.weights["0.kernel"])
    assert load_case("plain").spec.batch_size == {"default": 16}


def test_training_takes_a_step_on_each_batch(build):
    workload, model, programs = build(SUPPORTED["dense"]())
    losses = train(model, programs, workload.batches, 3)
    model.reset()
    assert losses == [programs.run(model.stage(batch)).loss for batch in workload.batches[:3]]
