"""A neutral workload as tensorflow 1 has it: one static graph, built before a session runs it.

Owns the graph and its session. Knows the layers of perceptrons and plain
convolutional networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from fwprof.plugin import Format, PipelineData, ResolvedLayer, UnsupportedError, walk
from fwprof.plugin import layers as kinds
from fwprof_tensorflow.formats import no_whole_models
from fwprof_tensorflow.graph_programs import GraphPrograms
from fwprof_tensorflow.model import TensorFlowModel
from fwprof_tensorflow.network import gelu_in_float64
from fwprof_tensorflow.neutral import differences, load_data
from fwprof_tensorflow.pipeline import DatasetPipeline
from fwprof_tensorflow.settings import read_settings, set_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fwprof.plugin import Batch, LoadedWorkload, Options, Programs, Scalar, Workload
    from fwprof_tensorflow.model import Array
    from fwprof_tensorflow.places import Place

    Feed = Mapping[Any, Array]
    """Placeholder → array on the host."""

v1 = tf.compat.v1
_ACTIVATIONS: Mapping[str | None, Callable[[Any], Any]] = {
    None: lambda tensor: tensor,
    "relu": tf.nn.relu,
    "gelu": tf.nn.gelu,
    "tanh": tf.nn.tanh,
    "sigmoid": tf.nn.sigmoid,
    "softmax": tf.nn.softmax,
}


@dataclass(frozen=True)
class SessionSlot:
    """A variable of the graph, read and written by the session.

    Args:
        variable: of the graph.
        value: the placeholder that `assign` sets it from.
    """

    session: Any
    variable: Any
    value: Any
    assign: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape, which is the variable's own."""
        return tuple(self.variable.shape)

    def read(self) -> Array:
        """Return a copy of the array."""
        return np.array(self.session.run(self.variable))

    def write(self, array: Array) -> None:
        """Set the array in place."""
        self.session.run(self.assign, {self.value: array})

    def to_canonical(self, array: Array) -> Array:
        """Return the array: both layouts are one."""
        return array


