"""A small network in NumPy: loss, true gradients and optimizers, in any float type.

Owns the mathematics of the fake framework, and in float64 the reference of the conformance
suite. Knows nothing of hooks, devices or clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from fwprof.errors import UnsupportedError
from fwprof.records.workload import (
    Activation,
    ActivationName,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Loss,
    Lstm,
    Optimizer,
    ResolvedLayer,
    Sgd,
)
from fwprof.testing.numpy_losses import loss_of
from fwprof.testing.numpy_lstm import run_lstm, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pull = Callable[[Array, dict[str, Array]], Array]
    """Gradient of a layer's outputs → gradient of its inputs; adds its parameters' gradients."""
    Output = tuple[Array, Pull]

KINDS = (Dense, Flatten, Activation, Dropout, BatchNorm, Embedding, Lstm)
"""The layers that are written here."""


class Network:
    """The layers of a workload over a dictionary of canonical arrays.

    Args:
        layers: resolved layers, of the kinds in `KINDS`.
        values: canonical name → array, trained and updated in place; its dtype is computed in.
        seed: of dropout's random stream.
        loss: of the workload.
        accumulate: parts that a batch is cut into.

    Raises:
        UnsupportedError: a layer, or its activation, is of another kind, or frozen.
    """

    def __init__(
        self,
        layers: Sequence[ResolvedLayer],
        values: dict[str, Array],
        seed: int,
        loss: Loss = "cross_entropy",
        accumulate: int = 1,
    ) -> None:
        for resolved in layers:
            _refuse_unsupported(resolved)
        self.layers = tuple(layers)
        self.values = values
        self.random = np.random.default_rng(seed)
        self.loss_kind = loss
        self.accumulate = accumulate
        self.trainable = tuple(name for resolved in layers for name in resolved.parameters)

    def outputs(self, inputs: Array, *, is_training: bool) -> Output:
        """Return the outputs `(batch, …)` and how their gradient is pulled back to the inputs."""
        pulls: list[Pull] = []
        for resolved in self.layers:
            inputs, pull = self.apply(resolved, inputs, is_training=is_training)
            pulls.append(pull)

        def pull_all(upstream: Array, gradients: dict[str, Array]) -> Array:
            for pull in reversed(pulls):
                upstream = pull(upstream, gradients)
            return upstream

        return inputs, pull_all

    def loss(self, inputs: Array, targets: Array) -> float:
        """Return the mean loss in training mode."""
        losses = []
        for part, wanted in self._parts(inputs, targets):
            outputs, _ = self.outputs(part, is_training=True)
            losses.append(loss_of(self.loss_kind, outputs, wanted)[0])
        return sum(losses) / len(losses)

    def loss_and_pull(self, inputs: Array, targets: Array) -> tuple[float, Callable[[], dict[str, Array]]]:
        """Return the mean loss in training mode, and what computes every gradient of it."""
        losses, pulls = [], []
        for part, wanted in self._parts(inputs, targets):
            outputs, pull = self.outputs(part, is_training=True)
            loss, upstream = loss_of(self.loss_kind, outputs, wanted)
            losses.append(loss)
            pulls.append((pull, upstream / self.accumulate))

        def gradients() -> dict[str, Array]:
            total: dict[str, Array] = {}
            for pull, upstream in pulls:
                found: dict[str, Array] = {}
                pull(upstream, found)
                for name, gradient in found.items():
                    total[name] = total[name] + gradient if name in total else gradient
            return total

        return sum(losses) / len(losses), gradients

    def _parts(self, inputs: Array, targets: Array) -> Iterator[tuple[Array, Array]]:
        """Yield the parts whose gradients are accumulated."""
        return zip(np.split(inputs, self.accumulate), np.split(targets, self.accumulate), strict=True)

    def apply(self, resolved: ResolvedLayer, inputs: Array, *, is_training: bool) -> Output:
        """Return the outputs of one layer, and how their gradient is pulled back to its inputs."""
        layer = resolved.layer
        if isinstance(layer, Dense):
            return self._dense(resolved.path, layer, inputs)
        if isinstance(layer, Activation):
            return _activate(layer.function, inputs)
        if isinstance(layer, Dropout):
            return self._dropout(layer.rate if is_training else 0.0, inputs)
        if isinstance(layer, BatchNorm):
            return self._batch_norm(resolved.path, layer, inputs, is_training)
        if isinstance(layer, Embedding):
            return self._embedding(resolved.path, inputs)
        if isinstance(layer, Lstm):
            return self._lstm(resolved.path, layer, inputs)
        return inputs.reshape(len(inputs), -1), lambda upstream, _: upstream.reshape(inputs.shape)

    def _dense(self, path: str, layer: Dense, inputs: Array) -> Output:
        kernel = self.values[f"{path}.kernel"]
        outputs = inputs @ kernel
        if layer.use_bias:
            outputs = outputs + self.values[f"{path}.bias"]
        activated, pull_activation = _activate(layer.activation, outputs)

        def pull(upstream: Array, gradients: dict[str, Array]) -> Array:
            upstream = pull_activation(upstream, gradients)
            gradients[f"{path}.kernel"] = inputs.reshape(-1, len(kernel)).T @ upstream.reshape(
                -1, layer.units
            )
            if layer.use_bias:
                gradients[f"{path}.bias"] = upstream.reshape(-1, layer.units).sum(axis=0)
            pulled: Array = upstream @ kernel.T
            return pulled

        return activated, pull

    def _dropout(self, rate: float, inputs: Array) -> Output:
        if rate == 0.0:
            return inputs, lambda upstream, _: upstream
        kept = (self.random.random(inputs.shape) >= rate).astype(inputs.dtype) / inputs.dtype.type(1 - rate)
        return inputs * kept, lambda upstream, _: upstream * kept

    def _batch_norm(self, path: str, layer: BatchNorm, inputs: Array, is_training: bool) -> Output:
        gamma, beta = self.values[f"{path}.gamma"], self.values[f"{path}.beta"]
        moving_mean, moving_variance = (
            self.values[f"{path}.moving_mean"],
            self.values[f"{path}.moving_variance"],
        )
        axes = tuple(range(inputs.ndim - 1))
        mean, variance = moving_mean, moving_variance
        if is_training:
            mean, variance = inputs.mean(axis=axes), inputs.var(axis=axes)
            moving_mean += (1 - layer.momentum) * (mean - moving_mean)
            moving_variance += (1 - layer.momentum) * (variance - moving_variance)
        scale = 1 / np.sqrt(variance + inputs.dtype.type(layer.epsilon))
        normal = (inputs - mean) * scale

        def pull(upstream: Array, gradients: dict[str, Array]) -> Array:
            gradients[f"{path}.gamma"] = (upstream * normal).sum(axis=axes)
            gradients[f"{path}.beta"] = upstream.sum(axis=axes)
            inner = upstream * gamma
            # Ioffe & Szegedy 2015, section 3: the batch's own mean and variance depend on the inputs.
            pulled: Array = scale * (
                inner - inner.mean(axis=axes) - normal * (inner * normal).mean(axis=axes)
            )
            return pulled

        return normal * gamma + beta, pull

    def _embedding(self, path: str, ids: Array) -> Output:
        table = self.values[f"{path}.table"]

        def pull(upstream: Array, gradients: dict[str, Array]) -> Array:
            gradient = gradients[f"{path}.table"] = np.zeros_like(table)
            np.add.at(gradient, ids, upstream)
            return ids  # ids have no gradient, and nothing with parameters comes before them

        return table[ids], pull

    def _lstm(self, path: str, layer: Lstm, inputs: Array) -> Output:
        names = [f"{path}.{part}" for part in ("kernel", "recurrent_kernel", "bias")]
        outputs, pull_all = run_lstm(inputs, *(self.values[name] for name in names))

        def pull(upstream: Array, gradients: dict[str, Array]) -> Array:
            if not layer.return_sequences:
                last, upstream = upstream, np.zeros_like(outputs)
                upstream[:, -1] = last
            pulled, *found = pull_all(upstream)
            gradients.update(zip(names, found, strict=True))
            return pulled

        return outputs if layer.return_sequences else outputs[:, -1], pull


def without_dropout(layers: Sequence[ResolvedLayer]) -> tuple[ResolvedLayer, ...]:
    """Return the layers with every dropout's rate 0, as answers are verified."""
    return tuple(
        replace(resolved, layer=Dropout(rate=0.0)) if isinstance(resolved.layer, Dropout) else resolved
        for resolved in layers
    )


