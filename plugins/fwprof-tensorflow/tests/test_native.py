"""The user's own models: of keras, of tf.Module, and a plain function."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fwprof.plugin import LoadedWorkload, Options, RequestError
from fwprof.testing.small import train
from fwprof_tensorflow import plugin

keras = tf.keras
LOSS = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}


def draw(count=8, size=5):
    random = np.random.default_rng(4)
    return [
        (random.normal(size=(size, 6)).astype(np.float32), random.integers(0, 3, size)) for _ in range(count)
    ]


def make_parts(optimizer=keras.optimizers.Adam, **arguments):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(3),
        ]
    )
    return {
        "model": model,
        "variables": model.trainable_variables,
        "optimizer": optimizer(0.01, **arguments),
        "batches": draw(),
        **LOSS,
    }


@pytest.fixture
def take_over(make_cell, tmp_path):
    def make(native, batches=None, **changes):
        drawn = native["batches"] if batches is None else batches
        options = Options(cell=make_cell(**changes), cache=tmp_path)
        workload = LoadedWorkload(name="own", native=native, batches=drawn)
        model = plugin.build_model(workload=workload, device=options.cell.device, options=options)
        return model, plugin.train_step(model=model)

    return make


@pytest.mark.parametrize("variant", ["function", "eager"])
def test_a_step_is_the_one_the_user_would_write(take_over, variant):
    native, same = make_parts(), make_parts()
    model, programs = take_over(native, variant=variant)
    found = train(model, programs, native["batches"])
    expected = []
    for inputs, targets in same["batches"][:4]:
        with tf.GradientTape() as tape:
            loss = same["loss"](targets, same["model"](inputs, training=True))
        gradients = tape.gradient(loss, same["variables"])
        same["optimizer"].apply_gradients(zip(gradients, same["variables"], strict=True))
        expected.append(float(loss))
    assert found == pytest.approx(expected, rel=1e-5)


def test_parameters_and_gradients_have_the_models_own_names_and_shapes(take_over):
    native = make_parts()
    model, programs = take_over(native)
    paths = [variable.path for variable in native["variables"]]
    statistics = [variable.path for variable in native["model"].variables if "moving_" in variable.path]
    assert set(model.parameters()) == {*paths, *statistics}
    _, gradients = programs.read(programs.forward_backward(model.stage(native["batches"][0])))
    assert list(gradients) == paths
    for name, variable in zip(paths, native["variables"], strict=True):
        assert gradients[name].shape == tuple(variable.shape)
        assert np.any(gradients[name]) or name.startswith("dense") is False
    assert model.describe().parameter_count == 6 * 8 + 8 + 8 + 8 + 8 * 3 + 3
    assert model.describe().batch_size == 5


@pytest.mark.parametrize(
    ("optimizer", "arguments"),
    [
        (keras.optimizers.Adam, {}),
        (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        (keras.optimizers.Nadam, {}),
        (keras.optimizers.Adagrad, {}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_reset_repeats_the_same_training_bit_by_bit(take_over, optimizer, arguments):
    native = make_parts(optimizer, **arguments)
    model, programs = take_over(native)
    start = model.parameters()
    losses = train(model, programs, native["batches"])
    traces = model.compilations()
    model.reset()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, start[name])
    assert train(model, programs, native["batches"]) == losses
    assert model.compilations() == traces


def test_reset_brings_back_an_optimizer_that_was_in_the_middle_of_training(take_over):
    native = make_parts()
    for inputs, targets in native["batches"][:2]:
        with tf.GradientTape() as tape:
            loss = native["loss"](targets, native["model"](inputs, training=True))
        gradients = tape.gradient(loss, native["variables"])
        native["optimizer"].apply_gradients(zip(gradients, native["variables"], strict=True))
    model, programs = take_over(native)
    losses = train(model, programs, native["batches"])
    native["optimizer"].learning_rate = 9.0
    model.reset()
    assert float(native["optimizer"].learning_rate) == pytest.approx(0.01)
    assert train(model, programs, native["batches"]) == losses
    assert int(native["optimizer"].iterations) == 2 + 4


class Line(tf.Module):
    """A model of tensorflow alone, that is not told whether it trains."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones((6, 3)))
        self.bias = tf.Variable(tf.zeros(3))
        self.unused = tf.Variable(1.0)

    def __call__(self, inputs):
        return inputs @ self.weight + self.bias