class GraphModel(TensorFlowModel):
    """The graph of a neutral workload and the session that runs it.

    Args:
        workload: layers, canonical weights and batches.

    Raises:
        UnsupportedError: a layer, the loss or the optimizer has no place in such a graph.
    """

    def __init__(self, workload: LoadedWorkload, place: Place, options: Options) -> None:
        if workload.spec is None:
            raise UnsupportedError(
                "tensorflow:graph cannot take over a model of your own",
                cause="it builds the graphs of fwprof's workloads",
                next="use --plugin tensorflow",
            )
        cell = options.cell
        # The pipeline converts its batches to it.
        set_precision(cell)
        self._dtype = np.dtype(tf.keras.config.floatx())
        self._weights = workload.weights
        graph = tf.Graph()
        with graph.as_default():
            self.nodes = _build(workload, self._dtype)
            # Else it deletes what it wrote five saves before.
            self._saver = v1.train.Saver(max_to_keep=None)
            graph.finalize()
        # Without a configuration of its own a session takes the threads that prepare set.
        self.session = v1.Session(graph=graph)
        nodes = self.nodes
        super().__init__(
            parameters={
                name: SessionSlot(self.session, variable, *nodes.setters[name])
                for name, variable in nodes.variables.items()
            },
            statistics={},
            place=place,
            verified_with=differences(cell, workload.layers),
        )
        self.started: set[str] = set()
        self._batch_size = len(workload.batches[0].targets) if workload.batches else 0
        self._pipeline = self._fetch(workload.batches)
        self.reset()

    @property
    def mode(self) -> str:
        """Always `graph`."""
        return "graph"

    @property
    def labels(self) -> tuple[str, ...]:
        """Each program is a part of one graph, and feeding it copies the batch."""
        return ("whole_graph", "copies_inputs")

    @property
    def native_device(self) -> str:
        """The device that the session places its operations on: the last one it lists."""
        return str(self.session.list_devices()[-1].name.rpartition("device:")[2])

    @property
    def batch_size(self) -> int:
        """Samples in the batch staged last."""
        return self._batch_size

    @property
    def optimizer_variables(self) -> Sequence[Any]:
        """What the optimizer added to the graph."""
        # Outside of its graph an optimizer takes the process for an eager one, and finds none.
        with self.session.graph.as_default():
            return list(self.nodes.optimizer.variables())

    def make_programs(self) -> Programs:
        """Return F, G, S and D."""
        return GraphPrograms(self)

    def stage(self, batch: Batch) -> Feed:
        """Return what feeds one batch: copies on the host, where feed_dict takes them from."""
        self._batch_size = len(batch.targets)
        return self._feed(batch.inputs, batch.targets)

    def next_batch(self) -> Feed:
        """Fetch one batch from a tf.data pipeline; it stays on the host."""
        return next(self._pipeline)

    def pipeline(self, data: PipelineData) -> DatasetPipeline:
        """Return a tf.data pipeline of the samples, whose batches stay on the host."""
        return DatasetPipeline(data, lambda inputs, targets: self._feed(inputs.numpy(), targets.numpy()))

    def reset(self) -> None:
        """Restore canonical weights and a fresh optimizer, in place."""
        self.session.run(self.nodes.clear)
        self.load_parameters(self._weights)

    def predict(self, staged: Feed) -> Array:
        """Return the outputs `(batch, classes)`: these layers infer as they train."""
        return np.array(self.session.run(self.nodes.logits, staged))

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from tensorflow."""
        return read_settings(
            list(self.nodes.variables.values()), self.nodes.optimizer, is_compiled=False, is_traced=True
        )

    def compilations(self) -> int:
        """Return how many programs the session has pruned out of the graph: each at its first call.

        The graph is finalised: nothing can be added to it later.
        """
        return len(self.started)

    def save(self, path: Path) -> None:
        """Write every variable as a checkpoint of tensorflow."""
        # Outside of its graph a saver takes the process for an eager one.
        with self.session.graph.as_default():
            self._saver.save(self.session, str(path), write_meta_graph=False, write_state=False)

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        with self.session.graph.as_default():
            self._saver.restore(self.session, str(path))

    def formats(self) -> Mapping[str, Format]:
        """Return `tf_checkpoint`, as tensorflow 1's Saver writes it; a graph is no keras model."""
        return {
            "tf_checkpoint": Format(holds=("parameters", "optimizer"), save=self.save, restore=self.restore),
            **no_whole_models("a static graph is no keras model"),
        }

    def _feed(self, inputs: Array, targets: Array) -> Feed:
        return {
            self.nodes.inputs: np.array(inputs, self.nodes.inputs.dtype.as_numpy_dtype),
            self.nodes.targets: np.array(targets, self.nodes.targets.dtype.as_numpy_dtype),
        }

    def _fetch(self, batches: Sequence[Batch]) -> Iterator[Feed]:
        for inputs, targets in load_data(batches).as_numpy_iterator():
            yield self._feed(inputs, targets)


@dataclass
class _Nodes:
    """What the session is asked for, by its part in a step."""

    inputs: Any
    targets: Any
    variables: dict[str, Any] = field(default_factory=dict)
    setters: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Canonical name → placeholder and the operation that assigns it."""
    logits: Any = None
    loss: Any = None
    gradients: Any = None
    optimizer: Any = None
    update: Any = None
    clear: Any = None
    """Initialises every variable, the optimizer's own among them."""


def _build(workload: LoadedWorkload, dtype: np.dtype[Any]) -> _Nodes:
    spec = workload.spec
    assert spec is not None
    _require_supported(spec, workload.layers)
    has_labels = spec.loss == "cross_entropy"
    nodes = _Nodes(
        inputs=v1.placeholder(
            dtype if spec.input.dtype == "float32" else tf.int64, (None, *spec.input.shape)
        ),
        targets=v1.placeholder(tf.int64, (None,))
        if has_labels
        else v1.placeholder(dtype, (None, spec.classes)),
    )
    tensor = nodes.inputs
    for resolved in workload.layers:
        for name, shape in resolved.parameters.items():
            variable = v1.get_variable(name, shape, dtype, initializer=v1.zeros_initializer())
            value = v1.placeholder(dtype, shape)
            nodes.variables[name] = variable
            nodes.setters[name] = (value, variable.assign(value).op)
        tensor = _apply(resolved, tensor, nodes.variables)
    nodes.logits = tensor
    nodes.loss = _loss(spec.loss, tensor, nodes.targets)
    nodes.optimizer = _optimizer(spec.optimizer)
    pairs = nodes.optimizer.compute_gradients(nodes.loss, list(nodes.variables.values()))
    nodes.gradients = [gradient for gradient, _ in pairs]
    nodes.update = nodes.optimizer.apply_gradients(pairs)
    nodes.clear = v1.global_variables_initializer()
    return nodes


