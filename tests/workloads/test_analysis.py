"""The analytic counts are those of a calculation by hand."""

from __future__ import annotations

import msgspec
import pytest

from fwprof.records import Optimizer, Precision, Workload
from fwprof.records.workload import Adam, Sgd
from fwprof.workloads import builtin_names, find_workload, plan_workload
from fwprof.workloads.analysis import parameter_count, traffic_bytes, training_flops
from fwprof.workloads.language import resolve

BLOCK = 2 * 256 + 4 * (128 * 128 + 128) + (128 * 256 + 256) + (256 * 128 + 128)
BERT_BLOCK = 2 * 512 + 4 * (256 * 256 + 256) + (256 * 1024 + 1024) + (1024 * 256 + 256)
GPT_BLOCK = 2 * 256 + 4 * (128 * 128 + 128) + (128 * 512 + 512) + (512 * 128 + 128)


def basic_stage(width: int, before: int) -> int:
    """Weights of two basic blocks with their norms; a projection where the width changes."""
    convolutions = 9 * before * width + 3 * 9 * width * width + 4 * 2 * width
    return convolutions + (before * width + 2 * width) * (before != width)


def bottleneck_stage(width: int, before: int, count: int) -> int:
    """Weights of `count` bottlenecks with their norms, the first of which has a projection."""
    inner = 9 * width * width + width * 4 * width + 2 * (width + width + 4 * width)
    first = before * width + inner + before * 4 * width + 2 * 4 * width
    return first + (count - 1) * (4 * width * width + inner)