class Descent:
    """An optimizer that the user wrote, without a state."""

    def apply_gradients(self, pairs):
        for gradient, variable in pairs:
            if gradient is not None:
                variable.assign_sub(0.1 * gradient)


def make_line(**changes):
    line = Line()
    native = {"model": line, "variables": list(line.trainable_variables), "optimizer": Descent()}
    return {**native, "batches": draw(), **LOSS} | changes


def test_a_model_and_an_optimizer_of_the_users_own_train(take_over):
    native = make_line()
    model, programs = take_over(native)
    assert set(model.parameters()) == {"Variable", "Variable#1", "Variable#2"}
    staged = model.stage(native["batches"][0])
    losses = [programs.read(programs.run(staged))[0] for _ in range(3)]
    assert losses == sorted(losses, reverse=True)
    _, gradients = programs.read(programs.forward_backward(staged))
    shapes = sorted(gradient.shape for gradient in gradients.values())
    assert shapes == [(), (3,), (6, 3)]
    assert [name for name, value in gradients.items() if not np.any(value)] == [
        name for name, value in gradients.items() if value.shape == ()
    ]
    assert model.predict(staged).shape == (5, 3)
    model.reset()
    assert programs.read(programs.forward(staged))[0] == pytest.approx(losses[0])


def test_a_plain_function_is_a_model(take_over):
    weight = tf.Variable(tf.ones((6, 3)))
    native = make_line(model=lambda inputs: inputs @ weight, variables=(weight,))
    model, programs = take_over(native)
    assert np.isfinite(programs.read(programs.run(model.stage(native["batches"][0])))[0])


def test_several_inputs_and_outputs_are_passed_on(take_over):
    def model(inputs):
        return inputs["left"] @ weight + inputs["right"], inputs["left"]

    weight = tf.Variable(tf.ones((6, 3)))
    data = {"left": np.ones((4, 6), np.float32), "right": tf.ones((4, 3))}
    native = make_line(
        model=model,
        variables=[weight],
        loss=lambda targets, outputs: tf.reduce_mean(tf.square(outputs[0] - targets)),
        batches=[(data, np.zeros((4, 3), np.float32))],
    )
    taken, programs = take_over(native)
    staged = taken.stage(native["batches"][0])
    assert np.isfinite(programs.read(programs.run(staged))[0])
    assert taken.predict(staged).shape == (4, 3)
    assert taken.describe().batch_size == 4


def test_penalties_of_layers_are_a_part_of_the_loss(take_over):
    def make(penalty):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, kernel_regularizer=penalty)])
        return make_line(
            model=model, variables=model.trainable_variables, optimizer=keras.optimizers.SGD(0.1)
        )

    losses = []
    for penalty in (None, keras.regularizers.L2(0.5)):
        native = make(penalty)
        model, programs = take_over(native)
        losses.append(programs.read(programs.forward(model.stage(native["batches"][0])))[0])
    kernel = next(value for value in model.parameters().values() if value.ndim == 2)
    assert losses[1] - losses[0] == pytest.approx(0.5 * np.square(kernel).sum(), rel=1e-4)


def test_the_pipeline_is_the_users_own_and_begins_again(take_over):
    native = make_parts()
    batches = native["batches"]
    native["batches"] = tf.data.Dataset.from_tensor_slices(
        tuple(np.concatenate(parts) for parts in zip(*batches[:2], strict=True))
    ).batch(5)
    _, programs = take_over(native, batches)
    found = [programs.next_batch()[0] for _ in range(3)]
    for tensor, index in zip(found, (0, 1, 0), strict=True):
        np.testing.assert_array_equal(tensor.numpy(), batches[index][0])


