"""Layers fit together, or the error says which one does not and why."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from fwprof.errors import RequestError
from fwprof.records import ResolvedLayer, Workload
from fwprof.records.workload import SyntheticData
from fwprof.workloads.language import parameter_shapes, resolve, sample_shape, state_shapes


def workload(
    *layers: dict[str, Any], shape: tuple[int, ...], classes: int = 10, dtype: str = "float32"
) -> Workload:
    values = {
        "name": "w",
        "input": {"shape": shape, "dtype": dtype},
        "layers": layers,
        "classes": classes,
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    }
    return msgspec.convert(values, Workload)


def layer(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, **fields}


def last(*layers: dict[str, Any], shape: tuple[int, ...], dtype: str = "float32") -> ResolvedLayer:
    """Resolve the layers followed by a head that makes any float output fit."""
    head = (layer("flatten"), layer("dense", units=10))
    return resolve(workload(*layers, *head, shape=shape, dtype=dtype))[len(layers) - 1]


@pytest.mark.parametrize(
    ("described", "shape", "output", "parameters"),
    [
        (layer("dense", units=3), (5,), (3,), {"0.kernel": (5, 3), "0.bias": (3,)}),
        (layer("dense", units=3, use_bias=False), (5,), (3,), {"0.kernel": (5, 3)}),
        (layer("dense", units=3), (4, 4, 2), (4, 4, 3), {"0.kernel": (2, 3), "0.bias": (3,)}),
        (
            layer("conv2d", filters=7, size=5),
            (28, 20, 3),
            (24, 16, 7),
            {"0.kernel": (5, 5, 3, 7), "0.bias": (7,)},
        ),
        (
            layer("conv2d", filters=7, size=3, stride=2, padding="same", use_bias=False),
            (7, 8, 1),
            (4, 4, 7),
            {"0.kernel": (3, 3, 1, 7)},
        ),
        (
            layer("conv2d", filters=1, size=3, stride=2),
            (8, 9, 1),
            (3, 4, 1),
            {"0.kernel": (3, 3, 1, 1), "0.bias": (1,)},
        ),
        (layer("max_pool2d", size=2), (7, 8, 3), (3, 4, 3), {}),
        (layer("average_pool2d", size=3), (7, 9, 3), (2, 3, 3), {}),
        (layer("flatten"), (2, 3, 4), (24,), {}),
        (layer("activation", function="gelu"), (2, 3), (2, 3), {}),
        (layer("dropout", rate=0.5), (2, 3), (2, 3), {}),
        (layer("batch_norm"), (4, 4, 3), (4, 4, 3), {"0.gamma": (3,), "0.beta": (3,)}),
        (layer("layer_norm"), (4, 3), (4, 3), {"0.gamma": (3,), "0.beta": (3,)}),
        (layer("position_embedding"), (4, 3), (4, 3), {"0.table": (4, 3)}),
        (
            layer("attention", heads=2),
            (5, 6),
            (5, 6),
            {f"0.{part}_kernel": (6, 6) for part in ("query", "key", "value", "output")}
            | {f"0.{part}_bias": (6,) for part in ("query", "key", "value", "output")},
        ),
        (layer("average_over_sequence"), (5, 6), (6,), {}),
        (
            layer("lstm", units=3),
            (5, 6),
            (3,),
            {"0.kernel": (6, 12), "0.recurrent_kernel": (3, 12), "0.bias": (12,)},
        ),
        (
            layer("lstm", units=3, return_sequences=True),
            (5, 6),
            (5, 3),
            {"0.kernel": (6, 12), "0.recurrent_kernel": (3, 12), "0.bias": (12,)},
        ),
        (
            layer("gru", units=3),
            (5, 6),
            (3,),
            {
                "0.kernel": (6, 9),
                "0.recurrent_kernel": (3, 9),
                "0.bias": (9,),
                "0.recurrent_bias": (9,),
            },
        ),
        (
            layer("conv2d", filters=4, size=3, stride=2, padding=1, use_bias=False),
            (8, 7, 2),
            (4, 4, 4),
            {"0.kernel": (3, 3, 2, 4)},
        ),
        (layer("conv1d", filters=4, size=3), (8, 2), (6, 4), {"0.kernel": (3, 2, 4), "0.bias": (4,)}),
        (
            layer("conv1d", filters=4, size=3, stride=2, padding="same", use_bias=False),
            (7, 2),
            (4, 4),
            {"0.kernel": (3, 2, 4)},
        ),
        (layer("max_pool2d", size=3, stride=2, padding=1), (8, 7, 2), (4, 4, 2), {}),
        (layer("max_over_sequence"), (5, 6), (6,), {}),
        (layer("first_of_sequence"), (5, 6), (6,), {}),
        (layer("average_over_image"), (4, 5, 6), (6,), {}),
        (layer("pairwise_products"), (4, 6), (6,), {}),
        (
            layer("dense", units=3, lora_rank=2),
            (5,),
            (3,),
            {"0.lora_a": (5, 2), "0.lora_b": (2, 3)},
        ),
    ],
)
def test_each_layer_has_its_shapes_and_parameters(
    described: dict[str, Any],
    shape: tuple[int, ...],
    output: tuple[int, ...],
    parameters: dict[str, tuple[int, ...]],
) -> None:
    resolved = last(described, shape=shape)
    assert (resolved.path, resolved.input_shape, resolved.output_shape) == ("0", shape, output)
    assert resolved.parameters == parameters


def test_an_embedding_turns_ids_into_vectors() -> None:
    resolved = last(layer("embedding", vocabulary=9, units=4), shape=(6,), dtype="int64")
    assert resolved.output_shape == (6, 4)
    assert resolved.parameters == {"0.table": (9, 4)}


def test_batch_norm_has_statistics_that_are_not_trained() -> None:
    layers = resolve(workload(layer("batch_norm"), layer("dense", units=10), shape=(3,)))
    assert state_shapes(layers) == {"0.moving_mean": (3,), "0.moving_variance": (3,)}


def test_repeat_is_expanded_and_each_copy_has_weights_of_its_own() -> None:
    inner = layer("repeat", times=2, layers=[layer("dense", units=4), layer("activation", function="relu")])
    layers = resolve(workload(inner, layer("dense", units=10), shape=(4,)))
    assert [item.path for item in layers] == ["0", "1", "2", "3", "4"]
    assert list(parameter_shapes(layers)) == [
        "0.kernel",
        "0.bias",
        "2.kernel",
        "2.bias",
        "4.kernel",
        "4.bias",
    ]


def test_layers_in_a_residual_are_named_below_it() -> None:
    inner = layer("repeat", times=2, layers=[layer("dense", units=4)])
    outer = layer("residual", layers=[layer("residual", layers=[inner])])
    layers = resolve(workload(outer, layer("dense", units=10), shape=(4,)))
    assert [name for name in parameter_shapes(layers) if "kernel" in name] == [
        "0.0.0.kernel",
        "0.0.1.kernel",
        "1.kernel",
    ]
    assert layers[0].parameters == {}


def test_what_a_low_rank_layer_corrects_is_not_trained() -> None:
    layers = resolve(workload(layer("dense", units=10, lora_rank=2), shape=(5,)))
    assert state_shapes(layers) == {"0.kernel": (5, 10), "0.bias": (10,)}


def test_frozen_layers_keep_their_names_and_train_nothing() -> None:
    block = [layer("dense", units=4), layer("residual", layers=[layer("batch_norm")])]
    layers = resolve(workload(layer("frozen", layers=block), layer("dense", units=10), shape=(4,)))
    assert [(each.path, each.is_frozen) for each in layers] == [("0", True), ("1", True), ("2", False)]
    assert list(parameter_shapes(layers)) == ["2.kernel", "2.bias"]
    norm = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert list(state_shapes(layers)) == ["0.kernel", "0.bias", *(f"1.0.{name}" for name in norm)]
    assert layers[1].inner[0].is_frozen


def test_branches_are_joined_along_the_last_axis_and_named_by_their_number() -> None:
    branches = [
        layer("dense", units=3),
        layer("chain", layers=[layer("dense", units=2), layer("dense", units=4)]),
        layer("chain"),
    ]
    (joined, _) = resolve(workload(layer("branches", layers=branches), layer("dense", units=10), shape=(5,)))
    assert joined.output_shape == (3 + 4 + 5,)
    assert [name for name in parameter_shapes([joined]) if "kernel" in name] == [
        "0.0.kernel",
        "0.1.0.kernel",
        "0.1.1.kernel",
    ]


def test_branches_of_one_shape_are_added() -> None:
    branches = [layer("dense", units=10), layer("dense", units=10, use_bias=False)]
    (added,) = resolve(workload(layer("branches", layers=branches, join="add"), shape=(5,)))
    assert added.output_shape == (10,)


def test_a_tied_layer_names_the_table_that_it_shares() -> None:
    table = layer("embedding", vocabulary=10, units=4)
    layers = resolve(workload(table, layer("layer_norm"), layer("tied_dense"), shape=(5,), dtype="int64"))
    assert (layers[2].table, layers[2].parameters) == ("0.table", {})
    assert layers[2].output_shape == (5, 10)


def test_every_position_may_be_classified_where_the_inputs_are_ids() -> None:
    layers = [layer("embedding", vocabulary=10, units=4), layer("dense", units=10)]
    assert resolve(workload(*layers, shape=(5,), dtype="int64"))[-1].output_shape == (5, 10)


def test_a_workload_that_trains_nothing_is_refused() -> None:
    frozen = layer("frozen", layers=[layer("dense", units=10)])
    with pytest.raises(RequestError, match="w: there is nothing to learn"):
        resolve(workload(frozen, shape=(4,)))


@pytest.mark.parametrize(
    ("layers", "classes", "expected"),
    [
        ([layer("flatten")], 40, r"layer 1 \(flatten\) needs sequences of one length"),
        (
            [layer("position_embedding"), layer("max_over_sequence")],
            4,
            r"layer 1 \(position_embedding\) needs",
        ),
        (
            [layer("attention", heads=2, causal=True), layer("max_over_sequence")],
            4,
            r"layer 1 \(attention\) needs sequences",
        ),
        ([layer("dense", units=10)], 10, "every position has a target, and batches change their length"),
        (
            [layer("conv1d", filters=4, size=3), layer("max_over_sequence")],
            4,
            r"layers\[1\] \(conv1d\) has a kernel of 3 that does not fit",
        ),
    ],
)
def test_layers_of_one_length_are_refused_where_lengths_change(
    layers: list[dict[str, Any]], classes: int, expected: str
) -> None:
    table = layer("embedding", vocabulary=9, units=4)
    fixed = workload(table, *layers, shape=(10,), classes=classes, dtype="int64")
    data = SyntheticData(min_length=2, is_trimmed=True)
    changing = msgspec.structs.replace(fixed, data=data)
    assert (sample_shape(fixed), sample_shape(changing)) == ((10,), (None,))
    assert resolve(fixed)
    with pytest.raises(RequestError, match=expected):
        resolve(changing)


@pytest.mark.parametrize(
    ("layers", "shape", "dtype", "expected"),
    [
        ([layer("dense", units=3)], (5,), "float32", r"the last layer gives floats \(3,\), not \(10,\)"),
        ([layer("dense", units=10)], (5, 5), "float32", r"gives floats \(5, 10\), not \(10,\)"),
        ([layer("flatten")], (10,), "int64", r"gives ids \(10,\), not"),
        (
            [layer("conv2d", filters=1, size=1)],
            (10,),
            "float32",
            r"w: layers\[0\] \(conv2d\) needs an image .*given floats \(10,\)",
        ),
        ([layer("conv2d", filters=1, size=6)], (5, 9, 1), "float32", r"kernel of 6 × 6 that does not fit"),
        ([layer("max_pool2d", size=2)], (4, 4), "float32", r"\(max_pool2d\) needs an image"),
        ([layer("average_pool2d", size=5)], (4, 9, 1), "float32", r"window of 5 × 5 that does not fit"),
        (
            [layer("embedding", vocabulary=3, units=2)],
            (4,),
            "float32",
            r"needs integer ids .*given floats \(4,\)",
        ),
        (
            [layer("dense", units=10)],
            (4,),
            "int64",
            r"\(dense\) needs floats; .*given ids \(4,\)",
        ),
        ([layer("attention", heads=3)], (4, 8), "float32", r"3 heads, which do not divide the 8 channels"),
        ([layer("attention", heads=2)], (8,), "float32", r"\(attention\) needs a sequence"),
        ([layer("position_embedding")], (8,), "float32", r"\(position_embedding\) needs a sequence"),
        ([layer("lstm", units=3)], (8,), "float32", r"\(lstm\) needs a sequence .*given floats \(8,\)"),
        ([layer("lstm", units=3)], (8,), "int64", r"\(lstm\) needs floats; .*given ids"),
        ([layer("average_over_sequence")], (2, 2, 8), "float32", r"needs a sequence"),
        (
            [layer("residual", layers=[layer("dense", units=3)])],
            (4,),
            "float32",
            r"layers\[0\] \(residual\) must keep the shape .*turn floats \(4,\) into floats \(3,\)",
        ),
        ([layer("residual", layers=[])], (4,), "float32", r"must keep the shape .*it has no layers"),
        ([layer("residual", layers=[layer("flatten")])], (4,), "int64", r"must keep the shape of its float"),
        ([layer("repeat", times=2, layers=[])], (4,), "float32", r"\(repeat\) must repeat something"),
        (
            [layer("repeat", times=9, layers=[layer("residual", layers=[layer("max_pool2d", size=1)])])],
            (4,),
            "float32",
            r"layers\[0\]\.layers\[0\]\.layers\[0\] \(max_pool2d\)",
        ),
        (
            [
                layer(
                    "repeat",
                    times=1000,
                    layers=[layer("repeat", times=1000, layers=[layer("dropout", rate=0)])],
                )
            ],
            (4,),
            "float32",
            r"more than 10000 layers",
        ),
        ([layer("dense", units=10**30)], (4,), "float32", r"more than 1e\+12 parameters"),
        ([layer("conv1d", filters=1, size=5)], (4, 2), "float32", r"kernel of 5 that does not fit"),
        ([layer("conv1d", filters=1, size=1)], (4,), "float32", r"\(conv1d\) needs a sequence"),
        ([layer("gru", units=3)], (8,), "float32", r"\(gru\) needs a sequence"),
        ([layer("max_over_sequence")], (8,), "float32", r"\(max_over_sequence\) needs a sequence"),
        ([layer("first_of_sequence")], (8,), "float32", r"\(first_of_sequence\) needs a sequence"),
        ([layer("average_over_image")], (8, 2), "float32", r"\(average_over_image\) needs an image"),
        ([layer("pairwise_products")], (1, 2), "float32", r"\(pairwise_products\) needs two rows at least"),
        ([layer("tied_dense")], (4,), "float32", r"has no embedding before it to share a table with"),
        (
            [layer("embedding", vocabulary=3, units=2), layer("dense", units=3), layer("tied_dense")],
            (4,),
            "int64",
            r"layers\[2\] \(tied_dense\) shares a table of 2 units .*given floats \(4, 3\)",
        ),
        ([layer("max_pool2d", size=2, padding=2)], (4, 4, 1), "float32", r"pads by more than half a window"),
        (
            [layer("branches", layers=[layer("flatten"), layer("dropout", rate=0)])],
            (4, 2),
            "float32",
            r"cannot concatenate what its branches give .*floats \(8,\), floats \(4, 2\)",
        ),
        (
            [layer("branches", layers=[layer("dense", units=1), layer("dense", units=2)], join="add")],
            (4,),
            "float32",
            r"cannot add what its branches give .*floats \(1,\), floats \(2,\)",
        ),
        (
            [layer("branches", layers=[layer("chain"), layer("chain")])],
            (4,),
            "int64",
            r"cannot concatenate what its branches give .*ids \(4,\), ids \(4,\)",
        ),
        (
            [layer("branches", layers=[layer("repeat", times=2, layers=[layer("flatten")])] * 2)],
            (4,),
            "float32",
            r"layers\[0\]\.layers\[0\] \(repeat\) cannot be a branch by itself .*put it into a chain",
        ),
        ([layer("frozen", layers=[])], (4,), "float32", r"\(frozen\) must freeze something"),
        (
            [layer("frozen", layers=[layer("dropout", rate=0.1)])],
            (4,),
            "float32",
            r"layers\[0\]\.layers\[0\] \(dropout\) would change what a frozen part gives",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_place_and_shape(
    layers: list[dict[str, Any]], shape: tuple[int, ...], dtype: str, expected: str
) -> None:
    with pytest.raises(RequestError) as caught:
        resolve(workload(*layers, shape=shape, dtype=dtype))
    assert re.search(expected, " ".join(caught.value.lines()))
    assert max(map(len, caught.value.lines())) <= 100


def test_a_yes_or_no_needs_the_binary_loss() -> None:
    yes_or_no = workload(layer("dense", units=1), shape=(4,), classes=1)
    with pytest.raises(RequestError, match="cross-entropy of a single class is always 0") as caught:
        resolve(yes_or_no)
    assert "loss: binary_cross_entropy" in caught.value.next
    assert resolve(msgspec.structs.replace(yes_or_no, loss="binary_cross_entropy"))
