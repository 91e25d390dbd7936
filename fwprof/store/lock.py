"""Whether a living process still measures a run: a lock that ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from fwprof.codec import decode_stored, encode
from fwprof.errors import StoreError
from fwprof.records import Record
from fwprof.store.layout import LOCK


class Owner(Record, frozen=True, kw_only=True):
    """The process that measures a run."""

    pid: int
    boot_id: str | None = None
    """Of its machine: a process id means something within one boot only."""


class RunLock:
    """Held while a run is measured.

    The kernel gives it up when the process is gone, killed or not; no process id can be taken for
    another's. Workers do not inherit it.

    Args:
        folder: of the run.
        boot_id: of this machine.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, boot_id: str | None) -> None:
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        # Some network file systems have no locks: there the words must do.
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.write(self._descriptor, encode(Owner(pid=os.getpid(), boot_id=boot_id)) + b"\n")

    def release(self) -> None:
        """Give it up. Doing so again changes nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def owner_of(folder: Path, boot_id: str | None) -> Owner | None:
    """Return the living process that measures a run; None: nobody does.

    Args:
        folder: of the run.
        boot_id: of this machine.
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path) or Owner(pid=0)
    except OSError:
        owner = _read(path)
        is_alive = owner is not None and owner.boot_id == boot_id and _is_alive(owner.pid)
        return owner if is_alive else None
    finally:
        os.close(descriptor)
    return None


def _read(path: Path) -> Owner | None:
    try:
        return decode_stored(path.read_bytes(), Owner, str(path))
    except (OSError, StoreError):
        return None


def _is_alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))