@pytest.mark.parametrize(
    "source",
    [
        lambda batches: lambda: iter(batches),
        lambda batches: iter(batches[:1]),
        lambda batches: lambda: batches[0],
    ],
    ids=["function of an iterator", "iterator used up", "function of one batch"],
)
def test_batches_may_be_an_iterable_or_a_function(take_over, source):
    native = make_parts()
    batches = native["batches"]
    native["batches"] = source(batches)
    _, programs = take_over(native, batches)
    np.testing.assert_array_equal(programs.next_batch()[0].numpy(), batches[0][0])
    assert programs.next_batch()[0].shape == (5, 6)


def test_a_saved_model_is_restored(take_over, tmp_path):
    native = make_parts()
    model, programs = take_over(native)
    train(model, programs, native["batches"])
    trained = model.parameters()
    model.save(tmp_path / "saved")
    model.reset()
    model.restore(tmp_path / "saved")
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, trained[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda native: native.pop("model"), "dict has no 'model'"),
        (lambda native: native.pop("variables"), "dict has no 'variables'"),
        (lambda native: native.pop("optimizer"), "dict has no 'optimizer'"),
        (lambda native: native.pop("loss"), "dict has no 'loss'"),
        (lambda native: native.update(optimiser=1), "unknown key 'optimiser'"),
        (lambda native: native.update(model="bert"), "'model' is not a callable"),
        (lambda native: native.update(variables=[]), "'variables' is not a list of variables"),
        (lambda native: native.update(variables=[1.0]), "'variables' is not a list of variables"),
        (lambda native: native.update(optimizer="adam"), "'optimizer' is not an optimizer"),
        (lambda native: native.update(batches=3), "'batches' is not an iterable or a callable"),
        (lambda native: native.update(loss=3), "'loss' is not a callable"),
    ],
)
def test_a_wrong_dict_is_refused_with_key_expectation_and_next_step(take_over, change, words):
    native = make_parts()
    batches = native["batches"]
    change(native)
    with pytest.raises(RequestError, match=words) as caught:
        take_over(native, batches)
    assert caught.value.next
    assert all(len(line) <= 100 for line in caught.value.lines()), caught.value.lines()


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "gave no batch"),
        ([tf.ones(3)], "something else than a batch"),
        ([(1, 2, 3)], "something else than a batch"),
        ([{"x": tf.ones((2, 6))}], "something else than a batch"),
    ],
)
def test_a_wrong_batch_is_refused(take_over, batches, words):
    with pytest.raises(RequestError, match=words) as caught:
        take_over(make_parts(), batches)
    assert all(len(line) <= 100 for line in caught.value.lines())


@pytest.mark.parametrize("variant", ["function", "eager"])
def test_a_loss_for_each_sample_is_refused_at_the_first_step(take_over, variant):
    each = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    native = make_line(loss=each)
    model, programs = take_over(native, variant=variant)
    with pytest.raises(RequestError, match="'loss' returned more than one number") as caught:
        programs.read(programs.run(model.stage(native["batches"][0])))
    assert "tf.reduce_mean" in caught.value.next


def test_a_factory_that_returns_no_dict_is_refused(take_over):
    with pytest.raises(RequestError, match="must return a dict") as caught:
        take_over([1], batches=[1])
    assert caught.value.cause == "it returned a list"


class TestApplications:
    """A network of keras.applications with random weights, on small images; nothing is downloaded."""

    @pytest.fixture
    def native(self):
        keras.utils.set_random_seed(0)
        model = keras.applications.MobileNet(
            input_shape=(32, 32, 3), alpha=0.25, weights=None, classes=4, classifier_activation=None
        )
        random = np.random.default_rng(0)
        images, labels = random.normal(size=(2, 32, 32, 3)).astype(np.float32), random.integers(0, 4, 2)
        return {
            "model": model,
            "variables": model.trainable_variables,
            "optimizer": keras.optimizers.AdamW(1e-3),
            "batches": [(images, labels)] * 8,
            **LOSS,
        }

    def test_it_trains_starts_over_and_describes_itself(self, take_over, native):
        model, programs = take_over(native)
        losses = train(model, programs, native["batches"], 4)
        assert losses[-1] < losses[0]
        model.reset()
        assert train(model, programs, native["batches"], 2) == losses[:2]
        assert model.describe().parameter_count == sum(
            int(np.prod(variable.shape)) for variable in native["variables"]
        )
        assert model.describe().settings["optimizer"] == "AdamW"
