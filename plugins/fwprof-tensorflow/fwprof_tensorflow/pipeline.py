"""The data pipeline as a tensorflow user writes it: tf.data, from slices to batches.

Owns the transforms in tensorflow's operations. Knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from fwprof.plugin import UnsupportedError, transforms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fwprof.plugin import PipelineData, Staged


class DatasetPipeline:
    """Epochs of a tf.data.Dataset.

    `from_tensor_slices` holds all samples in memory, and a shuffle over the whole data set holds each of
    them once more: as in the code that tensorflow's own guide shows for arrays.

    Args:
        data: the samples, and how they become batches.
        place: puts one pair of tensors where the step wants it; does not wait.
    """

    def __init__(self, data: PipelineData, place: Callable[[Any, Any], Staged]) -> None:
        asked, self._place = data.pipeline, place
        arrays = data.open()
        # On a card the samples would go there as a whole.
        with tf.device("CPU:0"):
            dataset = tf.data.Dataset.from_tensor_slices(arrays)
        if asked.shuffle:
            dataset = dataset.shuffle(len(arrays[1]), seed=data.seed)
        if asked.transforms:
            dataset = dataset.map(_mapped(asked.transforms), num_parallel_calls=asked.workers or None)
        dataset = dataset.batch(data.batch_size, drop_remainder=True)
        if asked.workers:
            dataset = dataset.prefetch(asked.prefetch)
        else:
            # Else tensorflow adds a prefetch of its own, and batches are made beside the training.
            options = tf.data.Options()
            options.autotune.enabled = False
            options.experimental_optimization.inject_prefetch = False
            dataset = dataset.with_options(options)
        self._dataset = dataset
        ahead = f"prefetch {asked.prefetch}" if asked.workers else "no prefetch"
        parallel = f"{asked.workers} calls of map, " if asked.workers and asked.transforms else ""
        self.basis = f"tf.data, {parallel}{ahead}"

    def __iter__(self) -> Iterator[Staged]:
        for inputs, targets in self._dataset:
            yield self._place(inputs, targets)

    def close(self) -> None:
        """Do nothing: an iterator that is dropped ends its threads."""


def _mapped(steps: Sequence[transforms.Transform]) -> Callable[[Any, Any], tuple[Any, Any]]:
    return lambda image, target: (transform(image, steps), target)


def transform(image: Any, steps: Sequence[transforms.Transform]) -> Any:
    """Return one image (height, width, channels) after all transforms.

    Raises:
        UnsupportedError: tensorflow does not have one of them here.
    """
    for step in steps:
        match step:
            case transforms.Resize(height=height, width=width):
                image = tf.image.resize(image, (height, width), method="bilinear", antialias=False)
            case transforms.RandomCrop(height=height, width=width):
                image = tf.image.random_crop(image, (height, width, image.shape[-1]))
            case transforms.RandomFlip():
                image = tf.image.random_flip_left_right(image)
            case _:
                raise UnsupportedError(f"tensorflow has no transform {type(step).__name__} here")
    return image
