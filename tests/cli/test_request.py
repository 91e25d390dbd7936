"""From words to a RunRequest: precedence, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwprof.cli.request import build_request, parse_bytes, parse_limit, parse_share, parse_threads
from fwprof.errors import RequestError
from fwprof.records import DataChoice, FrameworkChoice, RunRequest


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_said_is_the_default_request() -> None:
    assert build_request({}, None) == RunRequest()


def test_flags_win_over_the_file_and_the_file_over_the_project(tmp_path: Path) -> None:
    Path("pyproject.toml").write_text('[tool.fwprof]\nseed = 1\nepochs = 1\noutput = "project"\n')
    config = tmp_path / "matrix.yaml"
    config.write_text("seed: 2\nepochs: 2\nplugins: ['alpha:graph', beta]\n")
    request = build_request({"seed": 3}, config)
    assert (request.seed, request.epochs, request.output) == (3, 2, "project")
    assert request.plugins == (FrameworkChoice(name="alpha", variant="graph"), FrameworkChoice(name="beta"))


def test_what_is_asked_of_a_training_may_stand_in_a_file(tmp_path: Path) -> None:
    Path("pyproject.toml").write_text("[tool.fwprof]\ntarget_accuracy = 0.9\nepochs = 4\n")
    config = tmp_path / "matrix.yaml"
    config.write_text("training_seeds: 3\n")
    request = build_request({"target_accuracy": parse_share("97.5%")}, config)
    assert (request.epochs, request.training_seeds, request.target_accuracy) == (4, 3, 0.975)
    with pytest.raises(RequestError, match="cannot be carried out") as caught:
        build_request({"training_seeds": 0}, config)
    assert "training_seeds" in caught.value.cause


def test_a_project_without_our_table_says_nothing() -> None:
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert build_request({}, None) == RunRequest()


def test_one_limit_on_the_command_line_keeps_the_others_of_the_file(tmp_path: Path) -> None:
    config = tmp_path / "matrix.yaml"
    config.write_text("limits: {build: 10, block: 5}\n")
    assert build_request({"limits": {"block": 7.0}}, config).limits == {"build": 10.0, "block": 7.0}


def test_an_unknown_key_is_refused_with_file_line_and_suggestion(tmp_path: Path) -> None:
    config = tmp_path / "matrix.yaml"
    config.write_text("seed: 1\nplugin: [alpha]\n")
    with pytest.raises(RequestError, match=r"matrix\.yaml:2.*plugin") as caught:
        build_request({}, config)
    assert "plugins" in caught.value.next


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(RequestError, match="cannot be carried out") as caught:
        build_request({"rounds": 0}, None)
    assert "rounds" in caught.value.cause


def test_model_arguments_go_to_the_model_and_leave_the_overrides() -> None:
    flags = {"models": ("train.py:make",), "overrides": {"model.depth": 3, "classes": 7}}
    request = build_request(flags, None)
    assert request.models[0].arguments == {"depth": 3}
    assert request.overrides == {"classes": 7}


def test_model_arguments_without_a_model_are_refused() -> None:
    with pytest.raises(RequestError, match=r"--set model\.depth has no model to go to"):
        build_request({"overrides": {"model.depth": 3}}, None)


def test_data_are_written_the_same_in_a_file_and_as_a_flag(tmp_path: Path) -> None:
    Path("pyproject.toml").write_text('[tool.fwprof]\ndata = "digits"\ndata_sizes = [5]\n')
    assert build_request({}, None).data == DataChoice(source="digits")
    config = tmp_path / "matrix.yaml"
    config.write_text("data: mnist:~/some files\ndata_sizes: [100, 200]\n")
    request = build_request({}, config)
    assert request.data == DataChoice(source="mnist", folder="~/some files")
    assert request.data_sizes == (100, 200)
    assert build_request({"data": "cifar10:a:b"}, config).data == DataChoice(source="cifar10", folder="a:b")


@pytest.mark.parametrize("text", ["", ":folder", "/a/folder", "two words"])
def test_what_names_no_data_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="does not name a data set") as caught:
        build_request({"data": text}, None)
    assert caught.value.cause == "the form is NAME[:DIR]"


def test_shares_are_percent_or_fractions() -> None:
    assert parse_share("5%") == pytest.approx(0.05)
    assert parse_share("0.05") == pytest.approx(0.05)


@pytest.mark.parametrize("text", ["5", "0", "-1%", "100%", "five", "nan", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is not a share"):
        parse_share(text)


def test_threads_are_a_count_or_all() -> None:
    assert [parse_threads("all"), parse_threads("4")] == ["all", 4]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "²", ""])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is not a number of threads"):
        parse_threads(text)


def test_a_limit_names_a_stage_and_seconds() -> None:
    assert parse_limit("build=1.5") == ("build", 1.5)


def test_an_unknown_stage_is_refused_with_a_suggestion() -> None:
    with pytest.raises(RequestError, match="names no stage of a worker: 'biuld'") as caught:
        parse_limit("biuld=3")
    assert "build" in caught.value.next


@pytest.mark.parametrize("text", ["build=soon", "build=0", "build=-1", "build=nan", "build=inf"])
def test_a_limit_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is not a number of seconds"):
        parse_limit(text)


def test_a_word_without_an_equals_sign_is_no_limit() -> None:
    with pytest.raises(RequestError, match="not of the form NAME=VALUE"):
        parse_limit("build")


WORKLOAD = (
    "name: mine\ninput: {shape: [4]}\nlayers: [{kind: dense, units: 2}]\nclasses: 2\n"
    "optimizer: {kind: sgd, learning_rate: 0.1}\n"
)


def matrix(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "matrix.yaml").write_text(text)
    return folder / "matrix.yaml"


def test_paths_in_a_file_are_relative_to_it() -> None:
    config = matrix(
        Path("here"),
        "workloads: [mlp, mine.yaml, /there/mine.yaml]\nmodels: ['alpha=net.py:make', pkg.net:make]\n"
        "environments: {old: .venv/bin/python, new: python3}\n",
    )
    Path("here/mine.yaml").write_text(WORKLOAD)
    Path("here/net.py").write_text("")
    with pytest.raises(RequestError, match=r"there is no file /there/mine\.yaml"):
        build_request({}, config)
    config.write_text(config.read_text().replace(", /there/mine.yaml", ""))
    request = build_request({}, config)
    assert request.workloads == ("mlp", "here/mine.yaml")
    assert [model.factory for model in request.models] == ["here/net.py:make", "pkg.net:make"]
    assert request.models[0].framework == "alpha"
    assert request.environments == {"old": "here/.venv/bin/python", "new": "python3"}


def test_paths_of_a_file_beside_stay_as_they_are_written() -> None:
    Path("mine.yaml").write_text(WORKLOAD)
    Path("matrix.yaml").write_text("workloads: [mine.yaml]\n")
    assert build_request({}, Path("matrix.yaml")).workloads == ("mine.yaml",)


def test_every_word_that_names_nothing_is_told_with_its_line() -> None:
    config = matrix(
        Path("here"),
        "workloads:\n  - mlp\n  - lenett\n  - mien.yaml\nplugins: [alpha, 'no plugin']\n"
        "models: [nett.py:make, nonsense]\n",
    )
    Path("here/mine.yaml").write_text(WORKLOAD)
    Path("here/net.py").write_text("")
    with pytest.raises(RequestError, match=r"here/matrix\.yaml has 5 errors") as caught:
        build_request({}, config)
    for said in (
        "matrix.yaml:3: workloads[1]: there is no workload 'lenett' – did you mean 'lenet'?",
        "matrix.yaml:4: workloads[2]: there is no file mien.yaml – did you mean 'mine.yaml'?",
        "matrix.yaml:5: plugins[1]: 'no plugin' does not name a framework plugin",
        "matrix.yaml:6: models[0]: there is no file nett.py – did you mean 'net.py'?",
        "matrix.yaml:6: models[1]: 'nonsense' does not name a model",
    ):
        assert said in caught.value.cause


def test_a_path_that_holds_from_the_current_folder_is_told_as_it_should_be() -> None:
    config = matrix(Path("here"), "workloads: [mine.yaml]\n")
    Path("mine.yaml").write_text(WORKLOAD)
    with pytest.raises(RequestError, match=r"matrix\.yaml:1: workloads\[0\]: there is no file") as caught:
        build_request({}, config)
    assert caught.value.next == "from this file it is ../mine.yaml"


def test_a_word_in_place_of_a_list_is_told_how_to_write_it() -> None:
    config = matrix(Path("here"), "workloads: mlp\n")
    with pytest.raises(RequestError, match=r"matrix\.yaml:1: workloads: expected a list") as caught:
        build_request({}, config)
    assert caught.value.next == "write [mlp]"


def test_what_a_flag_replaces_is_not_looked_at() -> None:
    config = matrix(Path("here"), "workloads: [gone.yaml]\nepochs: 5\n")
    request = build_request({"workloads": ("mlp",)}, config)
    assert (request.workloads, request.epochs) == (("mlp",), 5)


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GB", 2 * 10**9), ("512MiB", 512 * 2**20), ("1.5 g", 15 * 10**8), ("800kB", 800_000), ("4096", 4096)],
)
def test_memory_is_written_as_people_write_it(tmp_path: Path, text: str, count: int) -> None:
    assert parse_bytes(text) == count
    assert build_request({"find_max_batch": text}, None).find_max_batch == count
    config = tmp_path / "request.yaml"
    config.write_text(f"find_max_batch: {text}\n")
    assert build_request({}, config).find_max_batch == count


@pytest.mark.parametrize("text", ["", "GB", "-1", "0", "2 apples", "1iB", "0.1", "1e9"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no amount of memory"):
        parse_bytes(text)
