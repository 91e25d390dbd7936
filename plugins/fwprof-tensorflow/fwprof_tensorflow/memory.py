"""What the memory of a training step is made of: tensorflow's own tensors, by what they are for.

Sizes are those of the tensors. What comes and goes within a pass is told by the allocator, where it
counts every block.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from fwprof.plugin import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fwprof_tensorflow.graph import GraphModel
    from fwprof_tensorflow.places import Place
    from fwprof_tensorflow.trained import TrainedModel

SMALL = 64 * 1024
"""Bytes of a block that the allocator of the host does not count where it hands small ones out by another."""
_TENSORS = "sizes of tensorflow's tensors"
_PASSES = (
    "the most that program G held besides what was there before and its gradients, by tensorflow's allocator"
)


def counts_small_blocks(place: Place) -> bool:
    """Return whether the allocator's count moves by a small block.

    With oneDNN, tensorflow's allocator of the host hands out blocks below 256 KiB by another allocator, which
    is not in the statistics. Source: tensorflow/core/common_runtime/mkl_cpu_allocator.h, kMaxSmallSize.

    Raises:
        ValueError: the device keeps no statistics.
    """
    before = _held(place)
    with tf.device(place.name):
        block = tf.random.uniform((SMALL // 4,))
    place.wait()
    after = _held(place)
    del block
    return after - before >= SMALL


def read_memory(model: TrainedModel | GraphModel, differentiate: Callable[[], Any]) -> Mapping[str, Reading]:
    """Return the memory of a step by category, in bytes.

    Args:
        model: whose variables are counted, those of the optimizer apart.
        differentiate: program G; returns its gradients.
    """
    gradients = _size(differentiate())
    return {
        "parameter_memory": _reading(_size_of_variables(model.shown_variables)),
        "gradient_memory": _reading(gradients),
        "optimizer_memory": _reading(_size_of_variables(model.optimizer_variables)),
        "activation_memory": _activations(model.place, gradients, differentiate),
    }


def _activations(place: Place, gradients: int, differentiate: Callable[[], Any]) -> Reading:
    try:
        if not counts_small_blocks(place):
            reason = "tensorflow's allocator of the host counts no small blocks, as activations may be"
            return Reading(value=None, unit="bytes", reason=reason)
        before = _held(place)
        tf.config.experimental.reset_memory_stats(place.name)
        kept = differentiate()
        place.wait()
        most = tf.config.experimental.get_memory_info(place.name)["peak"]
    except ValueError as error:
        return Reading(value=None, unit="bytes", reason=str(error))
    del kept
    return Reading(value=max(int(most) - before - gradients, 0), unit="bytes", basis=_PASSES)


def _held(place: Place) -> int:
    return int(tf.config.experimental.get_memory_info(place.name)["current"])


def _reading(size: int) -> Reading:
    return Reading(value=size, unit="bytes", basis=_TENSORS)


def _size_of_variables(variables: Iterable[Any]) -> int:
    """Return the bytes of variables of tensorflow 1 or 2 or keras; one that is named twice counts once."""
    known = {id(variable): variable for variable in variables}
    return sum(prod(each.shape) * tf.as_dtype(each.dtype).size for each in known.values())


def _size(tensors: Any) -> int:
    """Return the bytes of tensors or arrays; of rows that are listed, their numbers too."""
    leaves = tf.nest.flatten(tensors, expand_composites=True)
    return sum(prod(leaf.shape) * tf.as_dtype(leaf.dtype).size for leaf in leaves if leaf is not None)
