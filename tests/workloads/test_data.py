"""Data are seeded, split, shuffled and learnable."""

from __future__ import annotations

import sys

import msgspec
import numpy as np
import pytest

from fwprof.contracts import Batch
from fwprof.errors import ExitCode, PluginUnavailableError, RequestError
from fwprof.records import Workload
from fwprof.records.workload import SyntheticData
from fwprof.workloads import builtin_names, find_workload, text
from fwprof.workloads.data import DataSet, load_data, target_form
from fwprof.workloads.data.dataset import check_targets
from fwprof.workloads.language import resolve
from fwprof.workloads.weights import canonical_weights


def small(samples: int = 10) -> DataSet:
    inputs = np.arange(samples, dtype=np.float32).reshape(-1, 1)
    labels = np.arange(samples, dtype=np.int64)
    return DataSet(
        name="small",
        train_inputs=inputs,
        train_targets=labels,
        validation_inputs=inputs[:5],
        validation_targets=labels[:5],
        is_synthetic=True,
    )


def labels(batches: list[Batch]) -> list[list[int]]:
    return [batch.targets.tolist() for batch in batches]


@pytest.mark.parametrize("name", builtin_names())
def test_data_have_the_declared_shape_and_the_same_seed_gives_the_same(name: str) -> None:
    is_synthetic = isinstance(find_workload(name).data, SyntheticData)
    workload = find_workload(name, {"data.samples": 64} if is_synthetic else {})
    first, again, other = (load_data(workload, seed) for seed in (3, 3, 4))
    assert first.train_inputs.shape[1:] == first.validation_inputs.shape[1:] == workload.input.shape
    assert first.train_inputs.dtype == first.validation_inputs.dtype == workload.input.dtype
    shape, dtype = target_form(workload)
    assert (first.train_targets.shape[1:], first.train_targets.dtype) == (shape, dtype)
    if workload.loss == "mean_squared_error":
        assert abs(first.train_targets.mean()) < 1
        assert 0.5 < first.train_targets.std() < 2
    else:
        assert set(first.train_targets.ravel().tolist()) <= set(range(max(workload.classes, 2)))
    assert np.array_equal(first.train_inputs, again.train_inputs)
    assert np.array_equal(first.validation_targets, again.validation_targets)
    assert not np.array_equal(first.train_inputs, other.train_inputs)


def test_synthetic_samples_are_training_samples_and_a_quarter_more_validate() -> None:
    data = load_data(find_workload("mlp", {"data.samples": 100}), 0)
    assert (len(data.train_targets), len(data.validation_targets), data.is_synthetic) == (100, 25, True)


def test_synthetic_ids_follow_zipfs_law() -> None:
    data = load_data(find_workload("transformer-encoder"), 0)
    counts = np.bincount(data.train_inputs.ravel(), minlength=2000)
    assert len(counts) == 2000
    for rank in (1, 3, 9):
        # 131,072 draws: the rarest of these is drawn 1,600 times, its deviation 2.5 %.
        assert abs(counts[0] / counts[rank] / (rank + 1) - 1) < 0.12


@pytest.mark.parametrize("name", ["mlp", "keras-cnn", "transformer-encoder"])
def test_synthetic_labels_are_balanced_and_can_be_learnt(name: str) -> None:
    workload = find_workload(name)
    data = load_data(workload, 0)
    assert np.bincount(data.train_targets).min() > len(data.train_targets) / 20
    features, unseen = (
        counted(part) if name == "transformer-encoder" else part.reshape(len(part), -1)
        for part in (data.train_inputs, data.validation_inputs)
    )
    wanted = np.eye(10)[data.train_targets] - 0.1
    # Ridge regression: far above the 10 % of guessing is all that is asked.
    rule = np.linalg.solve(features.T @ features + 10 * np.eye(features.shape[1]), features.T @ wanted)
    accuracy = ((unseen @ rule).argmax(1) == data.validation_targets).mean()
    assert accuracy > 0.3


