"""Every layer against NumPy, by its definition in the workload language, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers
from fwprof_jax.network import apply, make_state

IMAGE, SEQUENCE, VECTOR = (5, 6, 3), (4, 6), (6,)


@pytest.fixture(autouse=True)
def _in_float64(_keep_configuration):
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def random():
    return np.random.default_rng(11)


def resolve(layer, path="0", inner=(), state=()):
    """Return what the plugin reads of a resolved layer."""
    return ResolvedLayer(
        path=path,
        layer=layer,
        input_shape=(),
        output_shape=(),
        parameters={},
        state={f"{path}.{name}": () for name in state},
        inner=inner,
    )


def run(layer, x, params=None, *, is_training=False, **arguments):
    """Return the outputs of one layer whose parameters are named without their path."""
    named = {f"0.{name}": jnp.asarray(value) for name, value in (params or {}).items()}
    resolved = (layer if isinstance(layer, ResolvedLayer) else resolve(layer),)
    state = make_state(resolved, named, seed=0)
    return np.array(apply(resolved, named, state, jnp.asarray(x), is_training=is_training, **arguments)[0])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("gelu", lambda x: x * special.ndtr(x)),
        ("tanh", np.tanh),
        ("sigmoid", special.expit),
        ("softmax", lambda x: special.softmax(x, axis=-1)),
    ],
)
def test_an_activation_is_its_formula(random, name, function):
    x = random.normal(size=(2, *IMAGE))
    np.testing.assert_allclose(run(layers.Activation(function=name), x), function(x), rtol=1e-12)


@pytest.mark.parametrize("shape", [VECTOR, SEQUENCE, IMAGE])
def test_dense_is_a_product_over_the_last_axis(random, shape):
    x = random.normal(size=(2, *shape))
    kernel, bias = random.normal(size=(shape[-1], 7)), random.normal(size=7)
    found = run(layers.Dense(units=7, activation="tanh"), x, {"kernel": kernel, "bias": bias})
    np.testing.assert_allclose(found, np.tanh(x @ kernel + bias), rtol=1e-12)
    without = run(layers.Dense(units=7, use_bias=False), x, {"kernel": kernel})
    np.testing.assert_allclose(without, x @ kernel, rtol=1e-12)


@pytest.mark.parametrize(("padding", "stride"), [("valid", 1), ("same", 1), ("same", 2), ("valid", 2)])
@pytest.mark.parametrize("size", [2, 3])
def test_conv2d_is_a_cross_correlation(random, padding, stride, size):
    x, kernel = random.normal(size=(2, *IMAGE)), random.normal(size=(size, size, 3, 4))
    layer = layers.Conv2d(filters=4, size=size, stride=stride, padding=padding)
    found = run(layer, x, {"kernel": kernel, "bias": np.arange(4.0)})
    if padding == "same":
        pads = []
        for side in IMAGE[:2]:
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:3])
    wanted = np.zeros((2, rows, columns, 4))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            wanted[:, i, j] = np.tensordot(window, kernel, 3) + np.arange(4.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_pools_look_at_whole_windows_and_leave_the_rest_out(random):
    x = random.normal(size=(2, *IMAGE))
    windows = x[:, :4].reshape(2, 2, 2, 3, 2, 3)
    np.testing.assert_allclose(run(layers.MaxPool2d(size=2), x), windows.max((2, 4)), rtol=1e-12)
    np.testing.assert_allclose(run(layers.AveragePool2d(size=2), x), windows.mean((2, 4)), rtol=1e-12)


def test_flatten_keeps_the_order_height_width_channels(random):
    x = random.normal(size=(2, *IMAGE))
    np.testing.assert_array_equal(run(layers.Flatten(), x), x.reshape(2, -1))


def test_layer_norm_normalises_over_the_last_axis(random):
    x, gamma, beta = random.normal(size=(2, *SEQUENCE)), random.normal(size=6), random.normal(size=6)
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    found = run(layers.LayerNorm(epsilon=1e-3), x, {"gamma": gamma, "beta": beta})
    np.testing.assert_allclose(found, normal * gamma + beta, rtol=1e-9)


def test_embeddings_look_up_rows_and_add_positions(random):
    table, ids = random.normal(size=(9, 5)), random.integers(0, 9, (2, 4))
    rows = run(layers.Embedding(vocabulary=9, units=5), ids, {"table": table})
    np.testing.assert_array_equal(rows, table[ids])
    positions = random.normal(size=(4, 5))
    found = run(layers.PositionEmbedding(), rows, {"table": positions})
    np.testing.assert_allclose(found, rows + positions, rtol=1e-12)


@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_mixes_values_by_scaled_scores(random, is_causal):
    x = random.normal(size=(2, *SEQUENCE))
    parts = ("query", "key", "value", "output")
    params = {f"{part}_kernel": random.normal(size=(6, 6)) for part in parts}
    params |= {f"{part}_bias": random.normal(size=6) for part in parts}

    def heads(part):
        y = x @ params[f"{part}_kernel"] + params[f"{part}_bias"]
        return y.reshape(2, 4, 3, 2).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.sqrt(2)
    if is_causal:
        scores = np.where(np.tril(np.ones((4, 4))), scores, -np.inf)
    mixed = (special.softmax(scores, axis=-1) @ heads("value")).transpose(0, 2, 1, 3).reshape(x.shape)
    found = run(layers.Attention(heads=3, causal=is_causal), x, params)
    np.testing.assert_allclose(found, mixed @ params["output_kernel"] + params["output_bias"], rtol=1e-9)


@pytest.mark.parametrize("gives_all", [False, True])
def test_the_lstm_has_its_gates_in_the_order_input_forget_candidate_output(random, gives_all):
    x, units = random.normal(size=(2, *SEQUENCE)), 5
    kernel, recurrent = random.normal(size=(6, 4 * units)), random.normal(size=(units, 4 * units))
    bias = random.normal(size=4 * units)
    output = cell = np.zeros((2, units))
    outputs = []
    for step in range(4):
        i, f, g, o = np.split(x[:, step] @ kernel + output @ recurrent + bias, 4, axis=-1)
        cell = special.expit(f) * cell + special.expit(i) * np.tanh(g)
        output = special.expit(o) * np.tanh(cell)
        outputs.append(output)
    params = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
    found = run(layers.Lstm(units=units, return_sequences=gives_all), x, params)
    np.testing.assert_allclose(found, np.stack(outputs, axis=1) if gives_all else output, rtol=1e-10)


def test_residual_adds_its_input_and_averaging_leaves_channels(random):
    x, kernel = random.normal(size=(2, *SEQUENCE)), random.normal(size=(6, 6))
    dense = resolve(layers.Dense(units=6, use_bias=False), path="0.0")
    residual = resolve(layers.Residual(layers=(dense.layer,)), inner=(dense,))
    np.testing.assert_allclose(run(residual, x, {"0.kernel": kernel}), x + x @ kernel, rtol=1e-12)
    np.testing.assert_allclose(run(layers.AverageOverSequence(), x), x.mean(1), rtol=1e-12)


def test_dropout_drops_its_share_in_training_and_scales_the_rest():
    layer, x = layers.Dropout(rate=0.25), np.ones((100, 100))
    found = run(layer, x, is_training=True)
    assert set(np.unique(found)) == {0, 1 / 0.75}
    assert np.mean(found == 0) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(run(layer, x), x)
    np.testing.assert_array_equal(run(layer, x, is_training=True, has_dropout=False), x)


def test_every_pass_draws_anew_and_every_layer_of_a_pass_too():
    two = [resolve(layers.Dropout(rate=0.5), path=path) for path in "01"]
    state = make_state(two, {}, seed=3)
    x = jnp.ones((1, 1000))
    first, following = apply(two, {}, state, x, is_training=True)
    again, _ = apply(two, {}, state, x, is_training=True)
    second, _ = apply(two, {}, following, x, is_training=True)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert np.mean(first == 4) == pytest.approx(0.25, abs=0.06), "both layers dropped the same"


@pytest.mark.parametrize("shape", [VECTOR, SEQUENCE, IMAGE])
def test_batch_norm_moves_the_biased_statistics_in_training_and_uses_them_in_inference(random, shape):
    layer = resolve(layers.BatchNorm(momentum=0.7), state=("moving_mean", "moving_variance"))
    x, channels = random.normal(size=(4, *shape)), shape[-1]
    axes = tuple(range(x.ndim - 1))
    params = {"0.gamma": random.normal(size=channels), "0.beta": random.normal(size=channels)}
    moving = {"0.moving_mean": random.normal(size=channels), "0.moving_variance": np.full(channels, 2.0)}
    state = make_state([layer], moving, seed=0)
    mean, variance = x.mean(axes), x.var(axes)

    def normalise(mean, variance):
        return (x - mean) / np.sqrt(variance + 1e-5) * params["0.gamma"] + params["0.beta"]

    trained, after = apply([layer], params, state, x, is_training=True)
    np.testing.assert_allclose(trained, normalise(mean, variance), rtol=1e-9)
    wanted = [0.7 * old + 0.3 * new for old, new in zip(moving.values(), (mean, variance), strict=True)]
    for name, value in zip(moving, wanted, strict=True):
        np.testing.assert_allclose(after["statistics"][name], value, rtol=1e-12)
    inferred, same = apply([layer], params, state, x, is_training=False)
    np.testing.assert_allclose(inferred, normalise(*moving.values()), rtol=1e-9)
    assert same["statistics"] == state["statistics"]


def test_a_layer_that_is_not_known_is_refused_by_path_and_name():
    class Hologram(layers.LayerBase, frozen=True, kw_only=True, tag="hologram"):
        """A layer that no framework has."""

    with pytest.raises(UnsupportedError, match=r"jax has no code for layer 0 \(Hologram\)"):
        run(resolve(Hologram()), np.ones((1, 2)))
