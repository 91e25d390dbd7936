"""The scenes that cases are played in: a full disk, Ctrl-C, a parent that is killed.

Owns what is done to a command from outside, and what it leaves behind. Knows nothing of what is
promised of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fwprof.codec import encode
from fwprof.records import frames
from fwprof.testing.environments import make_environment
from fwprof.testing.fake_device import USERS

PATIENCE_SECONDS = 40.0
"""No case waits this long unless it hangs: then it fails."""
MARK = "FWPROF_TEST_MARK"


@dataclass
class Done:
    """A command that ended."""

    status: int
    stdout: str
    stderr: str


class Place:
    """An empty folder in which one case plays, and what it leaves behind.

    Args:
        folder: where.
        variables: that let commands find the plugins.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.stored = Path()
        self.runs = folder / "runs"
        self.mark = uuid.uuid4().hex
        self.scratch = folder / "tmp"
        self.scratch.mkdir()
        state = {name: str(folder / "home") for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
        quiet = {name: value for name, value in os.environ.items() if not name.startswith("FWPROF_")}
        self.variables = {
            **quiet,
            **variables,
            **state,
            MARK: self.mark,
            "COLUMNS": "140",
            "TMPDIR": str(self.scratch),
        }

    def start(self, words: Sequence[str], **settings: Any) -> subprocess.Popen[str]:
        """Start a command here."""
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **settings,
        )

    def run(self, words: Sequence[str], **settings: Any) -> Done:
        """Run a command to its end."""
        return self.wait(self.start(words, **settings))

    def wait(self, process: subprocess.Popen[str]) -> Done:
        """Wait for a command; one that never ends fails the test."""
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(f"the command did not end:\n{stdout}\n{stderr}")
        return Done(process.returncode, stdout, stderr)

    def processes(self) -> list[psutil.Process]:
        """Return what still runs of all that was started here."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < end, f"it never came to this: {what}"
            time.sleep(0.01)

    def journals(self) -> list[Path]:
        """Return the journals of the timing pass, of whatever run is here."""
        return sorted(self.runs.glob("*/cells/*/0.jsonl"))

    def blocks(self) -> list[frames.BlockDone]:
        """Return the blocks in the journals; each line must be whole."""
        return [report for report in self.reports() if isinstance(report, frames.BlockDone)]

    def reports(self) -> Iterator[frames.Report]:
        """Yield every line of the journals."""
        for path in self.journals():
            *lines, last = path.read_bytes().split(b"\n")
            yield from map(frames.report_decoder.decode, lines)
            # Only a full disk, or the parent's death, leaves a line that was cut off.
            assert last == b"" or not (path.parents[2] / "run.json").exists()


def _plain(place: Place, words: Sequence[str]) -> Done:
    return place.run(words)


def _with_mount(place: Place, words: Sequence[str], options: str, folder: str = "runs") -> Done:
    """Run in a mount namespace of its own, with a file system that is gone afterwards."""
    enter = (
        ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    )
    mount = f"set -e; mkdir -p runs; mount -t tmpfs -o {options} tmpfs {folder}"
    if shutil.which("unshare") is None or place.run([*enter, "sh", "-c", mount]).status:
        pytest.skip("this machine lets nobody mount a file system of their own")
    # What was stored is copied out of the namespace, for the test to look at.
    script = f'{mount}; set +e; "$@"; status=$?; cp -r runs kept; exit $status'
    done = place.run([*enter, "sh", "-c", script, "sh", *words])
    place.runs = place.folder / "kept"
    return done


def _small_disk(place: Place, words: Sequence[str]) -> Done:
    return _with_mount(place, words, "size=256k")


def _small_scratch_disk(place: Place, words: Sequence[str]) -> Done:
    return _with_mount(place, words, "size=64k", "tmp")


def _read_only_disk(place: Place, words: Sequence[str]) -> Done:
    return _with_mount(place, words, "ro")


def _full_file(place: Place, words: Sequence[str]) -> Done:
    return place.run(words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)))


def _file_in_place(place: Place, words: Sequence[str]) -> Done:
    place.runs.write_text("not a folder", encoding="utf-8")
    return place.run(words)


def _start_and_wait_for_blocks(place: Place, words: Sequence[str], count: int) -> subprocess.Popen[str]:
    process = place.start(words)

    def is_measuring() -> bool:
        assert process.poll() is None, process.communicate()
        return len(place.blocks()) >= count

    place.wait_until(is_measuring, f"{count} blocks are stored")
    return process


def _interrupted(place: Place, words: Sequence[str]) -> Done:
    process = _start_and_wait_for_blocks(place, words, 7)
    process.send_signal(signal.SIGINT)
    return place.wait(process)


def _interrupted_in_the_build(place: Place, words: Sequence[str]) -> Done:
    process = place.start(words)
    said = _read_until(process, ": build")
    process.send_signal(signal.SIGINT)
    done = place.wait(process)
    return Done(done.status, done.stdout, said + done.stderr)


def _interrupted_twice(place: Place, words: Sequence[str]) -> Done:
    process = _start_and_wait_for_blocks(place, words, 7)
    process.send_signal(signal.SIGINT)
    said = _read_until(process, "stopping after this block")
    process.send_signal(signal.SIGINT)
    done = place.wait(process)
    return Done(done.status, done.stdout, said + done.stderr)


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read stderr up to a line that holds a text."""
    assert process.stderr is not None
    said = ""
    while text not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


