"""The analytic counts are those of a calculation by hand."""

from __future__ import annotations

import msgspec
import pytest

from fwprof.records import Optimizer, Workload
from fwprof.records.workload import Adam, Sgd
from fwprof.workloads import builtin_names, find_workload
from fwprof.workloads.analysis import parameter_count, traffic_bytes, training_flops
from fwprof.workloads.language import resolve

BLOCK = 2 * 256 + 4 * (128 * 128 + 128) + (128 * 256 + 256) + (256 * 128 + 128)
PARAMETERS = {
    "dictionaries-lstm": 5000 * 64 + 4 * (2 * 64 * 64 + 64) + 65,
    "digits-mlp": (64 * 128 + 128) + (128 * 10 + 10),
    "lenet": (25 * 10 + 10) + (25 * 10 * 20 + 20) + (320 * 50 + 50) + (50 * 10 + 10),
    "mlp": 101_770,
    "mlp-small": 50_890,
    "text-lstm": 10_000 * 128 + 4 * (2 * 128 * 128 + 128) + 129,
    "transformer-encoder": 2000 * 128 + 64 * 128 + 2 * BLOCK + 256 + 1290,
}
# Multiply-adds of one sample, forward; the first of each pair is the first layer with parameters.
PRODUCTS = {
    "digits-mlp": (64 * 128, 128 * 10),
    "lenet": (24 * 24 * 10 * 25, 8 * 8 * 20 * 250 + 320 * 50 + 50 * 10),
    "mlp": (784 * 128, 128 * 10),
    "mlp-small": (784 * 64, 64 * 10),
    # The first layer is a look-up, so every product needs all three.
    "dictionaries-lstm": (0, 40 * 2 * 64 * 4 * 64 + 64),
    "text-lstm": (0, 80 * 2 * 128 * 4 * 128 + 128),
    "transformer-encoder": (
        0,
        2 * (4 * 64 * 128 * 128 + 2 * 64 * 64 * 128 + 2 * 64 * 128 * 256) + 128 * 10,
    ),
}


def test_every_built_in_is_counted_by_hand() -> None:
    assert set(PARAMETERS) == set(PRODUCTS) == set(builtin_names())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_flops_match_the_hand_count(name: str) -> None:
    layers = resolve(find_workload(name))
    first, others = PRODUCTS[name]
    assert parameter_count(layers) == PARAMETERS[name]
    assert training_flops(layers, 1) == 2 * (2 * first + 3 * others)
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
