"""What each layer counts for: by hand for a few, and for every workload the sum of all is the whole."""

from __future__ import annotations

import pytest

from fwprof.errors import RequestError
from fwprof.records import RunRequest, Workload
from fwprof.records.workload import (
    Activation,
    Adam,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Frozen,
    InputSpec,
    Layer,
    LayerNorm,
    Residual,
    Sgd,
    TiedDense,
)
from fwprof.workloads import builtin_names, find_workload, plan_workload
from fwprof.workloads.analysis import forward_flops, stored_numbers, traffic_bytes, training_flops
from fwprof.workloads.language import resolve
from fwprof.workloads.layer_analysis import LayerCounts, layer_counts, require_layers

BATCH = 4


def counts_of(
    *layers: Layer,
    shape: tuple[int, ...] = (6,),
    classes: int = 3,
    dtype: str = "float32",
    precision: str = "float32",
) -> tuple[LayerCounts, ...]:
    spec = Workload(
        name="by-hand",
        input=InputSpec(shape=shape, dtype=dtype),  # type: ignore[arg-type]  # one of the two
        layers=layers,
        classes=classes,
        optimizer=Adam(learning_rate=0.1),
    )
    return layer_counts(resolve(spec), BATCH, spec.optimizer, precision)


@pytest.mark.parametrize("name", builtin_names())
def test_the_shares_add_up_to_the_whole(name: str) -> None:
    spec = find_workload(name)
    plan = plan_workload(spec, 8)
    counts = layer_counts(plan.layers, 8, spec.optimizer)
    assert [one.layer.path for one in counts] == [str(place) for place in range(len(plan.layers))]
    assert sum(one.flops for one in counts) == training_flops(plan.layers, 8)
    assert sum(one.forward_flops for one in counts) == forward_flops(plan.layers, 8)
    assert sum(one.traffic_bytes for one in counts) == traffic_bytes(plan.layers, 8, spec.optimizer)
    assert sum(one.activation_bytes for one in counts) == 4 * stored_numbers(plan.layers, 8)
    assert sum(one.parameters for one in counts) == plan.parameter_count
    assert all(one.flops >= one.forward_flops >= 0 for one in counts)
    assert all(one.traffic_bytes >= 0 for one in counts)


def test_two_dense_layers_by_hand() -> None:
    first, second = counts_of(Dense(units=5), Dense(units=3))
    # 6·5 multiply-adds a sample: forward and dW; there is no dX of the batch.
    assert first.forward_flops == 2 * BATCH * 6 * 5
    assert first.flops == 2 * first.forward_flops
    assert not first.has_input_gradient
    assert (first.parameters, first.parameter_bytes) == (6 * 5 + 5, 4 * (6 * 5 + 5))
    assert first.activation_bytes == 4 * BATCH * 5
    # Parameters read, gradients written and read, Adam's two slots and the parameter read and written;
    # outputs written and read back; the batch read twice.
    assert first.traffic_bytes == 4 * (35 + 2 * 35 + 6 * 35 + 2 * BATCH * 5) + 2 * 4 * BATCH * 6
    assert second.flops == 3 * second.forward_flops == 3 * 2 * BATCH * 5 * 3
    assert second.has_input_gradient
    # Here parameters are read backward too.
    assert second.traffic_bytes == 4 * (18 + 18 + 2 * 18 + 6 * 18 + 2 * BATCH * 3)


def test_a_convolution_by_hand() -> None:
    conv, flat, dense = counts_of(Conv2d(filters=7, size=3), Flatten(), Dense(units=3), shape=(5, 5, 2))
    assert conv.forward_flops == 2 * BATCH * 3 * 3 * 7 * 9 * 2
    assert conv.activation_bytes == 4 * BATCH * 3 * 3 * 7
    assert (flat.flops, flat.parameters, flat.traffic_bytes, flat.activation_bytes) == (0, 0, 0, 0)
    assert flat.has_input_gradient
    assert dense.forward_flops == 2 * BATCH * 63 * 3


def test_sixteen_bits_halve_what_is_stored_and_not_what_is_trained() -> None:
    full, half = (counts_of(Dense(units=3), precision=each)[0] for each in ("float32", "bfloat16"))
    assert full.activation_bytes == 2 * half.activation_bytes
    assert full.parameter_bytes == half.parameter_bytes


def test_a_block_is_one_row_with_all_that_is_inside() -> None:
    block, dense = counts_of(
        Residual(layers=(BatchNorm(), Dense(units=6, activation="relu"), Dropout(rate=0.5), Dense(units=6))),
        Dense(units=3),
    )
    assert block.kind == "residual (batch_norm, dense, dropout)"
    assert block.parameters == 2 * 6 + 2 * (36 + 6)
    # The statistics of the norm are held too.
    assert block.parameter_bytes == 4 * (block.parameters + 2 * 6)
    # Of the first dense layer there is a dX, since the norm before it is trained.
    assert block.flops == 2 * BATCH * 2 * 3 * 36
    assert not block.is_fusible
    assert dense.kind == "dense"


def test_what_compilers_merge_is_told_by_its_kind() -> None:
    counts = counts_of(
        Dense(units=6),
        Activation(function="relu"),
        Dropout(rate=0.5),
        LayerNorm(),
        Residual(layers=(Activation(function="tanh"),)),
        Flatten(),
        Dense(units=3),
    )
    assert [one.is_fusible for one in counts] == [False, True, True, True, True, True, False]
    assert counts[1].kind == "activation relu"


def test_where_nothing_is_trained_there_are_no_gradients() -> None:
    frozen, trained = counts_of(Frozen(layers=(Dense(units=5),)), Dense(units=3))
    assert not frozen.has_gradients
    assert frozen.flops == frozen.forward_flops
    assert (frozen.parameters, frozen.parameter_bytes) == (0, 4 * 35)
    assert trained.has_gradients
    assert not trained.has_input_gradient


def test_a_tied_layer_trains_the_table_of_another() -> None:
    table, tied = counts_of(
        Embedding(vocabulary=9, units=4), TiedDense(), shape=(6,), classes=9, dtype="int64"
    )
    assert table.parameters == 36
    assert (tied.parameters, tied.flops) == (0, 3 * 2 * BATCH * 6 * 4 * 9)
    assert tied.has_gradients


def test_layers_of_a_model_of_the_users_own_have_no_names() -> None:
    spec = find_workload("mlp-small")
    require_layers(RunRequest(layers=False), [None])
    require_layers(RunRequest(layers=True), [None, spec])
    with pytest.raises(RequestError, match="--layers does not apply to your own model"):
        require_layers(RunRequest(layers=True), [None])
    assert isinstance(spec.optimizer, Sgd | Adam)
