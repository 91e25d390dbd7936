"""Finds the cards through NVML, and says what was looked for where there is none.

Owns NVML sessions and the meaning of CUDA_VISIBLE_DEVICES. Must not read a counter over time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fwprof.plugin import PluginUnavailableError, Scalar

LIBRARY = "libnvidia-ml.so.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"
Value = TypeVar("Value")


@dataclass(frozen=True)
class Card:
    """One card as NVML describes it; `index` counts as nvidia-smi does."""

    index: int
    uuid: str
    title: str
    memory_bytes: int | None
    capabilities: dict[str, Scalar]
    is_busy: bool
    notes: tuple[str, ...]


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
    """Return the visible cards: idle ones first, then in nvidia-smi's order.

    Raises:
        PluginUnavailableError: there is no library, driver or card, or every card is hidden.
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
        raise _no_card(left_out[0] if left_out else "the driver lists no card", False)
    return sorted(_only_visible(cards), key=lambda card: (card.is_busy, card.index))


def visible_indices(uuids: Sequence[str], variable: str | None) -> list[int]:
    """Return which cards CUDA_VISIBLE_DEVICES leaves visible, in nvidia-smi's order.

    An entry is an index or the beginning of one card's UUID; from the first entry that is
    neither, or is repeated, on, CUDA ignores the rest.

    Source: NVIDIA, CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    if variable is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in variable.split(",")):
        if entry.isdigit():
            matches = [int(entry)] if int(entry) < len(uuids) else []
        else:
            matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen += matches
    return sorted(chosen)


def _list_cards(pynvml: Any) -> tuple[list[Card], list[str]]:
    cards, left_out = [], []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            cards.append(_describe(pynvml, index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:  # one card that fell off the bus must not hide the others
            left_out.append(f"card {index} is left out: {nvml_words(error)}")
    if left_out:
        cards = [_with_notes(card, left_out) for card in cards]
    return cards, left_out


def _describe(pynvml: Any, index: int, handle: Any) -> Card:
    def ask(function: Callable[..., Value], *arguments: Any) -> Value | None:
        try:
            return function(*arguments)
        except pynvml.NVMLError:
            return None

    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    processes = ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    capability = ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    cuda = ask(pynvml.nvmlSystemGetCudaDriverVersion)
    mig = ask(pynvml.nvmlDeviceGetMigMode, handle)
    foreign = sorted(process.pid for process in processes or () if process.pid != os.getpid())
    notes = []
    if processes is None:
        notes.append("NVML does not tell who computes on it")
    if foreign:
        notes.append(f"in use by pid {', '.join(map(str, foreign))}")
    if mig and mig[0]:
        notes.append("MIG is on: fwprof selects whole cards, not instances")
    return Card(
        index=index,
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        title=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=memory.total if memory else None,
        capabilities={
            "compute_capability": ".".join(map(str, capability)) if capability else None,
            "driver": ask(pynvml.nvmlSystemGetDriverVersion),
            "cuda_driver": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            "power_limit_mw": ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle),
            "mig": bool(mig[0]) if mig else None,
        },
        is_busy=bool(foreign),
        notes=tuple(notes),
    )


def _only_visible(cards: Sequence[Card]) -> list[Card]:
    variable = os.environ.get(VISIBLE)
    chosen = [cards[i] for i in visible_indices([card.uuid for card in cards], variable)]
    if not chosen:
        raise PluginUnavailableError(
            f"{VISIBLE} hides every card",
            cause=f"it is {(variable or '')[:40]!r}; nvidia-smi -L lists the {len(cards)} here",
            kept="nothing was started",
            next=f"unset {VISIBLE}, or name whole cards in it by index or UUID",
        )
    by_index = any(part.strip().isdigit() for part in (variable or "").split(","))
    in_bus_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if by_index and not in_bus_order and len({card.title for card in cards}) > 1:
        # CUDA itself would count the fastest card first.
        note = f"the indices in {VISIBLE} are read in nvidia-smi's order, and the cards differ"
        chosen = [_with_notes(card, [note]) for card in chosen]
    return chosen


def _with_notes(card: Card, notes: Sequence[str]) -> Card:
    from dataclasses import replace

    return replace(card, notes=(*card.notes, *notes))


def _no_card(why: str, is_library_missing: bool) -> PluginUnavailableError:
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
        next="make `nvidia-smi` list a card (driver; in a container: --gpus all), or use --device cpu",
    )


def nvml_words(error: Exception) -> str:
    """Return the reason that NVML gave, as a reading or a person is told it."""
    return f"NVML says: {error}"
