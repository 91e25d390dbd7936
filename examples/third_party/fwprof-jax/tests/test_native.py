"""The user's own model: an MLP of jax and optax alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fwprof.plugin import LoadedWorkload, RequestError, UnsupportedError
from fwprof.testing.small import train
from fwprof_jax import plugin


def loss(params, batch):
    x, labels = batch
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    logits = x @ last["kernel"] + last["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def make_parts(optimizer=None):
    keys = jax.random.split(jax.random.key(3), 2)
    params = [
        {"kernel": jax.random.normal(key, shape) / shape[0] ** 0.5, "bias": jnp.zeros(shape[1])}
        for key, shape in zip(keys, ((6, 8), (8, 3)), strict=True)
    ]
    random = np.random.default_rng(3)
    batches = [(random.normal(size=(5, 6)).astype(np.float32), random.integers(0, 3, 5)) for _ in range(8)]
    return {
        "params": params,
        "loss": loss,
        "optimizer": optimizer or optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01)),
        "batches": batches,
    }


@pytest.fixture
def take_over(build):
    def make(native, batches=None, **changes):
        drawn = native["batches"] if batches is None else batches
        workload = LoadedWorkload(name="own", native=native, batches=drawn)
        model = build(workload, **changes)
        return model, plugin.train_step(model=model)

    return make


def test_a_step_is_the_one_the_user_would_write(take_over):
    native = make_parts()
    model, programs = take_over(native)
    found = train(model, programs, native["batches"])
    params, optimizer = native["params"], native["optimizer"]
    state = optimizer.init(params)
    expected = []
    for batch in native["batches"][:4]:
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        expected.append(float(value))
    assert found == pytest.approx(expected, rel=1e-5)


def test_parameters_and_gradients_are_named_by_their_place_in_the_pytree(take_over):
    native = make_parts()
    model, programs = take_over(native)
    assert set(model.parameters()) == {"0.bias", "0.kernel", "1.bias", "1.kernel"}
    _, gradients = programs.read(programs.forward_backward(model.stage(native["batches"][0])))
    wanted = jax.grad(loss)(native["params"], native["batches"][0])
    np.testing.assert_allclose(gradients["1.kernel"], wanted[1]["kernel"], rtol=1e-5)
    assert model.describe().parameter_count == 6 * 8 + 8 + 8 * 3 + 3
    assert model.describe().batch_size == 5


def test_the_factory_s_own_arrays_survive_training(take_over):
    native = make_parts()
    before = jax.tree.map(np.array, native["params"])
    model, programs = take_over(native)
    train(model, programs, native["batches"])
    jax.tree.map(np.testing.assert_array_equal, native["params"], before)


def test_reset_repeats_the_same_training_bit_by_bit(take_over):
    native = make_parts()
    model, programs = take_over(native)
    losses = train(model, programs, native["batches"])
    model.reset()
    count = model.compilations()
    assert train(model, programs, native["batches"]) == losses
    assert model.compilations() == count


def test_parameters_of_half_precision_are_kept_in_files(take_over, tmp_path):
    native = make_parts(optax.sgd(0.1))
    native["params"] = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), native["params"])
    model, programs = take_over(native)
    train(model, programs, native["batches"])
    model.save(tmp_path / "saved")
    wanted = model.parameters()
    model.reset()
    model.restore(tmp_path / "saved")
    for name, value in model.parameters().items():
        assert value.dtype == jnp.bfloat16
        np.testing.assert_array_equal(value, wanted[name])


@pytest.mark.parametrize(
    "source",
    [
        lambda batches: batches[:1],
        lambda batches: lambda: iter(batches),
        lambda batches: iter(batches[:1]),
        lambda batches: lambda: batches[0],
    ],
    ids=["list", "function of an iterator", "iterator used up", "function of one batch"],
)
def test_batches_may_be_an_iterable_or_a_function(take_over, source):
    native = make_parts()
    batches = native["batches"]
    native["batches"] = source(batches)
    _, programs = take_over(native, batches)
    np.testing.assert_array_equal(programs.next_batch()[0], batches[0][0])
    assert programs.next_batch()[0].shape == (5, 6)


def test_nothing_is_predicted_for_a_model_that_gives_only_a_loss(take_over):
    native = make_parts()
    model, _ = take_over(native)
    with pytest.raises(UnsupportedError, match="predicts nothing for a model of your own"):
        model.predict(model.stage(native["batches"][0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda native: native.pop("params"), "dict has no 'params'"),
        (lambda native: native.pop("batches"), "dict has no 'batches'"),
        (lambda native: native.update(optimiser=1), "unknown key 'optimiser'"),
        (lambda native: native.update(params={}), "'params' is not a pytree of arrays"),
        (lambda native: native.update(params="bert"), "'params' is not a pytree of arrays"),
        (lambda native: native.update(loss=3), "'loss' is not a callable on params and batch"),
        (lambda native: native.update(optimizer="adam"), r"'optimizer' is not an optax\.Gradient"),
        (lambda native: native.update(batches=3), "'batches' is not an iterable or a callable"),
        (lambda native: native.update(loss=lambda params, batch: batch[0]), "'loss' gives no scalar"),
        (lambda native: native.update(loss=lambda params, batch: None), "'loss' gives no scalar"),
    ],
)
def test_a_wrong_dict_is_refused_with_key_expectation_and_next_step(take_over, change, words):
    native = make_parts()
    batches = native["batches"]
    change(native)
    with pytest.raises(RequestError, match=words) as caught:
        take_over(native, batches)
    assert caught.value.cause
    assert caught.value.next
    assert all(len(line) <= 100 for line in caught.value.lines()), caught.value.lines()


@pytest.mark.parametrize(
    ("batches", "words"), [([], "gave no batch"), ([("text", 1)], "something else than a batch")]
)
def test_a_wrong_batch_is_refused(take_over, batches, words):
    with pytest.raises(RequestError, match=words) as caught:
        take_over(make_parts(), batches)
    assert all(len(line) <= 100 for line in caught.value.lines())


def test_a_factory_that_returns_no_dict_is_refused(take_over):
    with pytest.raises(RequestError, match="must return a dict") as caught:
        take_over([1], batches=[1])
    assert caught.value.cause == "it returned a list"
