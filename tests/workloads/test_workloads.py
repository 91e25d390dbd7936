"""Built-in workloads are found, overridden, planned and documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from fwprof.configuration import parse_yaml
from fwprof.errors import RequestError
from fwprof.records import Workload
from fwprof.records.workload import Layer
from fwprof.workloads import QUICK_SET, batch_size_for, builtin_names, find_workload, plan_workload

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "workloads.md"
BUILTIN_PAGE = PAGE.with_name("built-in-workloads.md")


def test_the_built_in_workloads_are_named_like_their_files() -> None:
    assert {"mlp", "bert", "resnet50", "dynamic"} < set(builtin_names())
    assert list(builtin_names()) == sorted(builtin_names())
    for name in builtin_names():
        workload = find_workload(name)
        assert workload.name == name
        assert workload.description
        assert set(workload.batch_size) == {"default", "cpu"}
    assert set(QUICK_SET) <= set(builtin_names())


def test_a_misspelt_workload_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="there is no workload 'lenett'") as caught:
        find_workload("lenett")
    assert caught.value.next == "did you mean 'lenet'?"
    with pytest.raises(RequestError, match="there is no workload 'x9'") as caught:
        find_workload("x9")
    assert caught.value.next == "choose one of these, or name a .yaml file that exists"


def test_a_batch_that_cannot_be_cut_into_its_parts_is_refused() -> None:
    with pytest.raises(RequestError, match="a batch of 10 cannot be cut into equal parts") as caught:
        plan_workload(find_workload("mlp", {"accumulate": 4}), 10)
    assert caught.value.next == "choose a batch size that is a multiple of 4"


def test_a_workload_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ninput: {shape: [3]}\nlayers: [{kind: dense, units: 2}]\nclasses: 2\n")
    with pytest.raises(RequestError, match=r"mine.yaml:1: lacks the key 'optimizer'"):
        find_workload(str(path))
    with path.open("a") as file:
        file.write("optimizer: {kind: sgd, learning_rate: 0.1}\n")
    assert find_workload(str(path), {"layers[0].activation": "tanh"}).layers[0].activation == "tanh"
    with pytest.raises(RequestError, match="there is no file"):
        find_workload(str(tmp_path / "other.yaml"))


def test_overrides_change_a_built_in_workload_or_are_refused() -> None:
    assert find_workload("mlp", {"optimizer.learning_rate": 0.1}).optimizer.learning_rate == 0.1
    with pytest.raises(RequestError, match=r"--set: optimizer\.learning_rat: unknown key"):
        find_workload("mlp", {"optimizer.learning_rat": 0.1})
    with pytest.raises(RequestError, match=r"--set: layers\[0\]\.units: expected int, got str"):
        find_workload("mlp", {"layers[0].units": "wide"})


def test_a_plan_holds_shapes_and_counts() -> None:
    plan = plan_workload(find_workload("mlp"), 64)
    assert (plan.name, plan.parameter_count, plan.native) == ("mlp", 101_770, None)
    assert plan.flops == 64 * 2 * (2 * 784 * 128 + 3 * 128 * 10)
    assert plan.traffic_bytes
    assert [layer.output_shape for layer in plan.layers] == [(128,), (10,)]


def test_batch_sizes_are_chosen_by_the_kind_of_device() -> None:
    workload = find_workload("mlp", {"batch_size.default": 5, "batch_size.cpu": 3})
    assert [batch_size_for(workload, kind) for kind in ("cpu", "something")] == [3, 5]


def test_a_workload_without_a_batch_size_for_the_device_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ninput: {shape: [3]}\nlayers: [{kind: dense, units: 2}]\nclasses: 2\n"
        "optimizer: {kind: sgd, learning_rate: 0.1}\nbatch_size: {cpu: 4}\n"
    )
    with pytest.raises(RequestError, match="workload mine has no batch size for big-card"):
        batch_size_for(find_workload(str(path)), "big-card")


def test_listing_workloads_loads_no_numbers_library() -> None:
    code = (
        "import sys; from fwprof.workloads import *; [find_workload(n) for n in builtin_names()];"
        "print([name for name in ('numpy', 'scipy', 'sklearn', 'rich', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_reference_page_lists_every_layer_with_its_fields() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_-]+)` +\|(.*)$", PAGE.read_text(), flags=re.MULTILINE))
    for kind in get_args(Layer):
        assert str(kind.__struct_config__.tag) in rows
        for field in kind.__struct_fields__:
            assert f"`{field}" in rows[str(kind.__struct_config__.tag)]


SECTION = re.compile(r"^### `(?P<name>.+?)`\n(?P<text>.*?)(?=^##|\Z)", flags=re.MULTILINE | re.DOTALL)
COUNT = re.compile(
    r"^- (?P<what>parameters|FLOP): `(?P<formula>[0-9·+*() ]+)` = (?P<number>[0-9,]+)$", flags=re.M
)


def test_every_built_in_has_a_section_with_its_counts_by_hand() -> None:
    sections = {found["name"]: found["text"] for found in SECTION.finditer(BUILTIN_PAGE.read_text())}
    assert set(sections) == set(builtin_names())
    for name, text in sections.items():
        workload = find_workload(name)
        plan = plan_workload(workload, 8)
        counts = {found["what"]: found for found in COUNT.finditer(text)}
        expected = {"parameters": plan.parameter_count}
        expected |= {"FLOP": plan.flops // 8} if plan.flops is not None else {}
        assert counts.keys() == expected.keys(), name
        for what, number in expected.items():
            by_hand = eval(counts[what]["formula"].replace("·", "*"))
            assert by_hand == int(counts[what]["number"].replace(",", "")) == number, (name, what)
        sizes = dict.fromkeys((workload.batch_size["cpu"], workload.batch_size["default"]))
        assert f"Batch {', '.join(f'{size:,}' for size in sizes)}." in re.sub(r"\s+", " ", text), name


def test_the_example_on_the_reference_page_is_a_workload() -> None:
    example, *_ = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    by_hand = (27 * 8 + 8) + 2 * 8 + 2 * (72 * 8 + 8) + (8 * 8 * 8 * 15 + 15) + (15 * 4 + 4)
    assert plan_workload(parse_yaml(example, Workload, "example"), 32).parameter_count == by_hand
