"""What data sets of labelled images have in common: whom they fit, and what a label may be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fwprof.errors import StoreError
from fwprof.records import Workload
from fwprof.workloads.data.dataset import misfit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = 10
"""Of digits, MNIST and CIFAR-10 alike."""


def expect_images(workload: Workload, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse a workload that does not take images of one of these shapes in ten classes.

    Raises:
        RequestError: it does not.
    """
    shape, dtype = workload.input.shape, workload.input.dtype
    is_fit = shape in shapes and dtype == "float32" and workload.classes == CLASSES
    if not is_fit or workload.loss != "cross_entropy":
        name = workload.data.__struct_config__.tag
        listed = " or ".join(str(list(each)) for each in shapes)
        verb = "need" if str(name).endswith("s") else "needs"
        raise misfit(workload, f"{name} {verb} float32 input of shape {listed}, and {CLASSES} classes")


def check_labels(file: Path, labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the labels as targets.

    Raises:
        StoreError: one is of no class; names it and the sample.
    """
    import numpy as np

    if labels.max() >= CLASSES:
        sample = int((labels >= CLASSES).argmax())
        raise StoreError(
            f"{file} holds the label {labels[sample]}, which is of no class",
            cause=f"labels are 0 to {CLASSES - 1}; sample {sample} has it",
            next="download it again, or name another folder",
        )
    return labels.astype(np.int64)
