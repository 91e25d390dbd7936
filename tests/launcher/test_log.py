"""What a worker prints is kept within a bound: the beginning and the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.launcher import log
from fwprof.launcher.log import CappedLog

BOUND = 100


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LIMIT", BOUND)


def test_a_worker_that_prints_nothing_makes_no_file(tmp_path: Path) -> None:
    assert CappedLog(tmp_path / "log").end() == ""
    assert not (tmp_path / "log").exists()


def test_what_fits_is_kept_as_it_came(tmp_path: Path) -> None:
    kept = CappedLog(tmp_path / "cell" / "log")
    for part in (b"first ", b"second\n"):
        kept.write(part)
    assert kept.end() == "first second\n"
    assert (tmp_path / "cell" / "log").read_bytes() == b"first second\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_of_a_flood_beginning_and_end_are_kept(tmp_path: Path, size: int) -> None:
    flood = b"".join(b"%06d\n" % number for number in range(1000))
    kept = CappedLog(tmp_path / "log")
    for at in range(0, len(flood), size):
        kept.write(flood[at : at + size])
    kept.end()
    written = (tmp_path / "log").read_bytes()
    head, _, tail = written.partition("\n[… ".encode())
    dropped, _, tail = tail.partition(" bytes left out …]\n".encode())
    assert head == flood[: BOUND // 2]
    assert flood.endswith(tail)
    assert len(head) + int(dropped) + len(tail) == len(flood)
    assert len(written) < 2 * BOUND


@given(st.lists(st.binary(max_size=80), max_size=30))
def test_without_a_file_the_end_is_kept_in_memory(parts: list[bytes]) -> None:
    kept = CappedLog(None)
    for part in parts:
        kept.write(part)
    whole = b"".join(parts)
    text = kept.end()
    assert whole.decode(errors="replace").endswith(text) or len(whole) > BOUND // 2
    assert len(text) <= BOUND


def test_a_full_disk_is_not_the_logs_to_report(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = CappedLog(tmp_path / "file" / "log")
    kept.write(b"chatter")
    assert isinstance(kept.end(), str)
