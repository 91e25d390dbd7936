"""MNIST and CIFAR-10 from the user's folder: what is read, and what is wrong with a folder, told."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fwprof.contracts import Batch
from fwprof.errors import ExitCode, RequestError, StoreError
from fwprof.records import DataChoice, Workload
from fwprof.testing.data_files import idx_bytes, write_cifar10, write_mnist
from fwprof.workloads import find_workload
from fwprof.workloads.data import DataSet, count_samples, load_data
from fwprof.workloads.data.cifar10 import RECORD, TRAIN_FILES
from fwprof.workloads.data.folder import MAX_BYTES
from fwprof.workloads.data.sources import choose_data

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


def workload(source: str, folder: Path, **changes: Any) -> Workload:
    """LeNet on MNIST, or a dense layer on CIFAR-10."""
    found = find_workload("lenet")
    if source == "cifar10":
        shape = msgspec.structs.replace(found.input, shape=(32, 32, 3))
        found = msgspec.structs.replace(found, name="net", input=shape)
    found = choose_data(found, DataChoice(source=source, folder=str(folder)))
    return msgspec.structs.replace(found, **changes)


def load(source: str, folder: Path, **changes: Any) -> DataSet:
    return load_data(workload(source, folder, **changes), 0)


def sized(work: Workload, samples: int) -> Workload:
    return msgspec.structs.replace(work, data=msgspec.structs.replace(work.data, samples=samples))


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    return write_mnist(tmp_path / "mnist")


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    return write_cifar10(tmp_path / "cifar10")


@pytest.mark.parametrize("is_packed", [False, True])
def test_mnist_is_what_its_four_files_hold(tmp_path: Path, is_packed: bool) -> None:
    folder = write_mnist(tmp_path / "here", train=30, validation=12, is_packed=is_packed)
    data = load("mnist", folder)
    plain = write_mnist(tmp_path / "plain", train=30, validation=12)
    pixels = np.frombuffer((plain / IMAGES).read_bytes()[16:], np.uint8).reshape(30, 28, 28, 1)
    assert np.array_equal(data.train_inputs, pixels)
    assert data.train_targets.tolist() == [number % 10 for number in range(30)]
    assert (data.validation_inputs.shape, data.validation_targets.dtype) == ((12, 28, 28, 1), np.int64)
    assert (data.name, data.is_synthetic) == ("mnist", False)


def test_mnist_comes_flat_where_the_workload_asks_for_it(mnist: Path) -> None:
    flat = load_data(choose_data(find_workload("mlp"), DataChoice(source="mnist", folder=str(mnist))), 0)
    assert flat.train_inputs.shape == (40, 784)
    assert np.array_equal(flat.train_inputs, load("mnist", mnist).train_inputs.reshape(40, 784))


def test_models_get_floats_from_0_to_1_though_bytes_are_kept(mnist: Path) -> None:
    data = load("mnist", mnist)
    assert data.train_inputs.dtype == np.uint8
    batches = [
        *data.batches(1, 8),
        *data.epoch(1, 8, 0),
        *data.training_batches(8),
        *data.validation_batches(8),
    ]
    assert {(str(batch.inputs.dtype), str(batch.targets.dtype)) for batch in batches} == {
        ("float32", "int64")
    }
    first: Batch = batches[0]
    assert np.array_equal(first.inputs, data.train_inputs[:8].astype(np.float32) / np.float32(255))
    assert 0 <= first.inputs.min() < 0.02
    assert 0.98 < first.inputs.max() <= 1
    assert first.inputs.flags.writeable


@pytest.mark.parametrize("name", ["train-images.idx3-ubyte", f"{IMAGES}.gz"])
def test_the_names_of_mirrors_and_unpackers_are_found(mnist: Path, name: str) -> None:
    (mnist / IMAGES).rename(mnist / name)  # whether a file is compressed is seen in it, not in its name
    assert len(load("mnist", mnist).train_inputs) == 40


@pytest.mark.parametrize(
    ("source", "inside"), [("mnist", "MNIST/raw"), ("mnist", "raw"), ("cifar10", "cifar-10-batches-bin")]
)
def test_the_folder_that_a_download_made_may_be_inside(tmp_path: Path, source: str, inside: str) -> None:
    (write_mnist if source == "mnist" else write_cifar10)(tmp_path / inside)
    assert len(load(source, tmp_path).train_targets) == 40


def test_cifar10_is_what_its_six_files_hold(cifar10: Path) -> None:
    data = load("cifar10", cifar10)
    assert (data.name, data.is_synthetic) == ("cifar10", False)
    assert (data.train_inputs.shape, data.train_inputs.dtype) == ((40, 32, 32, 3), np.uint8)
    record = (cifar10 / TRAIN_FILES[2]).read_bytes()[RECORD * 5 : RECORD * 6]
    sample = data.train_inputs[2 * 8 + 5]
    # By the definition: red, green and blue one after another, each row by row.
    for colour, row, column in ((0, 0, 0), (1, 3, 31), (2, 30, 7)):
        assert sample[row, column, colour] == record[1 + colour * 1024 + row * 32 + column]
    assert data.train_targets.tolist() == [number % 8 for number in range(40)]
    assert len(data.validation_targets) == 10


@pytest.mark.parametrize("source", ["mnist", "cifar10"])
def test_a_number_of_samples_is_the_beginning_of_one_shuffle(source: str, tmp_path: Path) -> None:
    (write_mnist if source == "mnist" else write_cifar10)(tmp_path)
    work = workload(source, tmp_path)
    everything, ten, again, six = (
        load_data(each, 3) for each in (work, sized(work, 10), sized(work, 10), sized(work, 6))
    )
    assert np.array_equal(ten.train_inputs, again.train_inputs)
    assert np.array_equal(ten.train_inputs[:6], six.train_inputs)
    assert np.array_equal(ten.train_targets[:6], six.train_targets)
    assert not np.array_equal(ten.train_inputs, everything.train_inputs[:10])
    rows = {
        row.tobytes(): label
        for row, label in zip(everything.train_inputs, everything.train_targets, strict=True)
    }
    assert [rows[row.tobytes()] for row in ten.train_inputs] == ten.train_targets.tolist()
    assert len(ten.validation_targets) == len(everything.validation_targets)
    assert count_samples(sized(work, 10), 3) == 40


def test_more_samples_than_there_are_are_refused(mnist: Path) -> None:
    with pytest.raises(RequestError, match="the data set mnist has 40 training samples, not 41") as caught:
        load_data(sized(workload("mnist", mnist), 41), 0)
    assert caught.value.next == "choose 40 or fewer, or leave it out for all"


@pytest.mark.parametrize("source", ["mnist", "cifar10"])
@pytest.mark.parametrize("changes", [{"classes": 3}, {"loss": "binary_cross_entropy"}])
def test_a_workload_that_does_not_fit_is_refused_before_a_file_is_looked_for(
    source: str, changes: Mapping[str, Any]
) -> None:
    with pytest.raises(RequestError, match=f"does not fit the data set {source}"):
        load(source, Path("nowhere"), **changes)


def test_photographs_do_not_fit_a_network_for_digits() -> None:
    work = choose_data(find_workload("lenet"), DataChoice(source="cifar10", folder="nowhere"))
    with pytest.raises(RequestError, match="workload lenet does not fit the data set cifar10") as caught:
        load_data(work, 0)
    assert caught.value.next == "cifar10 needs float32 input of shape [32, 32, 3], and 10 classes"


@pytest.mark.parametrize("source", ["mnist", "cifar10"])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, source: str) -> None:
    with pytest.raises(RequestError, match=f"there is no data folder {tmp_path}/nowhere") as caught:
        load(source, tmp_path / "nowhere")
    assert caught.value.exit_code == ExitCode.USAGE
    assert "docs/how-to/data.md" in caught.value.next


def test_a_file_in_place_of_the_folder_is_named(mnist: Path) -> None:
    with pytest.raises(RequestError, match=f"the data folder {mnist / IMAGES} is a file, not a folder"):
        load("mnist", mnist / IMAGES)


def test_a_file_that_is_missing_is_named_beside_what_is_there(mnist: Path) -> None:
    (mnist / "t10k-labels-idx1-ubyte").rename(mnist / "labels")
    with pytest.raises(RequestError, match=f"there is no t10k-labels-idx1-ubyte in {mnist}") as caught:
        load("mnist", mnist)
    assert caught.value.cause == f"it holds labels, t10k-images-idx3-ubyte, {IMAGES}, {LABELS}"


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no data_batch_1\.bin") as caught:
        load("cifar10", tmp_path)
    assert caught.value.cause == "it is empty"


def test_a_file_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J\nb").touch()
    with pytest.raises(RequestError, match="there is no train-images-idx3-ubyte") as caught:
        load("mnist", tmp_path)
    assert caught.value.cause == "it holds a?[2J?b"


@pytest.mark.parametrize("name", ["data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_the_python_version_of_cifar10_is_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    with pytest.raises(
        RequestError, match="CIFAR-10's Python version: the binary version is needed"
    ) as caught:
        load("cifar10", tmp_path)
    assert "pickles, which can run any code" in caught.value.cause
    assert not Path("unpickled").exists()


def test_images_and_labels_of_different_counts_are_refused(mnist: Path) -> None:
    (mnist / LABELS).write_bytes(idx_bytes(np.zeros(39, np.uint8)))
    says = f"{IMAGES} and {LABELS} do not belong together"
    with pytest.raises(StoreError, match=says) as caught:
        load("mnist", mnist)
    assert caught.value.cause.startswith("40 images, 39 labels")


def test_images_of_another_size_are_refused(mnist: Path) -> None:
    (mnist / IMAGES).write_bytes(idx_bytes(np.zeros((40, 28, 27), np.uint8)))
    with pytest.raises(StoreError, match=f"{IMAGES} does not hold MNIST's images") as caught:
        load("mnist", mnist)
    assert caught.value.cause == "they have 28 × 27 pixels, not 28 × 28"


@pytest.mark.parametrize("source", ["mnist", "cifar10"])
def test_a_label_of_no_class_is_named_with_its_sample(source: str, mnist: Path, cifar10: Path) -> None:
    folder, name = (mnist, LABELS) if source == "mnist" else (cifar10, TRAIN_FILES[1])
    content = bytearray((folder / name).read_bytes())
    content[8 + 7 if source == "mnist" else 7 * RECORD] = 10
    (folder / name).write_bytes(content)
    with pytest.raises(StoreError, match=f"{name} holds the label 10, which is of no class") as caught:
        load(source, folder)
    assert caught.value.cause == "labels are 0 to 9; sample 7 has it"
    assert caught.value.exit_code == ExitCode.UNREADABLE


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD + 1, 8 * RECORD - 1])
def test_a_file_of_cifar10_that_is_cut_off_is_refused(cifar10: Path, size: int) -> None:
    os.truncate(cifar10 / "data_batch_5.bin", size)
    with pytest.raises(StoreError, match=r"data_batch_5\.bin is cut off, or no file of CIFAR-10's") as caught:
        load("cifar10", cifar10)
    assert caught.value.cause == f"{size} bytes are not a multiple of 3073, which one sample takes"


def test_an_empty_file_of_cifar10_is_refused(cifar10: Path) -> None:
    os.truncate(cifar10 / "test_batch.bin", 0)
    with pytest.raises(StoreError, match=r"test_batch\.bin is empty"):
        load("cifar10", cifar10)


def test_a_file_of_cifar10_that_is_far_too_large_is_not_read(cifar10: Path) -> None:
    os.truncate(cifar10 / "data_batch_1.bin", MAX_BYTES // RECORD * RECORD + RECORD)
    with pytest.raises(StoreError, match=f"is larger than {MAX_BYTES} bytes"):
        load("cifar10", cifar10)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be somebody whom permissions concern, also where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("locked", "says"), [("", "cannot read the data folder"), (IMAGES, "cannot read .*images")]
)
def test_what_may_not_be_read_is_told(locked: str, says: str) -> None:
    # Not in pytest's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="fwprof-test-"))
    try:
        write_mnist(folder / "mnist")
        folder.chmod(0o755)
        (folder / "mnist" / locked).chmod(0)
        with as_nobody(), pytest.raises(StoreError, match=says) as caught:
            load("mnist", folder / "mnist")
        assert caught.value.cause == "Permission denied"
        assert caught.value.next.startswith("make it readable")
    finally:
        (folder / "mnist").chmod(0o755)
        shutil.rmtree(folder)
