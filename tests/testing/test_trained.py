"""The checks of what a step trains pass on honest models, and fail on ones that do one thing wrong."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fwprof.plugin import Options
from fwprof.testing import trained
from fwprof.testing.conformance import ConformanceError
from fwprof.testing.definitions import loss_of, outputs_of, spec_of, update
from fwprof.testing.fake_framework import FakeFramework, FakeModel, FakePrograms, Outcome
from fwprof.testing.samples import sample_cell
from fwprof.testing.small import make_workload
from fwprof.workloads.language import parameter_shapes

STEP = 1e-4


class ByDefinition:
    """Model and programs at once: losses by the definitions, gradients by finite differences, all float64."""

    def __init__(self, workload):
        self.workload = workload
        self.trained = list(parameter_shapes(workload.layers))
        self.batches = iter((*workload.batches, *workload.batches))
        self.reset()

    def reset(self):
        self.values = {name: value.astype(float) for name, value in self.workload.weights.items()}
        self.states = {name: {} for name in self.trained}
        self.count = 0

    def stage(self, batch):
        return batch

    def parameters(self):
        return {name: value.astype(self.workload.weights[name].dtype) for name, value in self.values.items()}

    def load_parameters(self, values):
        self.values |= {name: value.astype(float) for name, value in values.items()}

    def save(self, path):
        np.savez(path, **self.values)

    def restore(self, path):
        self.values = dict(np.load(f"{path}.npz"))

    def describe(self):
        return SimpleNamespace(parameter_count=sum(self.values[name].size for name in self.trained))

    def predict(self, batch):
        return outputs_of(self.workload, self.values, batch, is_training=False)

    def forward(self, batch):
        return Outcome(loss_of(self.workload, self.values, batch))

    def forward_backward(self, batch):
        return dataclasses.replace(self.forward(batch), gradients=self.gradients(batch))

    def run(self, batch):
        outcome, self.count = self.forward_backward(batch), self.count + 1
        for name, gradient in outcome.gradients.items():
            optimizer = spec_of(self.workload).optimizer
            self.values[name] = update(
                optimizer, self.values[name], gradient, self.states[name], self.count, canonical=True
            )
        for name in ("5.moving_mean", "5.moving_variance"):
            if name in self.values:
                self.values[name] = self.values[name] * 0.9 + 0.1
        return outcome

    def gradients(self, batch):
        found = {name: np.zeros_like(self.values[name]) for name in self.trained}
        for name, gradient in found.items():
            for index in np.ndindex(gradient.shape):
                gradient[index] = self.slope(name, index, batch)
        return found

    def slope(self, name, index, batch):
        """A difference of the fourth order: off by less than the checks allow."""
        losses = []
        for steps in (-2, -1, 1, 2):
            value = self.values[name].copy()
            value[index] += steps * STEP
            losses.append(loss_of(self.workload, self.values | {name: value}, batch))
        return np.dot(losses, (1, -8, 8, -1)) / (12 * STEP)

    def wait(self, result):
        pass

    def read(self, result):
        return result.loss, result.gradients

    def next_batch(self):
        return next(self.batches)


def by(kind):
    def build(workload):
        model = kind(workload)
        return model, model

    return build


@pytest.fixture
def fake(tmp_path):
    def with_classes(**classes):
        def build(workload):
            framework = FakeFramework(**classes)
            cell = sample_cell(precision="float64", is_verification=True)
            model = framework.build_model(workload, cell.device, Options(cell=cell, cache=tmp_path))
            return model, framework.train_step(model)

        return build

    return with_classes


def test_honest_models_pass(fake, tmp_path):
    trained.check_statistics_of_parts(fake())
    trained.check_outputs_of_parts(fake())
    trained.check_frozen(by(ByDefinition), tmp_path)
    trained.check_low_rank(by(ByDefinition), tmp_path)
    trained.check_tied(by(ByDefinition))
    trained.check_tied(by(ByDefinition), is_frozen=True)
    trained.check_lengths(by(ByDefinition))
    workload = trained.make_trimmed((9, 8, 7))
    trained.check_lengths_from_the_pipeline(workload, *by(ByDefinition)(workload))


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_parts_of_an_honest_model_pass(loss):
    trained.check_parts(by(ByDefinition), loss)


def told(message, check, *arguments, **keywords):
    with pytest.raises(ConformanceError) as caught:
        check(*arguments, **keywords)
    assert message in str(caught.value)


def test_parts_whose_gradients_are_summed_are_told():
    class Summed(ByDefinition):
        def gradients(self, batch):
            return {
                name: value * spec_of(self.workload).accumulate
                for name, value in super().gradients(batch).items()
            }

    told("gradients of the parts: 0.", trained.check_parts, by(Summed))


def test_parts_that_are_left_from_the_call_before_are_told():
    class Kept(ByDefinition):
        kept = 0

        def gradients(self, batch):
            self.kept += 1
            scale = self.kept if spec_of(self.workload).accumulate > 1 else 1
            return {name: value * scale for name, value in super().gradients(batch).items()}

    told("gradients of the parts: 0.", trained.check_parts, by(Kept))


def test_an_update_after_each_part_is_told():
    class Hasty(ByDefinition):
        def run(self, batch):
            if spec_of(self.workload).accumulate > 1:
                super().run(batch)
            return super().run(batch)

    told("three steps", trained.check_parts, by(Hasty))


def test_parts_in_another_order_are_told(fake):
    class Reversed(FakePrograms):
        def run(self, staged):
            reverse = dataclasses.replace(staged, inputs=staged.inputs[::-1], targets=staged.targets[::-1])
            return super().run(reverse)

    told(
        "0.moving_mean after two steps is off by",
        trained.check_statistics_of_parts,
        fake(programs_class=Reversed),
    )


def test_outputs_of_the_first_part_alone_are_told(fake):
    class First(FakeModel):
        def predict(self, staged):
            found = super().predict(staged)
            return found[:2] if self.spec.accumulate > 1 else found

    told(
        "predict on 6 samples in 3 parts has shape (2, 3)",
        trained.check_outputs_of_parts,
        fake(model_class=First),
    )


class Split(ByDefinition):
    def split(self, batch):
        self.run(batch)
        return {"forward": 1, "backward": 1, "optimizer": 1}


class SplitForgets(Split):
    def split(self, batch):
        return {**super().split(batch), "optimizer": 0}


class SplitTwice(Split):
    def split(self, batch):
        self.run(batch)
        return super().split(batch)


def test_a_split_that_takes_another_step_is_told():
    workload = make_workload(trained.FROZEN, (5, 6))
    trained.check_split(workload, *by(Split)(workload))
    told("a phase of split took no time", trained.check_split, workload, *by(SplitForgets)(workload))
    told("after one step: ", trained.check_split, workload, *by(SplitTwice)(workload))


def test_a_frozen_layer_that_moves_is_told(tmp_path):
    class Thawed(ByDefinition):
        def run(self, batch):
            self.values["4.recurrent_bias"] = self.values["4.recurrent_bias"] + 1e-3
            return super().run(batch)

    told("three steps move 4.recurrent_bias", trained.check_frozen, by(Thawed), tmp_path)


def test_a_trained_layer_that_stays_is_told(tmp_path):
    class Stuck(ByDefinition):
        def run(self, batch):
            before = self.values["5.gamma"]
            outcome = super().run(batch)
            self.values["5.gamma"] = before
            return outcome

    told("three steps leave 5.gamma as it was", trained.check_frozen, by(Stuck), tmp_path)


def test_frozen_parameters_that_are_not_loaded_are_told(tmp_path):
    class Forgetful(ByDefinition):
        def restore(self, path):
            before = self.values["0.kernel"]
            super().restore(path)
            self.values["0.kernel"] = before

    told("after restore: 0.kernel is off", trained.check_frozen, by(Forgetful), tmp_path)


def test_frozen_parameters_that_are_counted_are_told(tmp_path):
    class Counts(ByDefinition):
        def describe(self):
            return SimpleNamespace(parameter_count=sum(value.size for value in self.values.values()))

    told("describe() counts", trained.check_frozen, by(Counts), tmp_path)


def test_a_low_rank_layer_that_trains_its_base_is_told(tmp_path):
    class Full(ByDefinition):
        def run(self, batch):
            self.values["0.kernel"] = self.values["0.kernel"] * 1.01
            return super().run(batch)

    told("three steps move 0.kernel", trained.check_low_rank, by(Full), tmp_path)


def test_a_table_that_learns_from_one_place_is_told():
    class OnePlace(ByDefinition):
        def gradients(self, batch):
            found = super().gradients(batch)
            unused = np.setdiff1d(np.arange(trained.VOCABULARY), batch.inputs)
            found["0.table"][unused] = 0
            return found

    told("the output gives the table no gradient", trained.check_tied, by(OnePlace))


def test_a_frozen_table_that_moves_is_told():
    class Moves(ByDefinition):
        def run(self, batch):
            self.values["0.table"] = self.values["0.table"] * 1.01
            return super().run(batch)

    told("the frozen table after a step is off", trained.check_tied, by(Moves), is_frozen=True)


def test_batches_that_are_padded_to_the_longest_are_told():
    class Padded(ByDefinition):
        def next_batch(self):
            batch = super().next_batch()
            missing = 9 - batch.inputs.shape[1]
            return dataclasses.replace(batch, inputs=np.pad(batch.inputs, ((0, 0), (missing, 0))))

        def forward(self, batch):
            missing = 9 - batch.inputs.shape[1]
            return Outcome(super().forward(batch).loss * (1 + missing))

    workload = trained.make_trimmed((9, 8, 7))
    told(
        "the loss of batch 1 from next_batch is off",
        trained.check_lengths_from_the_pipeline,
        workload,
        *by(Padded)(workload),
    )
    told("the loss of 8 positions is off", trained.check_lengths, by(Padded))
