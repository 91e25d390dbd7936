"""Layers by their definitions in the workload language, in float64, and what jax has no layers for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwprof.plugin import ResolvedLayer, UnsupportedError, layers
from fwprof.testing.checks import LAYER_CASES, STATISTICS_CASES, check_network, check_statistics
from fwprof_jax import plugin
from fwprof_jax.network import apply, make_state


@pytest.fixture(autouse=True)
def _in_float64(_keep_configuration):
    jax.config.update("jax_enable_x64", True)


def resolve(layer, path="0"):
    """Return what the plugin reads of a resolved layer."""
    return ResolvedLayer(path=path, layer=layer, input_shape=(), output_shape=(), parameters={})


def run(layer, x, **arguments):
    """Return the outputs of one layer without parameters."""
    resolved = (resolve(layer),)
    return np.array(apply(resolved, {}, make_state(resolved, {}, seed=0), jnp.asarray(x), **arguments)[0])


@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_network_is_the_one_of_the_definitions(build, name):
    workload = LAYER_CASES[name]()
    model = build(workload, precision="float64", is_verification=True)
    check_network(workload, model, plugin.train_step(model=model))


@pytest.mark.parametrize("name", STATISTICS_CASES)
def test_moving_statistics_follow_the_biased_batch_statistics(build, name):
    workload = STATISTICS_CASES[name]()
    model = build(workload, precision="float64", is_verification=True)
    check_statistics(workload, model, plugin.train_step(model=model))


def test_dropout_drops_its_share_in_training_and_scales_the_rest():
    layer, x = layers.Dropout(rate=0.25), np.ones((100, 100))
    found = run(layer, x, is_training=True)
    assert set(np.unique(found)) == {0, 1 / 0.75}
    assert np.mean(found == 0) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(run(layer, x, is_training=False), x)
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


def test_a_layer_that_is_not_known_is_refused_by_path_and_name():
    class Hologram(layers.LayerBase, frozen=True, kw_only=True, tag="hologram"):
        """A layer that no framework has."""

    with pytest.raises(UnsupportedError, match=r"jax has no code for layer 0 \(Hologram\)"):
        run(Hologram(), np.ones((1, 2)), is_training=False)
