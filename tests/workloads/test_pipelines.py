"""Data pipelines: what fits a workload, transforms by hand, and the plain pipeline."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fwprof import workloads
from fwprof.configuration import parse_yaml
from fwprof.contracts import Batch, PipelineData
from fwprof.errors import RequestError
from fwprof.records import Pipeline, Workload
from fwprof.records.pipeline import RandomCrop, RandomFlip, Resize
from fwprof.workloads.inputs import write_inputs
from fwprof.workloads.pipelines import PlainPipeline, Samples, locate_data, resize, transform_image

TEXT = """
name: pictures
input: {shape: [4, 4, 3]}
layers: [{kind: flatten}, {kind: dense, units: 2}]
classes: 2
optimizer: {kind: sgd, learning_rate: 0.1}
data: {source: synthetic, samples: 10}
pipeline:
  workers: 2
  transforms:
    - {kind: resize, height: 6, width: 6}
    - {kind: random_crop, height: 4, width: 4}
    - {kind: random_flip}
"""


def spec(text: str = TEXT, **overrides: Any) -> Workload:
    return parse_yaml(text, Workload, "pictures", overrides)


def test_a_pipeline_is_read_from_yaml() -> None:
    assert spec().pipeline == Pipeline(
        workers=2,
        transforms=(Resize(height=6, width=6), RandomCrop(height=4, width=4), RandomFlip()),
    )
    workloads.plan_workload(spec(), 4)


def test_a_workload_that_says_nothing_has_no_workers_and_no_transforms() -> None:
    quiet = workloads.find_workload("mlp").pipeline
    assert (quiet.workers, quiet.transforms, quiet.stored_shape) == (0, (), None)


def test_workers_may_be_set_where_nothing_is_written() -> None:
    assert workloads.find_workload("mlp", {"pipeline.workers": 3}).pipeline.workers == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("pipeline.transforms[1].height", 7, r"pipeline.transforms\[1\] \(random_crop\) cannot cut 7 × 4"),
        ("pipeline.transforms[1].height", 3, r"the pipeline gives \(3, 4, 3\), not the input \(4, 4, 3\)"),
        ("pipeline.workers", 65, "expected `int` <= 64|expected int <= 64"),
        ("pipeline.transforms[0].height", 0, "expected int >= 1"),
        ("pipeline.transforms[0].kind", "risize", "'risize' is not one of the choices"),
        ("pipeline.wokers", 2, "unknown key"),
    ],
)
def test_what_does_not_fit_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        workloads.plan_workload(spec(**{path: value}), 4)


def test_a_transform_needs_an_image() -> None:
    text = TEXT.replace("[4, 4, 3]", "[48]").replace("{kind: flatten}, ", "")
    with pytest.raises(RequestError, match=r"\(resize\) needs an image of floats") as caught:
        workloads.plan_workload(spec(text), 4)
    assert caught.value.cause == "it is given float32 (48,)"


def test_real_images_are_stored_as_they_are() -> None:
    text = TEXT.replace("[4, 4, 3]", "[8, 8, 1]").replace(
        "{source: synthetic, samples: 10}", "{source: digits}"
    )
    workload = msgspec.structs.replace(spec(text), pipeline=Pipeline(stored_shape=(16, 16, 1)))
    with pytest.raises(RequestError, match="only synthetic images can be made of another shape"):
        workloads.plan_workload(workload, 4)


def test_resize_by_hand() -> None:
    row = np.array([[[0.0], [4.0]]], np.float32)
    # Output pixels look at -0.25, 0.25, 0.75 and 1.25 of the input, held within 0 and 1.
    np.testing.assert_allclose(resize(row, 1, 4)[0, :, 0], [0, 1, 3, 4])
    np.testing.assert_allclose(resize(row, 2, 2)[:, :, 0], [[0, 4], [0, 4]])
    # Without antialiasing half of the pixels of a picture that shrinks to a quarter are never looked at.
    wide = np.array([[[0.0], [1.0], [2.0], [3.0], [8.0], [9.0], [10.0], [11.0]]], np.float32)
    np.testing.assert_allclose(resize(wide, 1, 2)[0, :, 0], [1.5, 9.5])


def test_crop_and_flip_only_move_pixels() -> None:
    image = np.arange(5 * 6 * 2, dtype=np.float32).reshape(5, 6, 2)
    steps = (RandomCrop(height=3, width=4), RandomFlip())
    seen = set()
    for seed in range(60):
        made = transform_image(image, steps, np.random.default_rng(seed))
        assert made.shape == (3, 4, 2)
        flipped = bool(made[0, 0, 0] > made[0, 1, 0])
        straight = made[:, ::-1] if flipped else made
        top, left = divmod(int(straight[0, 0, 0]) // 2, 6)
        np.testing.assert_array_equal(straight, image[top : top + 3, left : left + 4])
        seen.add((top, left, flipped))
    assert {place[:2] for place in seen} == {(top, left) for top in range(3) for left in range(3)}
    assert {place[2] for place in seen} == {True, False}


@pytest.fixture
def data(tmp_path: Path) -> PipelineData:
    np.save(tmp_path / "x.npy", np.arange(22, dtype=np.float32).reshape(11, 2))
    np.save(tmp_path / "y.npy", np.arange(11))
    return PipelineData(tmp_path / "x.npy", tmp_path / "y.npy", 4, Pipeline(shuffle=False), seed=1)


def test_the_plain_pipeline_gives_full_batches_in_order_every_epoch(data: PipelineData) -> None:
    pipeline = PlainPipeline(data, lambda batch: batch)
    for _ in range(2):
        batches: list[Batch] = list(pipeline)
        assert [batch.targets.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert [batch.inputs[:, 0].tolist() for batch in batches] == [[0, 2, 4, 6], [8, 10, 12, 14]]


def test_shuffled_epochs_differ_and_repeat_with_the_seed(data: PipelineData) -> None:
    import dataclasses

    shuffled = dataclasses.replace(data, pipeline=Pipeline())
    epochs = [[chosen.tolist() for chosen in Samples(shuffled).epoch(number)] for number in (1, 2)]
    assert epochs[0] != epochs[1]
    assert epochs[0] == [chosen.tolist() for chosen in Samples(shuffled).epoch(1)]
    assert len({index for batch in epochs[0] for index in batch}) == 8


def test_samples_cross_to_another_process_as_names_of_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1000, 100), np.float32))
    np.save(tmp_path / "y.npy", np.zeros(1000, np.int64))
    samples = Samples(PipelineData(tmp_path / "x.npy", tmp_path / "y.npy", 4, Pipeline()))
    packed = pickle.dumps(samples)
    assert len(packed) < 2000
    assert pickle.loads(packed).batch(np.array([1]), 1).inputs.shape == (1, 100)


def test_stored_images_of_another_shape_are_written_beside_the_data_set(tmp_path: Path) -> None:
    workload = spec(TEXT + "  stored_shape: [9, 7, 3]\n")
    plan = workloads.plan_workload(workload, 4)
    write_inputs(plan, 4, 0, tmp_path, with_data_set=True)
    found = locate_data(tmp_path, workload, 4, 0)
    inputs, targets = found.open()
    assert (inputs.shape, targets.shape) == ((10, 9, 7, 3), (10,))
    assert np.load(tmp_path / "data" / "train_inputs.npy").shape == (10, 4, 4, 3)
    assert Samples(found).batch(np.array([0, 1]), 1).inputs.shape == (2, 4, 4, 3)
