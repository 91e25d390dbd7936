"""What a framework's own data pipeline must give: every sample, as it is or as its transforms make it.

Batches are opaque: what a model answers to them is compared with the float64 reference's answers to
the samples. Having no pipeline is fine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from fwprof.contracts import DataPipeline, PipelineData
from fwprof.records.pipeline import Pipeline, RandomCrop, RandomFlip, Resize, Transform
from fwprof.testing.conformance.cases import BATCH
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect, expect_close
from fwprof.workloads.pipelines import resize

if TYPE_CHECKING:
    from fwprof.contracts import Array

EPOCH_STEPS = 3
SAMPLES = EPOCH_STEPS * BATCH + 5
"""Those beyond the last full batch are dropped."""


def check_pipeline_gives_the_samples_in_order(subject: FrameworkSubject) -> None:
    """Without shuffle and transforms an epoch is the data set, batch by batch, with its labels."""
    _expect_in_order(subject, Pipeline(shuffle=False))


def check_pipeline_workers_keep_the_order(subject: FrameworkSubject) -> None:
    """With two workers an epoch is the same."""
    _expect_in_order(subject, Pipeline(shuffle=False, workers=2))


def check_pipeline_begins_anew(subject: FrameworkSubject) -> None:
    """After an epoch that was left at its first batch, the next one begins at the first sample again."""
    built = subject.build()
    data, (inputs, _) = _samples(subject, built, Pipeline(shuffle=False, workers=2))
    with _opened(built, data) as pipeline:
        batches = iter(pipeline)
        next(batches)
        if (close := getattr(batches, "close", None)) is not None:
            close()
        found = _predict(built, pipeline)
    wanted = _answers(built, inputs[: EPOCH_STEPS * BATCH])
    expect_close(found, wanted, subject.tolerance, "an epoch after one that was left")


def check_pipeline_shuffles_anew(subject: FrameworkSubject) -> None:
    """Shuffled, an epoch holds each sample at most once, and the next one has another order."""
    built = subject.build()
    data, (inputs, _) = _samples(subject, built, Pipeline())
    answers = _answers(built, inputs)
    with _opened(built, data) as pipeline:
        epochs = [_nearest(subject, _predict(built, pipeline), answers[None])[0] for _ in range(2)]
    for order in epochs:
        expect(len(set(order)) == len(order), "a shuffled epoch gives a sample twice")
        expect(list(order) != sorted(order), "a shuffled epoch is in the order of the data set")
    expect(list(epochs[0]) != list(epochs[1]), "two shuffled epochs have the same order")


def check_pipeline_resizes_as_defined(subject: FrameworkSubject) -> None:
    """Resize is bilinear with half-pixel centres and without antialiasing."""
    built = subject.build("image")
    height, width, _ = built.loaded.spec.input.shape if built.loaded.spec else (0, 0, 0)
    steps = (Resize(height=height, width=width),)
    data, (inputs, _) = _samples(
        subject, built, Pipeline(shuffle=False, transforms=steps), (height + 4, width - 1)
    )
    with _opened(built, data) as pipeline:
        found = _predict(built, pipeline)
    resized = np.stack([resize(image, height, width) for image in inputs[: len(found)]])
    expect_close(found, _answers(built, resized), subject.tolerance, "what a model answers to resized images")


def check_pipeline_crops_and_flips(subject: FrameworkSubject) -> None:
    """A random crop is a part of the image, a flip exchanges left and right; neither makes new pixels."""
    built = subject.build("image")
    height, width, _ = built.loaded.spec.input.shape if built.loaded.spec else (0, 0, 0)
    steps: Sequence[Transform] = (RandomCrop(height=height, width=width), RandomFlip())
    pipeline_record = Pipeline(shuffle=False, transforms=tuple(steps))
    data, (inputs, _) = _samples(subject, built, pipeline_record, (height + 1, width + 1))
    inputs = inputs[: EPOCH_STEPS * BATCH]
    made = [
        inputs[:, top : top + height, left : left + width, :][:, :, ::order]
        for top, left, order in product((0, 1), (0, 1), (1, -1))
    ]
    candidates = np.stack([_answers(built, images) for images in made])
    with _opened(built, data) as pipeline:
        _, chosen = _nearest(subject, _predict(built, pipeline), candidates, is_ordered=True)
    expect(len(set(chosen)) > 1, "every image was cropped and flipped alike")
    both = {number % 2 for number in chosen}
    expect(len(both) == 2, "all images were flipped, or none")


def _expect_in_order(subject: FrameworkSubject, asked: Pipeline) -> None:
    built = subject.build()
    reference = built.reference()
    data, (inputs, targets) = _samples(subject, built, asked)
    wanted = [
        reference.network.loss(inputs[at : at + BATCH].astype(np.float64), targets[at : at + BATCH])
        for at in range(0, EPOCH_STEPS * BATCH, BATCH)
    ]
    with _opened(built, data) as pipeline:
        expect(bool(pipeline.basis), "a pipeline does not say what it is made of")
        for epoch in (1, 2):
            losses = [_loss(built, staged) for staged in pipeline]
            given = f"epoch {epoch} of the pipeline has {len(losses)} batches, not {EPOCH_STEPS}"
            expect(len(losses) == EPOCH_STEPS, given)
            expect_close(losses, wanted, subject.tolerance, f"the losses of F in epoch {epoch}")


def _samples(
    subject: FrameworkSubject, built: Built, asked: Pipeline, size: tuple[int, int] | None = None
) -> tuple[PipelineData, tuple[Array, Array]]:
    """Write random samples, images of another size if one is given, and the labels of a workload."""
    random, spec = np.random.default_rng(5), built.loaded.spec
    assert spec is not None  # the small workloads are all neutral
    shape = spec.input.shape if size is None else (*size, spec.input.shape[-1])
    inputs = random.normal(size=(SAMPLES, *shape)).astype(np.float32)
    first = built.loaded.batches[0].targets
    targets = random.integers(0, 2, (SAMPLES, *first.shape[1:])).astype(first.dtype)
    folder = subject.folder / "pipeline"
    folder.mkdir(exist_ok=True)
    data = PipelineData(folder / "inputs.npy", folder / "targets.npy", BATCH, asked, seed=3)
    np.save(data.inputs, inputs)
    np.save(data.targets, targets)
    return data, (inputs, targets)


@contextmanager
def _opened(built: Built, data: PipelineData) -> Iterator[DataPipeline]:
    make = getattr(built.model, "pipeline", None)
    if make is None:
        raise NotApplicable("the model has no pipeline of its own")
    pipeline: DataPipeline = make(data)
    try:
        yield pipeline
    finally:
        pipeline.close()


def _predict(built: Built, pipeline: DataPipeline) -> Array:
    found = [built.model.predict(staged) for staged in pipeline]
    expect(bool(found), "an epoch of the pipeline has no batch")
    return np.concatenate(found)


def _loss(built: Built, staged: object) -> float:
    result = built.programs.forward(staged)
    built.programs.wait(result)
    return built.programs.read(result)[0]


def _answers(built: Built, inputs: Array) -> Array:
    return built.reference().network.outputs(inputs.astype(np.float64), is_training=False)[0]


def _nearest(
    subject: FrameworkSubject, found: Array, candidates: Array, *, is_ordered: bool = False
) -> tuple[Array, Array]:
    """Return for each answer found the sample, and the candidate of it, that it belongs to.

    Args:
        found: `(answers, classes)`.
        candidates: `(candidates, samples, classes)`.
        is_ordered: whether answer number i belongs to sample number i.
    """
    apart = np.abs(found[:, None, None] - candidates[None]).max(axis=-1)
    if is_ordered:
        apart = np.where(np.eye(len(found), candidates.shape[1], dtype=bool)[:, None], apart, np.inf)
    flat = apart.reshape(len(found), -1)
    error = float(flat.min(axis=1).max()) / float(np.abs(candidates).max())
    expect(error <= subject.tolerance, f"the pipeline gives what is in no sample: off by {error:.2g}")
    chosen, sample = np.unravel_index(flat.argmin(axis=1), candidates.shape[:2])
    return sample, chosen


PIPELINE_CHECKS = (
    check_pipeline_gives_the_samples_in_order,
    check_pipeline_workers_keep_the_order,
    check_pipeline_begins_anew,
    check_pipeline_shuffles_anew,
    check_pipeline_resizes_as_defined,
    check_pipeline_crops_and_flips,
)