class Update:
    """The optimizer of a workload, with its state.

    Source: SGD and Adam as `fwprof.records.workload` writes them, Adam in the canonical form;
    AdamW, Loshchilov & Hutter 2019, algorithm 2.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.clear()

    def clear(self) -> None:
        """Forget everything: as before the first step."""
        self.step_count = 0
        self.first: dict[str, Array] = {}
        self.second: dict[str, Array] = {}

    def apply(self, values: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        """Take one step: change `values` in place."""
        self.step_count += 1
        for name, gradient in gradients.items():
            if isinstance(self.optimizer, Sgd):
                self._descend(self.optimizer, name, values[name], gradient)
            else:
                self._adapt(self.optimizer, name, values[name], gradient)

    def _descend(self, sgd: Sgd, name: str, value: Array, gradient: Array) -> None:
        if sgd.momentum:
            velocity = self.first.setdefault(name, np.zeros_like(value))
            velocity *= sgd.momentum
            velocity += gradient
            gradient = velocity
        value -= value.dtype.type(sgd.learning_rate) * gradient

    def _adapt(self, adam: Adam, name: str, value: Array, gradient: Array) -> None:
        mean = self.first.setdefault(name, np.zeros_like(value))
        square = self.second.setdefault(name, np.zeros_like(value))
        mean += (1 - adam.beta_1) * (gradient - mean)
        square += (1 - adam.beta_2) * (gradient * gradient - square)
        rate = adam.learning_rate * sqrt(1 - adam.beta_2**self.step_count)
        rate /= 1 - adam.beta_1**self.step_count
        value *= 1 - adam.learning_rate * adam.weight_decay
        value -= (rate * mean / (np.sqrt(square) + adam.epsilon)).astype(value.dtype)


def _refuse_unsupported(resolved: ResolvedLayer) -> None:
    layer = resolved.layer
    if resolved.is_frozen or (isinstance(layer, Dense) and layer.lora_rank is not None):
        raise UnsupportedError(
            f"layer {resolved.path} has parameters that are not trained",
            cause="the fake framework trains all of them",
        )
    if not isinstance(layer, KINDS):
        kind = layer.__struct_config__.tag
        raise UnsupportedError(
            f"layer {resolved.path} is of kind {kind}", cause="the fake framework has no such layer"
        )
    function = layer.function if isinstance(layer, Activation) else getattr(layer, "activation", None)
    if function not in (None, *_ACTIVATIONS):
        raise UnsupportedError(
            f"layer {resolved.path} has the activation {function}",
            cause=f"the fake framework knows {', '.join(_ACTIVATIONS)}",
        )


def _activate(name: ActivationName | None, inputs: Array) -> Output:
    if name is None:
        return inputs, lambda upstream, _: upstream
    outputs, slope = _ACTIVATIONS[name](inputs)
    return outputs, lambda upstream, _: upstream * slope


def _relu(inputs: Array) -> tuple[Array, Array]:
    return np.maximum(inputs, 0), (inputs > 0).astype(inputs.dtype)


def _tanh(inputs: Array) -> tuple[Array, Array]:
    outputs = np.tanh(inputs)
    return outputs, 1 - outputs * outputs


def _sigmoid(inputs: Array) -> tuple[Array, Array]:
    outputs = sigmoid(inputs)
    return outputs, outputs * (1 - outputs)


_ACTIVATIONS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
}
