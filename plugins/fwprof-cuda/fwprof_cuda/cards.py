"""Finds the cards through NVML, and says what was looked for where there is none.

Owns NVML sessions, and what NVML tells of a card at one moment. Must not read a counter over time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fwprof.plugin import PluginUnavailableError, Scalar
from fwprof_cuda.processes import foreign_among, processes_on
from fwprof_cuda.visible import VARIABLE, counts_differ, only_visible

LIBRARY = "libnvidia-ml.so.1"
PRECISIONS = {"float32": (0, 0), "tf32": (8, 0), "bfloat16": (8, 0), "float16": (5, 3)}
"""Format → the compute capability that first has it.

Source: NVIDIA, CUDA C++ Programming Guide, "Arithmetic Instructions" and "Compute Capability 8.x".
"""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Card:
    """One card, or one instance of a card that is split (MIG), as NVML describes it.

    Args:
        index: of the card, as nvidia-smi counts.
        instance: of the card, as `nvidia-smi -L` counts; None: the whole card.
        in_use_by: processes of others that compute on it; None: NVML does not tell.
    """

    index: int
    instance: int | None
    uuid: str
    title: str
    memory_bytes: int | None
    compute_capability: tuple[int, int] | None
    capabilities: dict[str, Scalar]
    in_use_by: tuple[str, ...] | None
    notes: tuple[str, ...]

    @property
    def place(self) -> str:
        """Return what stands behind the colon of its name."""
        return f"{self.index}" if self.instance is None else f"{self.index}.{self.instance}"

    @property
    def precisions(self) -> tuple[str, ...] | None:
        """Return the formats that its arithmetic knows; None: the driver does not tell which it is."""
        if self.compute_capability is None:
            return None
        return tuple(name for name, since in PRECISIONS.items() if self.compute_capability >= since)


_LIST_CARD = "make `nvidia-smi` list a card (driver; in a container: --gpus all)"
_NO_INSTANCE = "split (MIG), no instance"
_MAKE_INSTANCE = "make one: nvidia-smi mig -cgi"


@contextmanager
def nvml_session() -> Iterator[Any]:
    """Yield pynvml, initialised.

    Raises:
        pynvml.NVMLError: the library or the driver is not there.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def find_cards() -> list[Card]:
    """Return the visible cards and instances: idle ones first, then in nvidia-smi's order.

    Raises:
        PluginUnavailableError: there is no library, driver or card, or none that can be used.
    """
    try:
        import pynvml
    except ImportError as error:
        raise PluginUnavailableError(
            "NVIDIA cards cannot be listed: the Python package nvidia-ml-py is missing",
            cause=str(error),
            kept="nothing was started",
            next="pip install nvidia-ml-py, or use --device cpu",
        ) from error
    try:
        with nvml_session():
            cards, left_out = _list_cards(pynvml)
    except pynvml.NVMLError as error:
        raise _no_card(nvml_words(error), isinstance(error, pynvml.NVMLError_LibraryNotFound)) from error
    if not cards:
        why = left_out[0] if left_out else "the driver lists no card"
        raise _no_card(why, False, _MAKE_INSTANCE if why.endswith(_NO_INSTANCE) else _LIST_CARD)
    return sorted(_visible(cards), key=lambda card: (bool(card.in_use_by), card.index, card.instance or 0))


def nvml_words(error: Exception) -> str:
    """Return the reason that NVML gave, as a reading or a person is told it."""
    return f"NVML says: {error}"


def _list_cards(pynvml: Any) -> tuple[list[Card], list[str]]:
    """Return what can be used, and why each other card cannot."""
    cards: list[Card] = []
    left_out: list[str] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found = _describe_card(pynvml, index, handle)
        except pynvml.NVMLError as error:  # one card that fell off the bus must not hide the others
            left_out.append(f"card {index} is left out: {nvml_words(error)}")
            continue
        if not found:
            left_out.append(f"card {index} is left out: {_NO_INSTANCE}")
        cards += found
    if left_out:
        cards = [_with_notes(card, left_out) for card in cards]
    return cards, left_out


