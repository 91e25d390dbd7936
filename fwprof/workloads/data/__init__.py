"""Makes or loads the data a workload trains on.

Owns samples, labels, the split and the order of batches. Knows no framework and no file of a run.
"""

from __future__ import annotations

from fwprof.records import Workload
from fwprof.records import workload as kinds
from fwprof.workloads.data.dataset import DataSet
from fwprof.workloads.data.dictionaries import load_dictionaries
from fwprof.workloads.data.digits import load_digits
from fwprof.workloads.data.synthetic import make_synthetic
from fwprof.workloads.language import resolve

__all__ = ["DataSet", "load_data", "target_form"]


def load_data(workload: Workload, seed: int) -> DataSet:
    """Return the workload's data set.

    Raises:
        RequestError: the data do not have the shape that the workload's input declares.
        PluginUnavailableError: the package that brings the data is not installed.
    """
    match workload.data:
        case kinds.DigitsData(test_fraction=fraction):
            return load_digits(workload, fraction, seed)
        case kinds.DictionariesData(test_fraction=fraction):
            return load_dictionaries(workload, fraction, seed)
        case kinds.SyntheticData() as data:
            return make_synthetic(workload, data, seed)


def target_form(workload: Workload) -> tuple[tuple[int, ...], str]:
    """Return shape, without the batch dimension, and dtype of the targets that the loss takes."""
    if workload.loss != "cross_entropy":
        return (workload.classes,), "float32"
    return resolve(workload)[-1].output_shape[:-1], "int64"
