"""Data pipelines of neutral workloads: what fits what, and batches made of stored samples by NumPy.

Owns the definition of every transform, and the plain pipeline that stands in where a plugin has
none of its own. Knows no framework and no process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from fwprof.contracts import Batch, PipelineData, Staged
from fwprof.errors import RequestError
from fwprof.records import CellPlan, RunPlan, RunRequest, Scalar, Workload
from fwprof.records.pipeline import RandomCrop, RandomFlip, Resize, Transform
from fwprof.records.workload import SyntheticData
from fwprof.workloads.language import is_trimmed
from fwprof.workloads.weights import generator

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[Any]

Shape = tuple[int, ...]

PIPELINE_SECONDS = 12.0


def check_pipeline(workload: Workload) -> None:
    """Check that what a workload's pipeline makes of its stored samples is the workload's input.

    Raises:
        RequestError: a transform, or all of them together, do not fit; names the transform's place
            in the YAML and the shapes.
    """
    pipeline, wanted = workload.pipeline, workload.input.shape
    shape = stored_shape(workload)
    if shape != wanted and not isinstance(workload.data, SyntheticData):
        raise RequestError(
            f"{workload.name}: only synthetic images can be made of another shape",
            cause=f"pipeline.stored_shape is {shape}, the data are {workload.data.__struct_config__.tag}",
            next="leave out pipeline.stored_shape",
        )
    for index, transform in enumerate(pipeline.transforms):
        shape = _shape_after(workload, f"pipeline.transforms[{index}]", transform, shape)
    if shape != wanted:
        size = " × ".join(map(str, wanted[:2]))
        raise RequestError(
            f"{workload.name}: the pipeline gives {shape}, not the input {wanted}",
            cause="what the last transform gives is what the model trains on",
            next=f"end with a resize or random_crop to {size}" if len(wanted) == 3 else "",
        )


def has_loops(request: RunRequest) -> bool:
    """Tell whether a request asks for loops through data pipelines."""
    return request.pipeline or request.workers is not None


def with_workers(request: RunRequest) -> dict[str, Scalar]:
    """Return what a request changes in its workloads, the number of workers included."""
    workers = {} if request.workers is None else {"pipeline.workers": request.workers}
    return {**request.overrides, **workers}


def has_pipeline(plan: RunPlan, cell: CellPlan) -> bool:
    """Tell whether a cell is looped over its data set in a pass of its own.

    Batches whose length changes are made otherwise than any pipeline makes them.
    """
    spec = cell.workload.spec
    is_measured = plan.schedule.sessions > 0 and has_loops(plan.request)
    return is_measured and spec is not None and not is_trimmed(spec)


def pipeline_seconds(plan: RunPlan) -> float:
    """Return about how long the loops of one cell take; those over long epochs are cut short."""
    return min(PIPELINE_SECONDS, plan.schedule.max_seconds)


def stored_shape(workload: Workload) -> Shape:
    """Return the shape of one sample in the data set."""
    return workload.pipeline.stored_shape or workload.input.shape


def stored_workload(workload: Workload) -> Workload:
    """Return the workload whose input is what the data set stores: to make the samples by."""
    stored = msgspec.structs.replace(workload.input, shape=stored_shape(workload))
    return msgspec.structs.replace(workload, input=stored)


def _shape_after(workload: Workload, place: str, transform: Transform, shape: Shape) -> Shape:
    kind = transform.__struct_config__.tag

    def refuse(what: str) -> NoReturn:
        cause = f"it is given {workload.input.dtype} {shape}"
        raise RequestError(f"{workload.name}: {place} ({kind}) {what}", cause=cause)

    if len(shape) != 3 or workload.input.dtype != "float32":
        refuse("needs an image of floats (height, width, channels)")
    if isinstance(transform, RandomFlip):
        return shape
    if isinstance(transform, RandomCrop) and (transform.height > shape[0] or transform.width > shape[1]):
        refuse(f"cannot cut {transform.height} × {transform.width} out of it")
    return transform.height, transform.width, shape[2]


def transform_image(image: Array, transforms: Sequence[Transform], random: Generator) -> Array:
    """Return one image `(height, width, channels)`, float32, after all transforms: their definition."""
    for transform in transforms:
        match transform:
            case Resize(height=height, width=width):
                image = resize(image, height, width)
            case RandomCrop(height=height, width=width):
                top = random.integers(0, image.shape[0] - height + 1)
                left = random.integers(0, image.shape[1] - width + 1)
                image = image[top : top + height, left : left + width]
            case RandomFlip():
                image = image[:, ::-1] if random.random() < 0.5 else image
    return image


def resize(image: Array, height: int, width: int) -> Array:
    """Return an image of another size: bilinear, half-pixel centres, no antialiasing.

    Args:
        image: `(height, width, channels)`, float32.
    """
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    rows = image[top] + (image[bottom] - image[top]) * down[:, None, None]
    resized: Array = rows[:, left] + (rows[:, right] - rows[:, left]) * across[:, None]
    return resized


@lru_cache(maxsize=64)
def _neighbours(given: int, wanted: int) -> tuple[Array, Array, Array]:
    """Return the two input pixels beside each output pixel, and the second one's share."""
    import numpy as np

    places = ((np.arange(wanted) + 0.5) * (given / wanted) - 0.5).clip(0, given - 1)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, given - 1), (places - first).astype(np.float32)