PARAMETERS = {
    "bert": 30522 * 256 + 128 * 256 + 512 + 4 * BERT_BLOCK + (256 * 256 + 256) + (256 * 2 + 2),
    "cifar-net": (75 * 6 + 6) + (150 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10),
    "dictionaries-lstm": 5000 * 64 + 4 * (2 * 64 * 64 + 64) + 65,
    "digits-mlp": (64 * 128 + 128) + (128 * 10 + 10),
    "dynamic": 10_000 * 64 + 3 * (2 * 64 * 64 + 2 * 64) + 65,
    "finetune": 128 * 10 + 10,
    "finetune-lora": 2 * ((128 * 8 + 8 * 256) + (256 * 8 + 8 * 128)) + 128 * 10 + 10,
    "gpt": 256 * 128 + 64 * 128 + 4 * GPT_BLOCK + 256,
    "keras-cnn": (9 * 32 + 32) + (5408 * 128 + 128) + (128 * 10 + 10),
    "lenet": (25 * 10 + 10) + (25 * 10 * 20 + 20) + (320 * 50 + 50) + (50 * 10 + 10),
    "mlp": 101_770,
    "mlp-dropout": 101_770,
    "mlp-small": 50_890,
    "recommender": (32 * 64 + 64) + (64 + 1),
    "recommender-embedding": 26_000 * 16 + (741 * 128 + 128) + (128 * 64 + 64) + 65,
    "regression": (8 * 64 + 64) + (64 * 64 + 64) + 65,
    # 11,689,512 and 25,557,032, as they are known.
    "resnet18": 49 * 3 * 64
    + 2 * 64
    + sum(basic_stage(width, max(64, width // 2)) for width in (64, 128, 256, 512))
    + (512 * 1000 + 1000),
    "resnet50": 49 * 3 * 64
    + 2 * 64
    + bottleneck_stage(64, 64, 3)
    + bottleneck_stage(128, 256, 4)
    + bottleneck_stage(256, 512, 6)
    + bottleneck_stage(512, 1024, 3)
    + (2048 * 1000 + 1000),
    "text-cnn": 10_000 * 128 + (3 + 4 + 5) * 128 * 100 + 300 + 301,
    "text-gru": 10_000 * 128 + 3 * (2 * 128 * 128 + 2 * 128) + 129,
    "text-lstm-multilabel": 10_000 * 128 + 4 * (2 * 128 * 128 + 128) + 3 * 129,
    "text-lstm": 10_000 * 128 + 4 * (2 * 128 * 128 + 128) + 129,
    "transformer-encoder": 2000 * 128 + 64 * 128 + 2 * BLOCK + 256 + 1290,
}
# Multiply-adds of one sample, forward: those taken once (forward alone), twice (and dW or dX), three times.
ENCODER = 2 * (4 * 64 * 128 * 128 + 2 * 64 * 64 * 128 + 2 * 64 * 128 * 256)
BASIC_BLOCKS = sum(
    side * side * (9 * before * width + 3 * 9 * width * width + before * width * (before != width))
    for side, width, before in ((56, 64, 64), (28, 128, 64), (14, 256, 128), (7, 512, 256))
)
# The first 1 × 1 convolution of a stage works on the image before its stride.
BOTTLENECKS = sum(
    inside * inside * before * width
    + side * side * (9 * width * width + 4 * width * width + before * 4 * width)
    + (count - 1) * side * side * (4 * width * width + 9 * width * width + 4 * width * width)
    for inside, side, width, before, count in (
        (56, 56, 64, 64, 3),
        (56, 28, 128, 256, 4),
        (28, 14, 256, 512, 6),
        (14, 7, 512, 1024, 3),
    )
)
PRODUCTS = {
    "bert": (
        0,
        0,
        4 * (4 * 128 * 256 * 256 + 2 * 128 * 128 * 256 + 2 * 128 * 256 * 1024) + 256 * 256 + 256 * 2,
    ),
    "cifar-net": (0, 28 * 28 * 6 * 75, 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10),
    "digits-mlp": (0, 64 * 128, 128 * 10),
    # Nothing below the head has a gradient.
    "finetune": (ENCODER, 128 * 10, 0),
    # Below the first correction nothing has one. From there on frozen kernels have dX, attention's
    # products of activations both, corrections and head all; the first correction needs no dX.
    "finetune-lora": (
        4 * 64 * 128 * 128 + 2 * 64 * 64 * 128 + 64 * 128 * 256,
        4 * 64 * 128 * 128 + 3 * 64 * 128 * 256 + 64 * 128 * 8,
        2 * 64 * 64 * 128 + 64 * (8 * 256 + 256 * 8 + 8 * 128) + 64 * 2 * (128 + 256) * 8 + 128 * 10,
    ),
    "gpt": (0, 0, 4 * (4 * 64 * 128 * 128 + 2 * 64 * 64 * 128 + 2 * 64 * 128 * 512) + 64 * 128 * 256),
    "keras-cnn": (0, 26 * 26 * 32 * 9, 5408 * 128 + 128 * 10),
    "lenet": (0, 24 * 24 * 10 * 25, 8 * 8 * 20 * 250 + 320 * 50 + 50 * 10),
    "mlp": (0, 784 * 128, 128 * 10),
    "mlp-dropout": (0, 784 * 128, 128 * 10),
    "mlp-small": (0, 784 * 64, 64 * 10),
    "recommender": (0, 32 * 64, 64),
    # A pair's product is one of two activations: forward, and a gradient for each.
    "recommender-embedding": (0, 0, 325 * 16 + 741 * 128 + 128 * 64 + 64),
    "regression": (0, 8 * 64, 64 * 64 + 64),
    "resnet18": (0, 112 * 112 * 64 * 147, BASIC_BLOCKS + 512 * 1000),
    "resnet50": (0, 112 * 112 * 64 * 147, BOTTLENECKS + 2048 * 1000),
    # The first layer is a look-up, so every product needs all three.
    "dictionaries-lstm": (0, 0, 40 * 2 * 64 * 4 * 64 + 64),
    "text-cnn": (0, 0, (78 * 3 + 77 * 4 + 76 * 5) * 128 * 100 + 300),
    "text-gru": (0, 0, 80 * 2 * 128 * 3 * 128 + 128),
    "text-lstm": (0, 0, 80 * 2 * 128 * 4 * 128 + 128),
    "text-lstm-multilabel": (0, 0, 80 * 2 * 128 * 4 * 128 + 3 * 128),
    "transformer-encoder": (0, 0, ENCODER + 128 * 10),
}


def test_every_built_in_is_counted_by_hand() -> None:
    assert set(PARAMETERS) == set(builtin_names())
    # A batch of `dynamic` has no length of its own, so no count either.
    assert set(PRODUCTS) == set(builtin_names()) - {"dynamic"}
    assert plan_workload(find_workload("dynamic"), 32).flops is None


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_match_the_hand_count(name: str) -> None:
    assert parameter_count(resolve(find_workload(name))) == PARAMETERS[name]


@pytest.mark.parametrize("name", PRODUCTS)
def test_flops_match_the_hand_count(name: str) -> None:
    layers = resolve(find_workload(name))
    once, twice, thrice = PRODUCTS[name]
    assert training_flops(layers, 1) == 2 * (once + 2 * twice + 3 * thrice)
    assert training_flops(layers, 32) == 32 * training_flops(layers, 1)


def of(layers: list[dict[str, object]], shape: tuple[int, ...], dtype: str = "float32") -> Workload:
    values = {"name": "w", "input": {"shape": shape, "dtype": dtype}, "layers": layers, "classes": 2}
    return msgspec.convert(values | {"optimizer": {"kind": "sgd", "learning_rate": 0.1}}, Workload)


def test_attention_as_the_first_layer_leaves_out_the_gradient_of_its_input_alone() -> None:
    layers = [{"kind": "attention", "heads": 2}, {"kind": "average_over_sequence"}]
    projection, core, head = 3 * 4 * 4, 2 * 3 * 3 * 4, 4 * 2
    resolved = resolve(of([*layers, {"kind": "dense", "units": 2}], (3, 4)))
    # Query, key and value: forward and dW. Output projection and head: also dX. Scores and average: 1 + 2.
    expected = 2 * (2 * 3 * projection + 3 * projection + 3 * core + 3 * head)
    assert training_flops(resolved, 1) == expected


def test_an_lstm_as_the_first_layer_leaves_out_the_gradient_of_its_input_alone() -> None:
    resolved = resolve(of([{"kind": "lstm", "units": 2}], (5, 3)))
    from_input, recurrent = 5 * 3 * 8, 5 * 2 * 8
    assert training_flops(resolved, 7) == 7 * 2 * (2 * from_input + 3 * recurrent)


def test_an_lstm_stores_gates_cell_and_output_at_every_position() -> None:
    layers = resolve(of([{"kind": "lstm", "units": 2}], (5, 3)))
    parameters, activations, inputs = 3 * 8 + 2 * 8 + 8, 7 * 5 * 6 * 2, 7 * 5 * 3
    numbers = parameters + 2 * parameters + 2 * parameters
    assert traffic_bytes(layers, 7, Sgd(learning_rate=0.1)) == 4 * (numbers + 2 * activations + 2 * inputs)


def test_a_layer_without_parameters_before_the_first_changes_nothing() -> None:
    dense = [{"kind": "dense", "units": 2}]
    plain = resolve(of(dense, (6,)))
    assert training_flops(resolve(of([{"kind": "flatten"}, *dense], (2, 3))), 4) == training_flops(plain, 4)


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        (Sgd(learning_rate=0.1), 0),
        (Sgd(learning_rate=0.1, momentum=0.9), 1),
        (Adam(learning_rate=0.1), 2),
    ],
)
def test_traffic_follows_its_formula(optimizer: Optimizer, slots: int) -> None:
    layers = resolve(of([{"kind": "dense", "units": 3}, {"kind": "dense", "units": 2}], (5,)))
    first, second = 5 * 3 + 3, 3 * 2 + 2
    parameters = first + second
    numbers = parameters + second + 2 * parameters + (2 + 2 * slots) * parameters
    activations, inputs = 7 * (3 + 2), 7 * 5
    assert traffic_bytes(layers, 7, optimizer) == 4 * (numbers + 2 * activations + 2 * inputs)


def test_traffic_counts_only_the_rows_looked_up_and_what_attention_stores() -> None:
    body = [
        {"kind": "embedding", "vocabulary": 100, "units": 4},
        {"kind": "attention", "heads": 2},
        {"kind": "average_over_sequence"},
        {"kind": "dense", "units": 2},
    ]
    layers = resolve(of(body, (3,), "int64"))
    table, rest = 400, 4 * (16 + 4) + 10
    rows, activations, id_bytes = 2 * 3 * 4, 2 * (12 + 5 * 12 + 4 + 2), 2 * 3 * 8
    numbers = (rest + rows) + rest + 2 * (table + rest) + 2 * (table + rest) + 2 * activations
    assert traffic_bytes(layers, 2, Sgd(learning_rate=0.1)) == 4 * numbers + 2 * id_bytes


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_mixed_precision_activations_take_two_bytes_and_parameters_four(precision: Precision) -> None:
    layers = resolve(of([{"kind": "dense", "units": 3}, {"kind": "dense", "units": 2}], (5,)))
    # By hand, of a batch of 7 and Adam: 18 + 8 = 26 parameters read forward, 8 backward; 26 gradients
    # written and read; 26 parameters and 52 slots read and written; 35 outputs written and read, 35
    # inputs read twice.
    in_float32 = 4 * (26 + 8 + 2 * 26 + 2 * 26 + 2 * 52)
    expected = in_float32 + 2 * 2 * 35 + 4 * 2 * 35
    assert traffic_bytes(layers, 7, Adam(learning_rate=0.1), precision) == expected == 1388
    whole = in_float32 + 4 * 2 * 35 + 4 * 2 * 35
    assert traffic_bytes(layers, 7, Adam(learning_rate=0.1), "float32") == whole == 1528
    assert traffic_bytes(layers, 7, Adam(learning_rate=0.1), "tf32") == whole
