"""Makes or loads the data a workload trains on.

Owns samples, labels, the split and the order of batches. Knows no framework and no file of a run.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fwprof.records import Workload
from fwprof.records import workload as kinds
from fwprof.workloads.data.cifar10 import load_cifar10
from fwprof.workloads.data.dataset import DataSet, check_batch, check_size, check_targets
from fwprof.workloads.data.dictionaries import load_dictionaries
from fwprof.workloads.data.digits import count_digits, load_digits
from fwprof.workloads.data.mnist import load_mnist
from fwprof.workloads.data.synthetic import make_synthetic
from fwprof.workloads.language import resolve

__all__ = ["DataSet", "count_samples", "load_data", "take_samples", "target_form"]


def load_data(workload: Workload, seed: int) -> DataSet:
    """Return the workload's data set.

    Raises:
        RequestError: the data do not have the shape that the workload's input declares, are not
            where the workload says, are fewer than it asks for, or a label is outside its classes.
        PluginUnavailableError: the package that brings the data is not installed.
        StoreError: a file of the user's cannot be read, or is not what it should be.
    """
    return check_targets(_load(workload, seed), workload)


def _load(workload: Workload, seed: int) -> DataSet:
    match workload.data:
        case kinds.SyntheticData() as made:
            return make_synthetic(workload, made, seed)
        case kinds.DigitsData(test_fraction=fraction):
            data = load_digits(workload, fraction, seed)
        case kinds.DictionariesData(test_fraction=fraction):
            data = load_dictionaries(workload, fraction, seed)
        case kinds.MnistData(folder=folder):
            data = load_mnist(workload, Path(folder))
        case kinds.Cifar10Data(folder=folder):
            data = load_cifar10(workload, Path(folder))
    samples = workload.data.samples
    return data if samples is None else data.first(samples, seed)


def count_samples(workload: Workload, seed: int) -> int | None:
    """Return how many training samples there are, whatever number is asked for; None: any number.

    Real data are read for it wherever their number is not known beforehand, so that what is wrong
    with them is told before anything is measured.

    Raises:
        RequestError, StoreError: as `load_data`.
    """
    match workload.data:
        case kinds.SyntheticData():
            return None
        case kinds.DigitsData(test_fraction=fraction):
            return count_digits(workload, fraction)
        case real:
            whole = msgspec.structs.replace(workload, data=msgspec.structs.replace(real, samples=None))
            return len(load_data(whole, seed).train_targets)


def take_samples(workload: Workload, size: int | None, there: int | None, batch_size: int) -> Workload:
    """Return the workload with the number of training samples that it will use.

    Args:
        size: what the user asks for; None: what the workload says.
        there: how many there are, as `count_samples` says.
        batch_size: what one step takes.

    Raises:
        RequestError: there are not so many, or fewer than one batch holds.
    """
    name = str(workload.data.__struct_config__.tag)
    samples = workload.data.samples if size is None else size
    if there is not None and samples is not None:
        check_size(name, samples, there)
    is_made = isinstance(workload.data, kinds.SyntheticData)
    if size is not None or not is_made:
        # Made data grows to a batch by itself, unless its number was asked for.
        check_batch(name, batch_size, samples or there or batch_size, there)
    return msgspec.structs.replace(workload, data=msgspec.structs.replace(workload.data, samples=samples))


def target_form(workload: Workload) -> tuple[tuple[int, ...], str]:
    """Return shape, without the batch dimension, and dtype of the targets that the loss takes."""
    if workload.loss != "cross_entropy":
        return (workload.classes,), "float32"
    return resolve(workload)[-1].output_shape[:-1], "int64"
