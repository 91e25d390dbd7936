"""A workload's data pipeline: who makes batches, how far ahead, and what happens to each image."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fwprof.records.base import Record

Positive = Annotated[int, msgspec.Meta(ge=1)]
Length = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


class TransformBase(Record, frozen=True, kw_only=True, tag_field="kind"):
    """What happens to one image, (height, width, channels), of float32 numbers."""


class Resize(TransformBase, frozen=True, kw_only=True, tag="resize"):
    """Bilinear, with half-pixel centres and without antialiasing: output pixel i looks at input place
    (i + ½)·(input / output) − ½, held within the image, and mixes the two pixels beside it.
    """

    height: Length
    width: Length


class RandomCrop(TransformBase, frozen=True, kw_only=True, tag="random_crop"):
    """A part of this size, at any place with equal probability; the pixels stay as they are."""

    height: Length
    width: Length


class RandomFlip(TransformBase, frozen=True, kw_only=True, tag="random_flip"):
    """Left and right exchanged, in half of the images at random."""


Transform = Resize | RandomCrop | RandomFlip


class Pipeline(Record, frozen=True, kw_only=True):
    """How batches of the training samples are made while training; each framework's own way of it.

    It feeds the pipeline pass (docs/reference/protocol.md) and no timed program.
    """

    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Processes or threads, as the framework has them, that make batches beside the training. 0: a
    batch is made when it is asked for."""
    prefetch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    """Batches that the workers make ahead, all together; nothing is made ahead without workers."""
    shuffle: bool = True
    """Whether each epoch has an order of its own, drawn over the whole data set."""
    transforms: tuple[Transform, ...] = ()
    """Applied in order; the last one gives the workload's input."""
    stored_shape: Annotated[tuple[Length, Length, Length], msgspec.Meta()] | None = None
    """Shape of the images in the data set, (height, width, channels). None: the workload's input. Of
    another shape are synthetic images alone: they are made so large."""
