"""Data pipelines that do one thing wrong, each with the checks that it fails."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import pytest

from fwprof.plugin import Batch
from fwprof.testing.conformance.framework_pipeline import PIPELINE_CHECKS
from fwprof.testing.fake_framework import FakeFramework, FakeModel
from fwprof.testing.fake_pipeline import FakePipeline

MUTANTS = []
"""A broken pipeline, and the checks that it fails with their messages."""
ALL_IN_ORDER = {
    "pipeline_gives_the_samples_in_order": "the losses of F in epoch 1 is off by",
    "pipeline_workers_keep_the_order": "the losses of F in epoch 1 is off by",
}


def fails(messages: Mapping[str, str]):
    def note(cls: type) -> type:
        class Model(FakeModel):
            def pipeline(self, data):
                return cls(data, self.stage, self.phases)

        MUTANTS.append(pytest.param(FakeFramework(model_class=Model), messages, id=cls.__name__))
        return cls

    return note


@fails(ALL_IN_ORDER)
class SwapsLabels(FakePipeline):
    def __iter__(self):
        return (Batch(staged.inputs, staged.targets[::-1].copy()) for staged in super().__iter__())


@fails(
    {
        "pipeline_gives_the_samples_in_order": "epoch 1 of the pipeline has 2 batches, not 3",
        "pipeline_workers_keep_the_order": "epoch 1 of the pipeline has 2 batches, not 3",
        "pipeline_begins_anew": "an epoch after one that was left has shape",
        "pipeline_resizes_as_defined": None,
        "pipeline_crops_and_flips": None,
    }
)
class LosesTheLastBatch(FakePipeline):
    def __iter__(self):
        return islice(super().__iter__(), 2)


@fails(
    {
        "pipeline_gives_the_samples_in_order": "epoch 2 of the pipeline has 0 batches",
        "pipeline_workers_keep_the_order": "epoch 2 of the pipeline has 0 batches",
        "pipeline_begins_anew": "an epoch of the pipeline has no batch",
        "pipeline_shuffles_anew": "an epoch of the pipeline has no batch",
    }
)
class HasOneEpoch(FakePipeline):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._only = super().__iter__()

    def __iter__(self):
        yield from self._only


@fails({"pipeline_shuffles_anew": "two shuffled epochs have the same order"})
class ShufflesOnce(FakePipeline):
    def __iter__(self):
        self._epoch = 0
        return super().__iter__()


class _Transforms(FakePipeline):
    """Transforms differently: `change` gives the records it works by."""

    def change(self, image: Any, steps: Any) -> Any:
        return image

    def __iter__(self):
        inputs, targets = self._samples.data.open()
        steps = self._samples.data.pipeline.transforms
        self._epoch += 1
        for chosen in self._samples.epoch(self._epoch):
            images = inputs[chosen]
            if steps:
                images = np.stack([self.change(image, steps) for image in images])
            yield self._stage(Batch(images, targets[chosen]))


@fails(
    {
        "pipeline_resizes_as_defined": "what a model answers to resized images is off by",
        "pipeline_crops_and_flips": "every image was cropped and flipped alike",
    }
)
class CutsTheCornerOut(_Transforms):
    def change(self, image, steps):
        height, width = steps[0].height, steps[0].width
        padded = np.pad(
            image, ((0, max(0, height - len(image))), (0, max(0, width - image.shape[1])), (0, 0))
        )
        return padded[:height, :width]


@fails(
    {
        "pipeline_crops_and_flips": "the pipeline gives what is in no sample",
        "pipeline_resizes_as_defined": None,
    }
)
class FlipsUpsideDown(_Transforms):
    def change(self, image, steps):
        height, width = steps[0].height, steps[0].width
        padded = np.pad(
            image, ((0, max(0, height - len(image))), (0, max(0, width - image.shape[1])), (0, 0))
        )
        return padded[height - 1 :: -1, :width]


@pytest.mark.parametrize(("plugin", "messages"), MUTANTS)
def test_a_broken_pipeline_fails_its_checks(plugin: object, messages: dict[str, str], failed_checks):
    failed = failed_checks(plugin, PIPELINE_CHECKS)
    assert failed.keys() - {name for name, told in messages.items() if told is None} == {
        name for name, told in messages.items() if told is not None
    }
    for name, told in messages.items():
        assert told is None or told in failed[name]


def test_each_check_is_failed_by_some_mutant():
    known = {name for mutant in MUTANTS for name, told in mutant.values[1].items() if told is not None}
    assert known == {check.__name__.removeprefix("check_") for check in PIPELINE_CHECKS}


def test_the_fake_pipeline_passes(failed_checks):
    assert failed_checks(FakeFramework(), PIPELINE_CHECKS) == {}


def test_a_model_without_a_pipeline_is_fine(failed_checks):
    class Model(FakeModel):
        pipeline = None

    assert failed_checks(FakeFramework(model_class=Model), PIPELINE_CHECKS) == {}
