"""Which data a request means instead of the workload's own, and where its folder is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fwprof.errors import RequestError
from fwprof.records import DataChoice
from fwprof.records import workload as kinds
from fwprof.testing.data_files import write_mnist
from fwprof.workloads import find_workload
from fwprof.workloads.data import count_samples, load_data, take_samples
from fwprof.workloads.data.sources import FOLDERS, SOURCES, choose_data

YAML = """
name: mine
input: {shape: [784]}
layers: [{kind: dense, units: 10}]
classes: 10
optimizer: {kind: sgd, learning_rate: 0.1}
data: {source: mnist, folder: %s, samples: 20}
"""


def test_every_source_of_the_language_is_listed() -> None:
    records = [source.record for source in SOURCES.values()]
    assert set(records) == set(kinds.Data.__args__)
    assert [record.__struct_config__.tag for record in records] == list(SOURCES)
    assert [name for name, source in SOURCES.items() if source.needs_folder] == ["mnist", "cifar10"]
    assert set(FOLDERS.__args__) == {kinds.MnistData, kinds.Cifar10Data}


def test_a_source_takes_the_place_of_the_workloads_own() -> None:
    found = choose_data(find_workload("mlp"), DataChoice(source="digits"))
    assert found.data == kinds.DigitsData()


def test_a_source_that_the_workload_has_keeps_its_fields() -> None:
    text = find_workload("text-lstm")
    assert choose_data(text, DataChoice(source="synthetic")) == text
    own = msgspec.structs.replace(text, data=kinds.MnistData(folder="/old", samples=5))
    assert choose_data(own, DataChoice(source="mnist")) == own
    assert choose_data(own, DataChoice(source="mnist", folder="/new")).data == kinds.MnistData(
        folder="/new", samples=5
    )


@pytest.mark.parametrize(
    ("folder", "place"),
    [("~/files", "home/files"), ("files", "files"), ("../x", "../x"), ("/there", "/there")],
)
def test_a_folder_is_in_the_home_or_below_the_working_directory(
    folder: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = choose_data(find_workload("mlp"), DataChoice(source="mnist", folder=folder))
    assert found.data == kinds.MnistData(folder=str(tmp_path / place))


def test_a_workload_files_folder_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "below" / "files")
    (tmp_path / "below" / "mine.yaml").write_text(YAML % "files", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = find_workload("below/mine.yaml")
    assert found.data == kinds.MnistData(folder=str(tmp_path / "below" / "files"), samples=20)
    monkeypatch.chdir("/")
    assert len(load_data(found, 0).train_targets) == 20


def test_an_override_of_a_built_in_workload_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_workload("mlp", {"data.source": "mnist", "data.folder": "files", "data.samples": 9})
    assert found.data == kinds.MnistData(folder=str(tmp_path / "files"), samples=9)


def test_an_unknown_source_is_told_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="there is no data set 'cifar-10'") as caught:
        choose_data(find_workload("mlp"), DataChoice(source="cifar-10"))
    assert caught.value.next == "did you mean 'cifar10'?"
    with pytest.raises(RequestError, match="there is no data set 'x'") as caught:
        choose_data(find_workload("mlp"), DataChoice(source="x"))
    assert caught.value.next == "fwprof workloads says what each one is"


def test_a_source_without_its_folder_says_how_it_is_written() -> None:
    with pytest.raises(RequestError, match="the data set mnist needs the folder of your own copy") as caught:
        choose_data(find_workload("mlp"), DataChoice(source="mnist"))
    assert caught.value.next.startswith("write --data mnist:DIR")


def test_a_folder_for_data_that_have_none_is_refused() -> None:
    with pytest.raises(RequestError, match="the data set digits takes no folder") as caught:
        choose_data(find_workload("mlp"), DataChoice(source="digits", folder="x"))
    assert caught.value.next == "write --data digits"


@pytest.mark.parametrize(("name", "known"), [("mlp", None), ("digits-mlp", 1438), ("dictionaries-lstm", ...)])
def test_what_is_counted_is_what_is_loaded(name: str, known: object) -> None:
    work = find_workload(name)
    found = count_samples(work, 7)
    assert found == (len(load_data(work, 7).train_targets) if known is ... else known)
    if known == 1438:
        assert len(load_data(work, 7).train_targets) == known


@pytest.mark.parametrize("name", ["digits-mlp", "dictionaries-lstm"])
def test_other_real_data_are_cut_to_a_size_too(name: str) -> None:
    work = find_workload(name, {"data.samples": 100})
    whole = load_data(find_workload(name), 0)
    data = load_data(work, 0)
    assert len(data.train_targets) == 100
    assert len(data.validation_targets) == len(whole.validation_targets)


def test_made_data_grow_to_a_batch_unless_their_number_was_asked_for() -> None:
    work = find_workload("mlp", {"data.samples": 10})
    assert take_samples(work, None, None, 64) == work
    assert take_samples(work, 64, None, 64).data == kinds.SyntheticData(samples=64)
    with pytest.raises(
        RequestError, match=r"a batch of 64 is larger than the data set synthetic \(63 sam"
    ) as caught:
        take_samples(work, 63, None, 64)
    assert caught.value.next == "use 64 samples or more (--data-size), or a smaller batch"


def test_a_batch_larger_than_all_there_is_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"a batch of 2000 is larger than the data set digits \(1438 sam"
    ) as caught:
        take_samples(find_workload("digits-mlp"), None, 1438, 2000)
    assert caught.value.next == "choose a smaller batch size"