def _require_supported(spec: Workload, layers: Sequence[ResolvedLayer]) -> None:
    """Refuse what is no layer of its own; a layer that is missing is refused where it is made."""
    kept = next((resolved.path for resolved in walk(layers) if resolved.is_frozen), None)
    lacks = {
        "accumulated gradients": spec.accumulate > 1,
        f"frozen layer {kept}": kept is not None,
        "low-rank adaptation": any(getattr(each.layer, "lora_rank", None) for each in walk(layers)),
    }
    for what, is_asked in lacks.items():
        if is_asked:
            raise UnsupportedError(
                f"tensorflow:graph has no {what}",
                cause="it trains every parameter of a plain network, once a step",
                next="use --plugin tensorflow",
            )


def _apply(resolved: ResolvedLayer, tensor: Any, variables: Mapping[str, Any]) -> Any:
    layer, path = resolved.layer, resolved.path
    match layer:
        case kinds.Dense():
            tensor = tf.matmul(tensor, variables[f"{path}.kernel"])
            return _finish(layer, path, tensor, variables)
        case kinds.Conv2d():
            kernel = variables[f"{path}.kernel"]
            tensor = tf.nn.conv2d(tensor, kernel, layer.stride, _padding(layer.padding))
            return _finish(layer, path, tensor, variables)
        case kinds.MaxPool2d():
            stride = layer.stride or layer.size
            return tf.nn.max_pool2d(tensor, layer.size, stride, _padding(layer.padding))
        case kinds.AveragePool2d():
            return tf.nn.avg_pool2d(tensor, layer.size, layer.size, "VALID")
        case kinds.AverageOverImage():
            return tf.reduce_mean(tensor, (1, 2))
        case kinds.Flatten():
            return tf.reshape(tensor, (-1, *resolved.output_shape))
        case kinds.Activation():
            return _activate(layer.function, tensor)
        case _:
            raise UnsupportedError(
                f"tensorflow:graph has no {type(layer).__name__} for layer {path}",
                cause="it has dense, conv2d, pooling, flatten and activation",
                next="use --plugin tensorflow",
            )


def _padding(padding: str | int) -> Any:
    """Return padding as tensorflow takes it: a word, or pixels before and after each axis."""
    if isinstance(padding, str):
        return padding.upper()
    return [[0, 0], [padding] * 2, [padding] * 2, [0, 0]] if padding else "VALID"


def _finish(layer: kinds.Dense | kinds.Conv2d, path: str, tensor: Any, variables: Mapping[str, Any]) -> Any:
    if layer.use_bias:
        tensor = tf.nn.bias_add(tensor, variables[f"{path}.bias"])
    return _activate(layer.activation, tensor)


def _activate(name: str | None, tensor: Any) -> Any:
    if name == "gelu" and tensor.dtype == tf.float64:
        return gelu_in_float64(tensor)
    return _ACTIVATIONS[name](tensor)


def _loss(name: str, logits: Any, targets: Any) -> Any:
    match name:
        case "cross_entropy":
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
        case "binary_cross_entropy":
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
        case "mean_squared_error":
            losses = tf.math.squared_difference(logits, targets)
        case _:
            raise UnsupportedError(f"tensorflow has no loss {name!r} here")
    return tf.reduce_mean(losses)


def _optimizer(spec: kinds.Optimizer) -> Any:
    match spec:
        case kinds.Sgd(momentum=0.0):
            return v1.train.GradientDescentOptimizer(spec.learning_rate)
        case kinds.Sgd():
            return v1.train.MomentumOptimizer(spec.learning_rate, spec.momentum)
        case kinds.Adam(weight_decay=0.0):
            return v1.train.AdamOptimizer(spec.learning_rate, spec.beta_1, spec.beta_2, spec.epsilon)
        case kinds.Adam():
            raise UnsupportedError(
                "tensorflow:graph has no Adam with weight decay",
                cause="tf.compat.v1.train has none",
                next="use --plugin tensorflow",
            )
    raise UnsupportedError(f"tensorflow has no optimizer {type(spec).__name__} here")
