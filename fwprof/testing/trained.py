"""What a step trains and what it leaves alone: checks of a plugin's accumulated gradients, frozen, low-rank
and tied layers, and batches whose length changes.

Beside `checks`, which holds each layer to its definition. Knows no framework.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec
import numpy as np

from fwprof.plugin import Batch, Gradients, LoadedWorkload, Model, Programs, Result, layers
from fwprof.testing.conformance.verdicts import expect, expect_close, expect_names, expect_same
from fwprof.testing.definitions import loss_of, spec_of
from fwprof.testing.small import make_workload, train
from fwprof.workloads.language import parameter_shapes, state_shapes

Build = Callable[[LoadedWorkload], tuple[Model, Programs]]
"""Builds a workload through a plugin's hooks."""

PARTS, SAMPLES, VOCABULARY = 3, 6, 12
ADAMW = layers.Adam(learning_rate=0.01, epsilon=1e-3, weight_decay=0.1)

FROZEN = (
    layers.Dense(units=4, activation="tanh"),
    layers.Frozen(
        layers=(
            layers.BatchNorm(),
            layers.Residual(layers=(layers.LayerNorm(), layers.Attention(heads=2))),
            layers.Lstm(units=4, return_sequences=True),
            layers.Gru(units=4, return_sequences=True),
        )
    ),
    layers.BatchNorm(),
    layers.Dense(units=4, lora_rank=2),
    layers.AverageOverSequence(),
    layers.Dense(units=3),
)
"""Layers that are trained, frozen and both, over sequences of features."""

TEXT = (
    layers.Embedding(vocabulary=VOCABULARY, units=4),
    layers.Branches(
        layers=(
            layers.Chain(
                layers=(
                    layers.Conv1d(filters=3, size=4, stride=3, padding="same"),
                    layers.MaxOverSequence(),
                )
            ),
            layers.Chain(
                layers=(layers.Conv1d(filters=3, size=2, padding="same"), layers.AverageOverSequence())
            ),
            layers.Chain(layers=(layers.Conv1d(filters=2, size=3, padding="same"), layers.FirstOfSequence())),
            layers.Chain(layers=(layers.Attention(heads=2), layers.Gru(units=3))),
            layers.Lstm(units=2),
        )
    ),
    layers.Dense(units=3),
)
"""Layers that take ids, as many as there are."""

AGREES, AFTER_STEPS = 1e-9, 1e-7
"""Share of a tensor's largest value by which it may be off in float64: at once, and after steps, since
some optimizers keep their constants in float32."""
IN_FLOAT32 = 1e-5
"""The same of two programs in float32 that do the same in another order."""


def make_trimmed(
    lengths: Sequence[int], *, specs: Sequence[layers.Layer] = TEXT, accumulate: int = 1
) -> LoadedWorkload:
    """Return a workload whose batches take these lengths in turn.

    In each batch at least one sequence is as long as the batch; the others have padding in front.
    """
    made = make_workload(specs, (max(lengths),), vocabulary=VOCABULARY, accumulate=accumulate)
    random, batches = np.random.default_rng(3), []
    for length, batch in zip(_in_turn(lengths, len(made.batches)), made.batches, strict=True):
        inputs = np.ascontiguousarray(batch.inputs.clip(min=1)[:, -length:])
        for row, short in zip(inputs, [0, *random.integers(0, 4, len(inputs) - 1)], strict=True):
            row[:short] = 0
        batches.append(dataclasses.replace(batch, inputs=inputs))
    data = layers.SyntheticData(min_length=2, is_trimmed=True)
    spec = msgspec.structs.replace(spec_of(made), data=data)
    return dataclasses.replace(made, spec=spec, batches=tuple(batches))


def check_parts(build: Build, loss: layers.Loss = "cross_entropy") -> None:
    """Check that a batch in parts trains as the undivided one does; a model in float64.

    Raises:
        ConformanceError: a loss, a gradient or a parameter differs; names it.
    """
    for specs, shape, vocabulary in (
        ((layers.Dense(units=5, activation="tanh"), layers.Dense(units=3)), (4,), 0),
        ((layers.Embedding(vocabulary=9, units=4), layers.Flatten(), layers.Dense(units=3)), (5,), 9),
    ):
        workload, cut_workload = (
            make_workload(
                specs,
                shape,
                vocabulary=vocabulary,
                optimizer=ADAMW,
                batch=SAMPLES,
                loss=loss,
                accumulate=parts,
            )
            for parts in (1, PARTS)
        )
        whole, programs = build(workload)
        model, cut_programs = build(cut_workload)
        batch = workload.batches[0]
        staged, cut = whole.stage(batch), model.stage(batch)
        wanted, gradients = _read(programs, programs.forward_backward(staged))
        found, _ = _read(cut_programs, cut_programs.forward(cut))
        expect_close(found, wanted, AGREES, "the loss of forward")
        for _ in range(2):
            found, of_parts = _read(cut_programs, cut_programs.forward_backward(cut))
            expect_close(found, wanted, AGREES, "the loss of forward_backward")
            expect_same(of_parts, gradients, AGREES, "gradients of the parts")
        losses = [
            train(one, its, workload.batches, 3) for one, its in ((model, cut_programs), (whole, programs))
        ]
        expect_close(losses[0], losses[1], AFTER_STEPS, "the losses of three steps")
        expect_same(model.parameters(), whole.parameters(), AFTER_STEPS, "after three steps")