class Samples:
    """The training samples of a pipeline, and batches of them, transformed by NumPy.

    For plugins whose framework has no operations of its own for it; a batch may be made in any thread
    or process, and is the same in each.
    """

    def __init__(self, data: PipelineData) -> None:
        self.data = data
        self._inputs, self._targets = data.open()

    def __reduce__(self) -> tuple[type[Samples], tuple[PipelineData]]:
        # Another process maps the files: the arrays would be copied to it as a whole.
        return Samples, (self.data,)

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def data_bytes(self) -> int:
        """Bytes of all inputs and targets as they are stored."""
        return int(self._inputs.nbytes + self._targets.nbytes)

    @property
    def epoch_steps(self) -> int:
        """Full batches in an epoch."""
        return len(self) // self.data.batch_size

    def epoch(self, number: int) -> list[Array]:
        """Return the sample numbers of each batch of an epoch, in an order of its own if shuffled."""
        import numpy as np

        order = np.arange(len(self))
        if self.data.pipeline.shuffle:
            order = generator(self.data.seed, f"pipeline epoch {number}").permutation(order)
        size = self.data.batch_size
        return [order[start : start + size] for start in range(0, self.epoch_steps * size, size)]

    def batch(self, chosen: Array, epoch: int) -> Batch:
        """Return one batch of these samples.

        Args:
            chosen: sample numbers, `(batch,)`.
            epoch: which epoch it is of: each has random transforms of its own.
        """
        import numpy as np

        inputs, transforms = self._inputs[chosen], self.data.pipeline.transforms
        if transforms:
            randoms = (np.random.default_rng((self.data.seed, epoch, index)) for index in chosen)
            images = zip(inputs, randoms, strict=True)
            inputs = np.stack([transform_image(image, transforms, random) for image, random in images])
        return Batch(inputs, self._targets[chosen])


class PlainPipeline:
    """Slices of the samples, transformed and staged one after another, with nothing beside the training.

    Args:
        stage: puts one batch on the device.
    """

    basis = "slices and `stage`, by fwprof: the plugin has no pipeline"

    def __init__(self, data: PipelineData, stage: Callable[[Batch], Staged]) -> None:
        self._samples = Samples(data)
        self._stage = stage
        self._epoch = 0

    def __iter__(self) -> Iterator[Staged]:
        self._epoch += 1
        epoch = self._epoch
        for chosen in self._samples.epoch(epoch):
            yield self._stage(self._samples.batch(chosen, epoch))

    def close(self) -> None:
        """Do nothing: there are no workers."""


def locate_data(folder: Path, workload: Workload, batch_size: int, seed: int) -> PipelineData:
    """Return where a worker's pipeline finds its samples, as `write_inputs` wrote them to a folder."""
    stored = folder / ("stored" if stored_shape(workload) != workload.input.shape else "data")
    return PipelineData(
        inputs=stored / "train_inputs.npy",
        targets=stored / "train_targets.npy",
        batch_size=batch_size,
        pipeline=workload.pipeline,
        seed=seed,
    )