def _terminated(place: Place, words: Sequence[str]) -> Done:
    process = _start_and_wait_for_blocks(place, words, 7)
    process.send_signal(signal.SIGTERM)
    return place.wait(process)


def _parent_killed(place: Place, words: Sequence[str]) -> Done:
    process = _start_and_wait_for_blocks(place, words, 7)
    process.kill()
    done = place.wait(process)
    assert done.status == -signal.SIGKILL
    return done


def _reader_leaves(place: Place, words: Sequence[str]) -> Done:
    return place.run(["bash", "-c", 'set -o pipefail; "$@" | true', "bash", *words])


def _full_stdout(place: Place, words: Sequence[str]) -> Done:
    return place.run(["sh", "-c", 'exec "$@" > /dev/full', "sh", *words])


def _bare_environment(place: Place, words: Sequence[str]) -> Done:
    make_environment(place.folder / "bare", borrowed=())
    return place.run(words)


def _device_in_use(place: Place, words: Sequence[str]) -> Done:
    users = place.folder / "users"
    users.write_text("python (pid 4242)\n", encoding="utf-8")
    place.variables[USERS] = str(users)
    return place.run(words)


def _stored(place: Place, words: Sequence[str]) -> Done:
    _store(place)
    return place.run(words)


def _store(place: Place) -> Path:
    """Put the one stored run of this session here."""
    shutil.copytree(place.stored, place.runs)
    return next(place.runs.iterdir())


def _stored_changed(place: Place, words: Sequence[str]) -> Done:
    path = _store(place) / "run.json"
    path.write_bytes(path.read_bytes().replace(b"float32", b"float64"))
    return place.run(words)


def _stored_newer(place: Place, words: Sequence[str]) -> Done:
    path = _store(place) / "run.json"
    document = {**json.loads(path.read_bytes()), "schema_version": 99, "colour": "red"}
    path.write_bytes(encode(document))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("run.json.sha256").write_text(f"{checksum}  run.json\n", encoding="utf-8")
    return place.run(words)


def _stored_nonsense(place: Place, words: Sequence[str]) -> Done:
    folder = _store(place)
    (folder / "run.json").unlink()
    (folder / "plan.json").write_text("{nonsense", encoding="utf-8")
    return place.run(words)


def _stored_cut_off(place: Place, words: Sequence[str]) -> Done:
    (_store(place) / "run.json").unlink()
    (journal,) = place.journals()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-4]) + lines[-4][:50])
    return place.run(words)


SCENES: Mapping[str, Callable[[Place, Sequence[str]], Done]] = {
    "plain": _plain,
    "small disk": _small_disk,
    "full file": _full_file,
    "small scratch disk": _small_scratch_disk,
    "read-only disk": _read_only_disk,
    "file in place of the folder": _file_in_place,
    "Ctrl-C": _interrupted,
    "Ctrl-C in the build": _interrupted_in_the_build,
    "Ctrl-C twice": _interrupted_twice,
    "SIGTERM": _terminated,
    "parent killed": _parent_killed,
    "reader leaves": _reader_leaves,
    "full stdout": _full_stdout,
    "bare environment": _bare_environment,
    "device in use": _device_in_use,
    "stored": _stored,
    "stored, changed": _stored_changed,
    "stored, newer": _stored_newer,
    "stored, nonsense": _stored_nonsense,
    "stored, cut off": _stored_cut_off,
}