def test_pictures_can_be_learnt_from_the_means_of_patches_alone() -> None:
    """As pooling sees them: a rule of single pixels would be lost in the mean."""
    data = load_data(find_workload("keras-cnn"), 0)
    patches, unseen = (
        part.reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(-1, 16)
        for part in (data.train_inputs, data.validation_inputs)
    )
    means = np.stack([patches[data.train_targets == label].mean(axis=0) for label in range(10)])
    nearest = ((unseen[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == data.validation_targets).mean() > 0.6
    assert abs(data.train_inputs.std() - 1) < 0.01


def counted(ids: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(row, minlength=2000)[:300] for row in ids]).astype(float)


def test_padded_sequences_have_every_length_and_end_on_what_was_drawn() -> None:
    data = load_data(find_workload("text-lstm"), 0)
    is_padding = data.train_inputs == 0
    lengths = 80 - is_padding.sum(axis=1)
    assert set(lengths) == set(range(20, 81))
    # In front: from the first id on there is no padding.
    assert np.array_equal(is_padding, np.arange(80) < 80 - lengths[:, None])
    counts = np.bincount(data.train_inputs.ravel())
    assert abs(counts[1] / counts[4] / 4 - 1) < 0.12


def test_yes_and_no_are_in_balance_whatever_the_length() -> None:
    data = load_data(find_workload("text-lstm"), 0)
    lengths = (data.train_inputs != 0).sum(axis=1)
    for part in (lengths < 50, lengths >= 50):
        assert abs(data.train_targets[part].mean() - 0.5) < 0.1


def test_yes_and_no_can_be_learnt() -> None:
    data = load_data(find_workload("text-lstm", {"data.samples": 4096}), 0)
    features, unseen = (
        np.stack([np.bincount(row, minlength=10_000)[1:300] for row in part]).astype(float)
        for part in (data.train_inputs, data.validation_inputs)
    )
    wanted = data.train_targets[:, 0] - 0.5
    rule = np.linalg.solve(features.T @ features + 10 * np.eye(features.shape[1]), features.T @ wanted)
    assert ((unseen @ rule > 0) == (data.validation_targets[:, 0] > 0.5)).mean() > 0.7


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mlp", {"data.min_length": 4}),
        ("text-lstm", {"data.min_length": 81}),
    ],
)
def test_padding_where_there_are_no_such_sequences_is_refused(name: str, changes: dict[str, int]) -> None:
    with pytest.raises(RequestError, match=r"has no sequences of ids that could be \d+ long or longer"):
        load_data(find_workload(name, changes), 0)


def test_numbers_to_predict_are_a_rule_of_the_inputs_and_a_little_noise() -> None:
    data = load_data(find_workload("regression"), 0)
    inputs = np.concatenate((data.train_inputs, np.ones((len(data.train_inputs), 1))), axis=1)
    _, (left,), _, _ = np.linalg.lstsq(inputs, data.train_targets[:, 0], rcond=None)
    assert np.sqrt(left / len(inputs)) == pytest.approx(0.1, rel=0.05)
    assert data.train_targets.std() == pytest.approx(1, rel=0.05)


def test_columns_have_ids_of_their_own() -> None:
    ids = load_data(find_workload("recommender-embedding"), 0).train_inputs
    assert (ids // 1000 == np.arange(26)).all()
    counts = np.bincount(ids[:, 7] - 7000, minlength=1000)
    assert counts[0] == pytest.approx(2 * counts[1], rel=0.15)


def test_the_target_of_a_position_is_the_id_that_follows() -> None:
    data = load_data(find_workload("gpt", {"data.samples": 64}), 0)
    assert np.array_equal(data.train_inputs[:, 1:], data.train_targets[:, :-1])
    pairs = np.stack((data.train_inputs.ravel(), data.train_targets.ravel()))
    commonest = np.bincount(pairs[1][pairs[0] == 0]).max() / (pairs[0] == 0).sum()
    assert commonest > 0.4  # half of them follow by the rule


def test_trimmed_batches_are_as_long_as_their_longest_text_and_of_many_lengths() -> None:
    workload = find_workload("dynamic", {"data.samples": 256})
    data = load_data(workload, 0)
    batches = data.batches(8, 32)
    assert all((batch.inputs[:, 0] != text.PADDING).any() for batch in batches)
    lengths = [batch.inputs.shape[1] for batch in batches]
    assert len(set(lengths)) >= 6
    assert max(lengths) > 60
    assert min(lengths) < 30
    assert lengths != sorted(lengths)
    seen = np.concatenate([np.pad(b.inputs, ((0, 0), (80 - b.inputs.shape[1], 0))) for b in batches])
    assert {row.tobytes() for row in seen} == {row.tobytes() for row in data.train_inputs}
    for batch in data.epoch(1, 32, seed=0):
        used = (batch.inputs != text.PADDING).sum(axis=1)
        assert used.max() == batch.inputs.shape[1]
    assert all(batch.inputs.shape[1] <= 80 for batch in data.validation_batches(32))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("text-lstm", {"data.min_length": None, "data.is_trimmed": True}, "no sequences whose length could"),
        ("recommender-embedding", {"layers[0].vocabulary": 26_001}, "no 26 columns that share the ids"),
        ("mlp", {"data.has_columns": True}, "no 784 columns"),
    ],
)
def test_properties_that_the_input_cannot_have_are_refused(
    name: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        load_data(find_workload(name, changes), 0)


def test_a_vocabulary_of_padding_alone_is_refused() -> None:
    with pytest.raises(RequestError, match="has no id for anything but the padding"):
        load_data(find_workload("text-lstm", {"layers[0].vocabulary": 1}), 0)


def test_dictionaries_are_passages_of_real_words_from_both_books() -> None:
    data = load_data(find_workload("dictionaries-lstm"), 0)
    assert not data.is_synthetic
    assert len(data.train_targets) > 2000
    assert len(data.validation_targets) > 400
    for targets in (data.train_targets, data.validation_targets):
        assert 0.4 < targets.mean() < 0.6
    # Nothing but padding in front, never behind: a model ends on the last word.
    assert (data.train_inputs[:, -1] != text.PADDING).all()
    assert data.train_inputs.max() == 4999


def test_passages_of_one_entry_are_on_one_side_of_the_split() -> None:
    data = load_data(find_workload("dictionaries-lstm"), 0)
    training, validation = (
        {tuple(row[row != text.PADDING]) for row in part}
        for part in (data.train_inputs, data.validation_inputs)
    )
    assert not training & validation


@pytest.mark.parametrize("changes", [{"input.dtype": "float32"}, {"classes": 2}, {"loss": "cross_entropy"}])
def test_dictionaries_in_another_shape_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="dictionaries-lstm does not fit the data set dictionaries"):
        load_data(find_workload("dictionaries-lstm", changes), 0)