def check_statistics_of_parts(build: Build) -> None:
    """Check that each part moves the statistics on from the part before; a model in float64.

    Raises:
        ConformanceError: they are not where the parts bring them.
    """
    specs = (layers.BatchNorm(momentum=0.8), layers.Dense(units=3))
    workload = make_workload(specs, (4,), batch=SAMPLES, accumulate=PARTS)
    model, programs = build(workload)
    mean, variance = (workload.weights[f"0.moving_{key}"].astype(float) for key in ("mean", "variance"))
    for batch in workload.batches[:2]:
        programs.wait(programs.run(model.stage(batch)))
        for part in np.split(batch.inputs.astype(float), PARTS):
            mean = 0.8 * mean + 0.2 * part.mean(axis=0)
            variance = 0.8 * variance + 0.2 * part.var(axis=0)
    parameters = model.parameters()
    expect_close(parameters["0.moving_mean"], mean, AGREES, "0.moving_mean after two steps")
    expect_close(parameters["0.moving_variance"], variance, AGREES, "0.moving_variance after two steps")


def check_outputs_of_parts(build: Build, sizes: Sequence[int] = (SAMPLES, SAMPLES - 1)) -> None:
    """Check that `predict` answers for all samples of a batch, whether or not the parts divide it.

    Raises:
        ConformanceError: outputs differ from those of the undivided batch.
    """
    specs = (layers.Dense(units=5, activation="tanh"), layers.Dense(units=3))
    workload, cut_workload = (
        make_workload(specs, (4,), batch=SAMPLES, accumulate=parts) for parts in (1, PARTS)
    )
    (whole, _), (model, _) = build(workload), build(cut_workload)
    for size in sizes:
        batch = Batch(workload.batches[0].inputs[:size], workload.batches[0].targets[:size])
        found, wanted = (one.predict(one.stage(batch)) for one in (model, whole))
        expect_close(found, wanted, AGREES, f"predict on {size} samples in {PARTS} parts")


def check_split(workload: LoadedWorkload, model: Model, programs: Programs) -> None:
    """Check that `split` names the phases and takes the step that `run` takes.

    Raises:
        ConformanceError: it does not.
    """
    staged = model.stage(workload.batches[0])
    found = getattr(programs, "split")(staged)  # noqa: B009 (not in the protocol: a plugin may have it)
    expect(list(found) == ["forward", "backward", "optimizer"], f"split names {', '.join(found)}")
    expect(all(length > 0 for length in found.values()), "a phase of split took no time")
    after = model.parameters()
    model.reset()
    programs.wait(programs.run(model.stage(workload.batches[0])))
    expect_same(model.parameters(), after, IN_FLOAT32, "after one step")


def check_frozen(build: Build, folder: Path) -> None:
    """Check that a step trains what is not frozen, and that all of it is loaded, saved and reset.

    Args:
        folder: an empty one.

    Raises:
        ConformanceError: something frozen moved, or something trained did not; names it.
    """
    workload = make_workload(FROZEN, (5, 6), optimizer=ADAMW)
    model, programs = build(workload)
    trained = set(parameter_shapes(workload.layers))
    _, gradients = _read(programs, programs.forward_backward(model.stage(workload.batches[0])))
    expect_names(gradients, trained, "gradients")
    count = sum(workload.weights[name].size for name in trained)
    described = model.describe().parameter_count
    expect(described == count, f"describe() counts {described} parameters, not {count}")
    losses = train(model, programs, workload.batches, 3)
    model.predict(model.stage(workload.batches[0]))
    statistics = {"5.moving_mean", "5.moving_variance"}
    _expect_moved(workload, model, trained | statistics)
    saved = model.parameters()
    model.save(folder / "saved")
    model.load_parameters({name: value + 1 for name, value in workload.weights.items()})
    model.reset()
    expect_same(model.parameters(), workload.weights, IN_FLOAT32, "after reset")
    expect_close(train(model, programs, workload.batches, 3), losses, IN_FLOAT32, "the losses after reset")
    model.reset()
    model.restore(folder / "saved")
    expect_same(model.parameters(), saved, IN_FLOAT32, "after restore")


