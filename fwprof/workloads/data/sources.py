"""Which sources of samples there are, and the one that a request means instead of a workload's own.

Knows what they give in words; reads none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fwprof.configuration import suggest
from fwprof.errors import RequestError
from fwprof.records import DataChoice, Record, Scalar, Workload, WorkloadPlan
from fwprof.records import workload as kinds
from fwprof.workloads.data.folder import place_folder

FOLDERS = kinds.MnistData | kinds.Cifar10Data
"""Data that the user brings, in files."""


@dataclass(frozen=True)
class Source:
    """One source of samples, as lists show it.

    Args:
        record: what a workload's `data` holds.
        inputs: shapes that it fits.
        samples: how many train and validate.
        origin: the distribution, or who made them.
    """

    record: type[Record]
    inputs: str
    samples: str
    origin: str

    @property
    def needs_folder(self) -> bool:
        """Whether the user brings the files."""
        return issubclass(self.record, FOLDERS)


SOURCES: Mapping[str, Source] = {
    "synthetic": Source(
        record=kinds.SyntheticData,
        inputs="any",
        samples="2048 or as asked, a quarter more",
        origin="made from the seed: standard normal, or ids by Zipf's law",
    ),
    "digits": Source(
        record=kinds.DigitsData,
        inputs="8×8×1 or 64",
        samples="1438 and 359",
        origin="scikit-learn's handwritten digits (Alpaydin and Kaynak 1998)",
    ),
    "dictionaries": Source(
        record=kinds.DictionariesData,
        inputs="ids, any length",
        samples="by the length of passages; 4 to 1",
        origin="The Devil's Dictionary and the Jargon File, shipped",
    ),
    "mnist": Source(
        record=kinds.MnistData,
        inputs="28×28×1 or 784",
        samples="60000 and 10000",
        origin="handwritten digits (LeCun et al. 1998), your own copy",
    ),
    "cifar10": Source(
        record=kinds.Cifar10Data,
        inputs="32×32×3",
        samples="50000 and 10000",
        origin="photographs (Krizhevsky 2009), your own copy",
    ),
}


def choose_data(workload: Workload, choice: DataChoice | None) -> Workload:
    """Return the workload with the data that a request names instead of its own.

    A source that the workload has already keeps its fields; a folder is taken from the request.

    Raises:
        RequestError: there is no such source, it lacks its folder, or it takes none.
    """
    if choice is None:
        return workload
    source = SOURCES.get(choice.source)
    if source is None:
        raise RequestError(
            f"there is no data set '{choice.source}'",
            cause=f"--data names one of {', '.join(SOURCES)}",
            next=suggest(choice.source, SOURCES) or "fwprof workloads says what each one is",
        )
    if choice.folder is not None and not source.needs_folder:
        raise RequestError(
            f"the data set {choice.source} takes no folder",
            cause=f"--data {choice} names one, and nothing would be read from it",
            next=f"write --data {choice.source}",
        )
    own = workload.data if isinstance(workload.data, source.record) else None
    if choice.folder is None and own is None and source.needs_folder:
        raise RequestError(
            f"the data set {choice.source} needs the folder of your own copy",
            cause="fwprof downloads nothing",
            next=f"write --data {choice.source}:DIR; docs/how-to/data.md says what must be in it",
        )
    fields: dict[str, Scalar] = {"source": choice.source} if own is None else msgspec.to_builtins(own)
    if choice.folder is not None:
        fields["folder"] = place_folder(choice.folder, Path())
    return msgspec.structs.replace(workload, data=msgspec.convert(fields, kinds.Data))


def place_data(workload: Workload, base: Path) -> Workload:
    """Return the workload with its data's folder, where it has one, as an absolute path.

    Raises:
        RequestError: the folder is in an unknown home.
    """
    if not isinstance(workload.data, FOLDERS):
        return workload
    data = msgspec.structs.replace(workload.data, folder=place_folder(workload.data.folder, base))
    return msgspec.structs.replace(workload, data=data)


def data_name(plan: WorkloadPlan) -> str | None:
    """Return what the data of a planned workload are called; None: a model of the user's own."""
    return None if plan.spec is None else str(plan.spec.data.__struct_config__.tag)