def test_samples_that_would_fill_the_memory_are_refused() -> None:
    with pytest.raises(RequestError, match=r"synthetic samples would take .* GiB"):
        load_data(find_workload("mlp", {"data.samples": 10**12}), 0)


def test_digits_are_the_real_ones_scaled_and_split_without_overlap() -> None:
    data = load_data(find_workload("digits-mlp"), 0)
    assert (len(data.train_targets), len(data.validation_targets)) == (1438, 359)
    assert not data.is_synthetic
    everything = np.concatenate([data.train_inputs, data.validation_inputs])
    assert (everything.min(), everything.max()) == (0, 1)
    from sklearn.datasets import load_digits

    assert np.array_equal(np.sort(everything.sum(1)), np.sort(load_digits().data.sum(1) / 16, kind="stable"))


def test_digits_come_as_images_where_the_workload_asks_for_them() -> None:
    flat = load_data(find_workload("digits-mlp"), 0)
    workload = find_workload("digits-mlp")
    image = msgspec.structs.replace(workload, input=msgspec.structs.replace(workload.input, shape=(8, 8, 1)))
    data = load_data(image, 0)
    assert data.train_inputs.shape == (1438, 8, 8, 1)
    assert np.array_equal(data.train_inputs.reshape(-1, 64), flat.train_inputs)


def test_digits_of_another_shape_are_refused() -> None:
    with pytest.raises(RequestError, match="workload digits-mlp does not fit the data set digits"):
        load_data(find_workload("digits-mlp", {"input.shape[0]": 63}), 0)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PluginUnavailableError, match="needs scikit-learn, which is not installed") as caught:
        load_data(find_workload("digits-mlp"), 0)
    assert caught.value.next == "pip install 'fwprof[data]'"
    assert caught.value.exit_code == ExitCode.NOT_AVAILABLE


