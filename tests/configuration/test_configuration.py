"""Configuration is read safely, and errors say where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.configuration import parse_scalar, parse_yaml, read_toml_table, read_yaml
from fwprof.errors import ExitCode, FwprofError, RequestError, StoreError
from fwprof.records import RunRequest, Workload

GOOD = """\
name: small
input: {shape: [4]}
layers:
  - {kind: dense, units: 3}
  - kind: dense
    units: 2
    activation: relu
classes: 2
optimizer: {kind: adam, learning_rate: 1e-3}
"""


def message(error: FwprofError) -> str:
    return "\n".join(error.lines())


def refuse(text: str, **options: object) -> str:
    with pytest.raises(RequestError) as caught:
        parse_yaml(text, Workload, "w.yaml", **options)  # type: ignore[arg-type]  # overrides only
    assert caught.value.exit_code == ExitCode.USAGE
    return message(caught.value)


def test_a_good_file_becomes_a_record(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(GOOD)
    workload = read_yaml(path, Workload)
    assert workload.optimizer.learning_rate == 0.001
    assert workload.layers[1].activation == "relu"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("yes", "yes"),
        ("off", "off"),
        ("~", None),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_yaml_1_2_says_and_no_number_is_endless(text: str, value: object) -> None:
    found = parse_scalar(text)
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_python_writes_is_read_back(number: float) -> None:
    assert parse_scalar(repr(number)) == number


def test_quoted_numbers_stay_text() -> None:
    assert parse_yaml(GOOD + "description: '12'\n", Workload, "w.yaml").description == "12"


def test_all_unknown_keys_are_named_at_once_with_their_lines() -> None:
    text = refuse(GOOD.replace("units: 2", "unitz: 2").replace("classes", "clases") + "foo: 3\n")
    assert "w.yaml has 3 errors" in text
    assert "w.yaml:6: layers[1].unitz: unknown key – did you mean 'units'?" in text
    assert "w.yaml:8: clases: unknown key – did you mean 'classes'?" in text
    assert "w.yaml:10: foo: unknown key" in text
    assert "lacks" not in text


def test_a_flood_of_errors_is_cut_short() -> None:
    text = refuse(GOOD + "".join(f"foo{number}: 1\n" for number in range(100)))
    assert "w.yaml has 100 errors" in text
    assert text.endswith("w.yaml:29: foo19: unknown key\n         … and 80 more")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("relu", "rely", "w.yaml:7: layers[1].activation: 'rely' is not one of the choices"),
        ("relu", "rely", "did you mean 'relu'?"),
        ("kind: dense\n", "kind: dens\n", "w.yaml:5: layers[1].kind: 'dens' is not one of the choices"),
        ("kind: dense\n", "kind: zzz\n", "choose dense, conv2d, "),
        ("units: 2", "units: many", "w.yaml:6: layers[1].units: expected int, got str"),
        ("units: 2", "units: 0", "w.yaml:6: layers[1].units: expected int >= 1"),
        ("units: 2", "units: [2]", "w.yaml:6: layers[1].units: expected int, got a list"),
        ("    units: 2\n", "", "w.yaml:5: layers[1]: lacks the key 'units'"),
        ("- kind: dense", "- use_bias: true", "w.yaml:5: layers[1]: lacks the key 'kind'"),
        ("1e-3", ".nan", "w.yaml:9: optimizer.learning_rate: expected float, got str"),
        ("classes: 2", "classes: 2\nbatch_size: {cpu: x}", "w.yaml:9: batch_size: expected int, got str"),
        ("classes: 2", "classes: 2\nclasses: 3", "w.yaml:9: the key 'classes' stands here twice"),
        ("classes: 2", "classes: !!python/object/apply:os.system [ls]", "w.yaml:8: the tag !!python/object"),
        ("classes: 2", "classes: !!int '2'", "w.yaml:8: the tag !!int is refused"),
        ("classes: 2", "? [a]\n: 2", "w.yaml:8: a key must be a word"),
        ("classes: 2", "classes: *two", "w.yaml:8: '*two' stands for nothing before it"),
        ("classes: 2", "classes: &two [*two]", "w.yaml:8: '*two' stands for nothing before it"),
        ("classes: 2", "classes: [2", "w.yaml:9: not YAML"),
        ("classes: 2", "classes: 2\x00", "w.yaml: not YAML"),
        ("name: small\n", "name: small\n--- {}\n", "w.yaml:2: a second document"),
        ("classes: 2", "classes: " + "[" * 60, "w.yaml:8: nested deeper than 50 levels"),
        (GOOD, "", "w.yaml:1: expected a mapping, got nothing"),
        (GOOD, "- 1", "w.yaml:1: expected a mapping, got a list"),
        (GOOD, "just words", "w.yaml:1: expected a mapping, got str"),
    ],
)
def test_an_error_names_line_and_key(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    text = refuse(GOOD.replace(old, new))
    assert expected in text
    assert max(map(len, text.splitlines())) <= 100


def test_keys_and_values_of_mappings_are_checked_too() -> None:
    with pytest.raises(RequestError, match=r"r.yaml:1: limits: invalid enum value 'buildd'"):
        parse_yaml("limits: {buildd: 3}", RunRequest, "r.yaml")
    with pytest.raises(RequestError, match=r"r.yaml:2: threads\[1\]: 'some' is not one of the choices"):
        parse_yaml("seed: 1\nthreads: [1, some]", RunRequest, "r.yaml")


def test_an_alias_stands_for_its_value() -> None:
    text = GOOD.replace("- {kind: dense, units: 3}", "- &two {kind: dense, units: 3}\n  - *two")
    assert parse_yaml(text, Workload, "w.yaml").layers[0] == parse_yaml(text, Workload, "w.yaml").layers[1]


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "w.yaml:4: more than 10000 values" in refuse("\n".join(lines))


def test_aliases_cannot_hide_depth() -> None:
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} {'[' * 20}*a{i - 1}{']' * 20}" for i in range(1, 20)]
    assert "w.yaml:4: nested deeper than 50 levels" in refuse("\n".join(lines))


def test_more_than_a_mebibyte_is_refused_before_parsing(tmp_path: Path) -> None:
    assert "w.yaml is larger than 1048576 bytes" in refuse("x" * 2**21)
    path = tmp_path / "big.yaml"
    path.write_bytes(b"\xff" * 10_000_000)
    with pytest.raises(RequestError, match="is larger than 1048576 bytes"):
        read_yaml(path, Workload)


def test_a_long_list_is_refused_by_its_count() -> None:
    assert "more than 10000 values" in refuse("a: [" + "1," * 20_000 + "]")


def test_long_and_unprintable_words_are_shortened_in_messages() -> None:
    text = refuse(GOOD + f'"{"k" * 500}\\e": 1\n')
    assert "k" * 39 + "…: unknown key" in text
    assert max(map(len, text.splitlines())) <= 100


@given(st.text(max_size=60))
def test_any_text_is_either_read_or_refused_as_a_request(text: str) -> None:
    with pytest.raises(RequestError, match=r"w\.yaml"):
        parse_yaml(text, Workload, "w.yaml")


def test_overrides_replace_and_add_values() -> None:
    changes = {"layers[0].units": 7, "layers.1.units": 5, "classes": 5, "optimizer.beta_1": 0.5}
    workload = parse_yaml(GOOD, Workload, "w.yaml", changes)
    assert [layer.units for layer in workload.layers] == [7, 5]
    assert workload.optimizer.beta_1 == 0.5


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("optimizer.learning_rate", "fast", "--set: optimizer.learning_rate: expected float, got str"),
        ("optimiser.learning_rate", 1, "--set: optimiser: unknown key\n  next:  did you mean 'optimizer'?"),
        ("layers[9].units", 1, "--set layers[9].units: there is no item '9'"),
        ("layers.x", 1, "--set layers.x: there is no item 'x'"),
        ("name.first", 1, "--set name.first: nothing has a part 'first' there"),
        ("data.samples", 9, "--set: data: lacks the key 'source'"),
    ],
)
def test_a_wrong_override_is_refused_by_its_path(path: str, value: object, expected: str) -> None:
    assert expected in refuse(GOOD, overrides={path: value})


def test_a_file_that_is_not_there_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no file .*missing.yaml"):
        read_yaml(tmp_path / "missing.yaml", Workload)


def test_a_folder_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(RequestError, match="is not a regular file"):
            read_yaml(tmp_path / name, Workload)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_bytes("name: ä".encode("latin-1"))
    with pytest.raises(RequestError, match="is not UTF-8 text"):
        read_yaml(path, Workload)


def test_a_file_that_cannot_be_read_is_a_store_error() -> None:
    # Reading a process's own memory from address 0 fails for every user, root included.
    with pytest.raises(StoreError, match="cannot read /proc/self/mem") as caught:
        read_yaml(Path("/proc/self/mem"), Workload)
    assert caught.value.exit_code == ExitCode.UNREADABLE


TOML = """\
[project]
name = "mine"

[tool.fwprof]
seed = 3
threads = [1, "all"]

[tool.fwprof.limits]
build = 5.0
"""


def test_a_toml_table_becomes_a_record(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(TOML)
    request = read_toml_table(path, "tool.fwprof", RunRequest)
    assert (request.seed, request.threads, request.limits) == (3, (1, "all"), {"build": 5.0})
    assert read_toml_table(path, "tool.other", RunRequest) == RunRequest()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed = 3", "sead = 3", r"pyproject.toml:5: sead: unknown key"),
        ("seed = 3", 'seed = "x"', r"pyproject.toml:5: seed: expected int, got str"),
        ('"all"]', '"al"]', r"pyproject.toml:6: threads\[1\]: 'al' is not one of the choices"),
        ("seed = 3", "seed = ", r"pyproject.toml is not TOML"),
        ("seed = 3", "seed = " + "[" * 5000, r"pyproject.toml is not TOML"),
    ],
)
def test_a_toml_error_names_line_and_key(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(RequestError, match=expected):
        read_toml_table(path, "tool.fwprof", RunRequest)