def _describe_card(pynvml: Any, index: int, handle: Any) -> list[Card]:
    """Return the card, or where it is split its instances: nothing runs on the whole of it then."""
    mode = _ask(pynvml, pynvml.nvmlDeviceGetMigMode, handle)
    if not (mode and mode[0]):
        return [_describe(pynvml, index, None, handle, handle)]
    found = []
    for number in range(_ask(pynvml, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except pynvml.NVMLError_NotFound:  # a place where none was made
            continue
        found.append(_describe(pynvml, index, number, handle, instance))
    return found


def _describe(pynvml: Any, index: int, instance: int | None, card: Any, place: Any) -> Card:
    """Describe a card, or an instance of it; the driver answers some questions for whole cards only."""

    def ask(function: Callable[..., Value], *arguments: Any) -> Value | None:
        return _ask(pynvml, function, *arguments)

    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, place)
    capability = ask(pynvml.nvmlDeviceGetCudaComputeCapability, card)
    cuda = ask(pynvml.nvmlSystemGetCudaDriverVersion)
    bus = ask(pynvml.nvmlDeviceGetPciInfo, card)
    processes = ask(processes_on, pynvml, place)
    return Card(
        index=index,
        instance=instance,
        uuid=pynvml.nvmlDeviceGetUUID(place),
        title=pynvml.nvmlDeviceGetName(place),
        memory_bytes=memory.total if memory else None,
        compute_capability=tuple(capability) if capability else None,
        capabilities={
            "compute_capability": ".".join(map(str, capability)) if capability else None,
            "driver": ask(pynvml.nvmlSystemGetDriverVersion),
            "cuda_driver": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            "power_limit_mw": ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, place),
            "pci_bus": bus.busId if bus else None,
            "mig": instance is not None,
        },
        in_use_by=None if processes is None else tuple(process.title for process in foreign_among(processes)),
        notes=("NVML does not tell who computes on it",) if processes is None else (),
    )


def _ask(pynvml: Any, function: Callable[..., Value], *arguments: Any) -> Value | None:
    try:
        return function(*arguments)
    except pynvml.NVMLError:
        return None


def _visible(cards: Sequence[Card]) -> list[Card]:
    variable = os.environ.get(VARIABLE)
    chosen = only_visible(cards, variable)
    if not chosen:
        raise PluginUnavailableError(
            f"{VARIABLE} hides every card",
            cause=f"it is {(variable or '')[:40]!r}; nvidia-smi -L lists the {len(cards)} here",
            kept="nothing was started",
            next=f"unset {VARIABLE}, or name cards in it by index or UUID",
        )
    # An instance's name is its card's, with its share behind it.
    models = [card.title.partition(" MIG ")[0] for card in cards]
    if counts_differ(models, variable, os.environ.get("CUDA_DEVICE_ORDER")):
        note = f"the indices in {VARIABLE} are read in nvidia-smi's order, and the cards differ"
        chosen = [_with_notes(card, [note]) for card in chosen]
    return chosen


def _with_notes(card: Card, notes: Sequence[str]) -> Card:
    return dataclasses.replace(card, notes=(*card.notes, *notes))


def _no_card(why: str, is_library_missing: bool, next_step: str = _LIST_CARD) -> PluginUnavailableError:
    wanted = {
        LIBRARY: not is_library_missing,
        "/dev/nvidia*": any(Path("/dev").glob("nvidia*")),
        "/proc/driver/nvidia/version": Path("/proc/driver/nvidia/version").exists(),
    }
    found = ", ".join(name for name, is_there in wanted.items() if is_there) or "nothing"
    missing = ", ".join(name for name, is_there in wanted.items() if not is_there) or "nothing"
    return PluginUnavailableError(
        f"no NVIDIA card can be used here: {why}",
        cause=f"found {found}; missing {missing}",
        kept="nothing was started",
        next=f"{next_step}, or use --device cpu",
    )
