"""The user's own keras models on every backend: a small one, and one of keras.applications."""

from __future__ import annotations

import numpy as np
import pytest

from fwprof.plugin import LoadedWorkload, Options, RequestError, UnsupportedError
from fwprof.testing.small import train
from fwprof_keras import plugin

# Where keras turns its own variables into arrays: they do not know NumPy 2's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def make_batches(*shape, classes=3, count=8):
    random = np.random.default_rng(3)
    return [
        (random.normal(size=shape).astype(np.float32), random.integers(0, classes, shape[0]))
        for _ in range(count)
    ]


BATCHES = make_batches(5, 6)


def make_small(**compiled):
    import keras

    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**{"optimizer": "adam", "loss": loss, "metrics": ["accuracy"]} | compiled)
    return {"model": model, "batches": BATCHES}


@pytest.fixture
def take_over(make_cell, tmp_path, backend):
    def make(factory, batches=None, **changes):
        cell = make_cell(variant=backend, **changes)
        plugin.prepare(plan=cell)
        native = factory()
        workload = LoadedWorkload(
            name="own", native=native, batches=native["batches"] if batches is None else batches
        )
        options = Options(cell=cell, cache=tmp_path)
        model = plugin.build_model(workload=workload, device=cell.device, options=options)
        return model, plugin.train_step(model=model)

    return make


def test_a_step_is_the_one_that_fit_takes(take_over):
    # Adam would blow up the rounding of a gradient that is zero, as the bias before a norm has it.
    model, programs = take_over(lambda: make_small(optimizer="sgd"))
    train(model, programs, BATCHES, 3)
    wanted = model.parameters()
    model.reset()
    programs.api()["fit"](3)
    for name, value in model.parameters().items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_reset_repeats_the_same_training_and_compiles_nothing(take_over):
    model, programs = take_over(make_small)
    start = model.parameters()
    losses = train(model, programs, BATCHES, 3)
    count = model.compilations()
    model.reset()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, start[name])
    assert train(model, programs, BATCHES, 3) == pytest.approx(losses, rel=1e-5)
    assert model.compilations() == count


def test_frozen_variables_have_no_gradient(take_over):
    def factory():
        native = make_small()
        native["model"].layers[0].trainable = False
        native["model"].compile("sgd", native["model"].loss)
        return native

    model, programs = take_over(factory)
    _, gradients = programs.read(programs.forward_backward(model.stage(model.batches[0][:2])))
    assert len(gradients) == 4
    assert model.describe().parameter_count == 8 + 8 + 8 * 3 + 3


def test_sample_weights_weigh_the_loss(take_over):
    model, programs = take_over(make_small)
    inputs, targets, _ = model.batches[0]
    plain, doubled = (
        programs.read(programs.forward(model.stage((inputs, targets, weight))))[0]
        for weight in (np.full(5, 1, np.float32), np.full(5, 2, np.float32))
    )
    assert doubled == pytest.approx(2 * plain, rel=1e-5)


def test_the_models_own_mode_stands_unless_another_is_asked_for(take_over, backend):
    assert take_over(lambda: make_small(run_eagerly=backend != "torch"))[0].describe().mode == "eager"
    asked = {"mode": "compiled"} if backend != "torch" else {"mode": "eager"}
    found = take_over(lambda: make_small(run_eagerly=backend == "tensorflow"), options=asked)[0].describe()
    assert found.mode == {"tensorflow": "function", "torch": "eager", "jax": "jit"}[backend]


def test_a_model_of_keras_applications_trains_and_starts_over(take_over):
    images = make_batches(2, 32, 32, 3, classes=10)

    def factory():
        import keras

        model = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=10)
        model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        return {"model": model, "batches": images}

    model, programs = take_over(factory)
    losses = train(model, programs, images, 2)
    assert all(np.isfinite(losses))
    model.reset()
    assert train(model, programs, images, 2) == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda native: native.pop("model"), "dict has no 'model'"),
        (lambda native: native.update(modle=1), "unknown key 'modle'"),
        (lambda native: native.update(loss=1), "unknown key 'loss'"),
        (lambda native: native.update(model="bert"), r"'model' is not a keras\.Model"),
        (lambda native: native.update(batches=3), "'batches' is not an iterable or a callable"),
    ],
)
def test_a_wrong_dict_is_refused_with_key_expectation_and_next_step(take_over, change, words):
    def factory():
        native = make_small()
        change(native)
        return native

    with pytest.raises(RequestError, match=words) as caught:
        take_over(factory, batches=BATCHES)
    assert caught.value.next
    assert all(len(line) <= 100 for line in caught.value.lines()), caught.value.lines()


def test_a_model_that_was_not_compiled_is_refused(take_over):
    def factory():
        import keras

        return {"model": keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)]), "batches": []}

    with pytest.raises(RequestError, match="'model' is not compiled") as caught:
        take_over(factory, batches=BATCHES)
    assert "model.compile" in caught.value.next


def test_a_train_step_of_its_own_is_refused(take_over):
    def factory():
        import keras

        class Mine(keras.Sequential):
            def train_step(self, *arguments):
                return super().train_step(*arguments)

        model = Mine([keras.Input((6,)), keras.layers.Dense(3)])
        model.compile("sgd", "mse")
        return {"model": model, "batches": BATCHES}

    with pytest.raises(RequestError, match="Mine has a train_step of its own") as caught:
        take_over(factory)
    assert "compute_loss" in caught.value.next


def test_a_model_that_wants_to_be_compiled_is_refused_on_torch_alone(take_over, backend):
    if backend == "torch":
        with pytest.raises(UnsupportedError, match="keras:torch is not compiled here yet"):
            take_over(lambda: make_small(jit_compile=True))
    model, _ = take_over(lambda: make_small(jit_compile=True), options={"jit": "false"})
    assert model.settings()["jit"] is False


@pytest.mark.parametrize(
    ("batches", "words"),
    [([], "gave no batch"), ([np.ones(3)], "something else than a batch"), ([{"x": 1}], "something else")],
)
def test_a_wrong_batch_is_refused(take_over, batches, words):
    with pytest.raises(RequestError, match=words) as caught:
        take_over(make_small, batches=batches)
    assert all(len(line) <= 100 for line in caught.value.lines())
