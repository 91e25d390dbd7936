"""A lock says that a process measures a run, exactly as long as it lives."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fwprof.store.lock import Owner, RunLock, owner_of

HOLD = """
import subprocess, sys
from pathlib import Path
from fwprof.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]), "boot")
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print("held", flush=True)
sys.stdin.read()
"""


def test_nobody_owns_a_folder_without_a_lock(tmp_path: Path) -> None:
    assert owner_of(tmp_path, "boot") is None


def test_it_is_held_until_it_is_released(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "boot")
    assert owner_of(tmp_path, "boot") == Owner(pid=os.getpid(), boot_id="boot")
    lock.release()
    lock.release()
    assert owner_of(tmp_path, "boot") is None


def test_a_killed_owner_owns_nothing_though_its_child_lives(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        assert owner_of(tmp_path, "boot") == Owner(pid=owner.pid, boot_id="boot")
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert owner_of(tmp_path, "boot") is None


@pytest.mark.parametrize(("boot", "is_owned"), [("boot", True), ("another boot", False)])
def test_without_locks_a_process_of_this_boot_is_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str, is_owned: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = RunLock(tmp_path, "boot")
    assert (owner_of(tmp_path, boot) is not None) is is_owned
    lock.release()
    (tmp_path / "lock").write_bytes(b"{")
    assert owner_of(tmp_path, boot) is None