def check_low_rank(build: Build, folder: Path) -> None:
    """Check that a low-rank layer trains its two thin matrices alone, and brings them back from a file.

    Args:
        folder: an empty one.

    Raises:
        ConformanceError: it does not; names what moved or stayed.
    """
    specs = (layers.Dense(units=5, activation="gelu", lora_rank=2), layers.Dense(units=3, lora_rank=1))
    workload = make_workload(specs, (4,))
    model, programs = build(workload)
    train(model, programs, workload.batches, 3)
    _expect_moved(workload, model, {"0.lora_a", "0.lora_b", "1.lora_a", "1.lora_b"})
    saved = model.parameters()
    model.save(folder / "saved")
    model.reset()
    model.restore(folder / "saved")
    expect_same(model.parameters(), saved, IN_FLOAT32, "after restore")


def check_tied(build: Build, *, is_frozen: bool = False) -> None:
    """Check that a table in two places has the gradients of both; frozen, that it stays.

    Raises:
        ConformanceError: it does not.
    """
    embedding = layers.Embedding(vocabulary=VOCABULARY, units=4)
    first = layers.Frozen(layers=(embedding,)) if is_frozen else embedding
    workload = make_workload(
        (first, layers.LayerNorm(), layers.TiedDense()),
        (3,),
        classes=VOCABULARY,
        vocabulary=VOCABULARY,
        batch=2,
        optimizer=layers.Sgd(learning_rate=1.0),
    )
    model, programs = build(workload)
    _, gradients = _read(programs, programs.forward_backward(model.stage(workload.batches[0])))
    programs.wait(programs.run(model.stage(workload.batches[0])))
    table, before = model.parameters()["0.table"], workload.weights["0.table"]
    if is_frozen:
        expect("0.table" not in gradients, "the frozen table has a gradient")
        expect_close(table, before, 0.0, "the frozen table after a step")
        return
    # Rows of ids that no sample has get a gradient from the output alone.
    unused = np.setdiff1d(np.arange(VOCABULARY), workload.batches[0].inputs)
    expect(bool(gradients["0.table"][unused].any(axis=1).all()), "the output gives the table no gradient")
    expect_close(table, before - gradients["0.table"], IN_FLOAT32, "the table after a step")
    count = VOCABULARY * 4 + 2 * 4
    described = model.describe().parameter_count
    expect(described == count, f"describe() counts {described} parameters, not {count}: the table is one")


def check_lengths(build: Build) -> None:
    """Check that each length has the loss of its definition; a model in float64.

    Raises:
        ConformanceError: one has not; names it.
    """
    workload = make_trimmed((9, 8, 7))
    model, programs = build(workload)
    for batch in workload.batches[:4]:
        found, _ = _read(programs, programs.forward(model.stage(batch)))
        wanted = loss_of(workload, workload.weights, batch)
        expect_close(found, wanted, AGREES, f"the loss of {batch.inputs.shape[1]} positions")


def check_lengths_from_the_pipeline(workload: LoadedWorkload, model: Model, programs: Programs) -> None:
    """Check that `next_batch` gives each batch in its own length, and begins again.

    Args:
        workload: from `make_trimmed`.

    Raises:
        ConformanceError: a loss is that of no batch, or of another one.
    """
    for number, batch in enumerate((*workload.batches, workload.batches[0])):
        found, _ = _read(programs, programs.forward(programs.next_batch()))
        wanted, _ = _read(programs, programs.forward(model.stage(batch)))
        expect_close(found, wanted, IN_FLOAT32, f"the loss of batch {number} from next_batch")


def _expect_moved(workload: LoadedWorkload, model: Model, wanted: Collection[str]) -> None:
    """Expect training to have moved these alone."""
    after = model.parameters()
    expect_names(
        after, {**parameter_shapes(workload.layers), **state_shapes(workload.layers)}, "parameters()"
    )
    moved = {name for name, value in after.items() if not np.array_equal(value, workload.weights[name])}
    stayed, strayed = sorted(set(wanted) - moved), sorted(moved - set(wanted))
    expect(not stayed, f"three steps leave {', '.join(stayed)} as it was")
    expect(not strayed, f"three steps move {', '.join(strayed)}, which is not trained")


def _in_turn(lengths: Sequence[int], count: int) -> Sequence[int]:
    return [lengths[index % len(lengths)] for index in range(count)]


def _read(programs: Programs, result: Result) -> tuple[float, Gradients]:
    programs.wait(result)
    loss, gradients = programs.read(result)
    return loss, gradients or {}