def test_digits_mlp_reaches_95_percent_from_its_canonical_weights() -> None:
    workload = find_workload("digits-mlp")
    data = load_data(workload, 0)
    weights = canonical_weights(resolve(workload), 0)
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in weights.items()}
    step = 0
    for epoch in range(20):
        for batch in data.epoch(epoch, 32, seed=0):
            step += 1
            for name, gradient in gradients(weights, batch).items():
                first, second = moments[name]
                first += 0.1 * (gradient - first)
                second += 0.001 * (gradient**2 - second)
                scale = (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
                weights[name] -= 1e-3 * scale * first / (np.sqrt(second) + 1e-7)
    found = outputs(weights, data.validation_inputs)[1].argmax(1)
    assert (found == data.validation_targets).mean() >= 0.95


def outputs(weights: dict[str, np.ndarray], inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.maximum(inputs @ weights["0.kernel"] + weights["0.bias"], 0)
    return hidden, hidden @ weights["1.kernel"] + weights["1.bias"]


def gradients(weights: dict[str, np.ndarray], batch: Batch) -> dict[str, np.ndarray]:
    hidden, logits = outputs(weights, batch.inputs)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    error = (shares / shares.sum(1, keepdims=True) - np.eye(10)[batch.targets]) / len(logits)
    back = (error @ weights["1.kernel"].T) * (hidden > 0)
    return {
        "0.kernel": batch.inputs.T @ back,
        "0.bias": back.sum(0),
        "1.kernel": hidden.T @ error,
        "1.bias": error.sum(0),
    }


def test_batches_start_over_where_the_samples_end() -> None:
    assert labels(small().batches(4, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5]]


def test_an_epoch_shuffles_anew_and_drops_the_partial_batch() -> None:
    data = small()
    epochs = [labels(list(data.epoch(number, 4, seed=1))) for number in (0, 0, 1)]
    assert [len(batch) for batch in epochs[0]] == [4, 4]
    assert len({label for batch in epochs[0] for label in batch}) == 8
    assert epochs[0] == epochs[1] != epochs[2]
    assert labels(list(data.epoch(0, 4, seed=2))) != epochs[0]


def test_inputs_and_labels_stay_together_when_shuffled() -> None:
    for batch in small().epoch(3, 5, seed=0):
        assert batch.inputs[:, 0].tolist() == batch.targets.tolist()


def test_validation_keeps_its_order_and_its_partial_batch() -> None:
    assert labels(list(small().validation_batches(2))) == [[0, 1], [2, 3], [4]]


def test_a_batch_larger_than_the_data_set_is_refused() -> None:
    with pytest.raises(RequestError, match=r"a batch of 11 is larger than the data set small \(10 samples\)"):
        small().batches(1, 11)
    with pytest.raises(RequestError, match="a batch of 11 is larger"):
        next(small().epoch(0, 11, seed=0))


def labelled(loss: str, targets: list[object], classes: int = 3) -> tuple[DataSet, Workload]:
    inputs, values = np.zeros((len(targets), 1), np.float32), np.array(targets)
    data = DataSet(
        name="mine",
        train_inputs=inputs[:-1],
        train_targets=values[:-1],
        validation_inputs=inputs[-1:],
        validation_targets=values[-1:],
        is_synthetic=False,
    )
    return data, msgspec.structs.replace(find_workload("mlp-small"), loss=loss, classes=classes)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("cross_entropy", [0, 1, 2]),
        ("cross_entropy", [[0, 2], [1, 1], [2, 0]]),
        ("binary_cross_entropy", [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]),
        ("mean_squared_error", [[-7.5], [0.0], [1e9]]),
    ],
)
def test_labels_that_fit_the_loss_are_taken(loss: str, targets: list[object]) -> None:
    data, workload = labelled(loss, targets)
    assert check_targets(data, workload) is data


@pytest.mark.parametrize(
    ("loss", "targets", "cause"),
    [
        ("cross_entropy", [0, 3, 1], "between 0 and 3; the loss cross_entropy takes 0 to 2"),
        ("cross_entropy", [0, 1, 3], "between 3 and 3; the loss cross_entropy takes 0 to 2"),
        ("cross_entropy", [-1, 1, 2], "between -1 and 1; the loss cross_entropy takes 0 to 2"),
        ("cross_entropy", [[0, 1], [5, 2], [0, 0]], "between 0 and 5"),
        ("binary_cross_entropy", [[0.5], [1.0], [0.0]], "between 0.5 and 1.0; the loss binary_cross_entropy"),
        ("mean_squared_error", [[np.inf], [1.0], [0.0]], "takes finite numbers"),
        ("mean_squared_error", [[np.nan], [1.0], [0.0]], "takes finite numbers"),
    ],
)
def test_labels_outside_the_classes_are_refused(loss: str, targets: list[object], cause: str) -> None:
    said = "labels of the data set mine are outside the classes of workload mlp-small"
    with pytest.raises(RequestError, match=said) as caught:
        check_targets(*labelled(loss, targets))
    assert cause in caught.value.cause


def test_batches_can_be_written_to() -> None:
    data = small()
    data.train_inputs.flags.writeable = False
    batches = [*data.batches(1, 2), *data.epoch(0, 2, seed=0), *data.validation_batches(2)]
    assert all(batch.inputs.flags.writeable and batch.targets.flags.writeable for batch in batches)
