"""What a worker printed, kept within a bound: the beginning as it comes, and the end."""

from __future__ import annotations

from pathlib import Path

LIMIT = 2**20
"""Bytes kept: the first half and the last half of what was printed."""


class CappedLog:
    """Keeps the first and the last part of a stream of bytes in one file.

    Args:
        path: the file; made when something is printed. None keeps only the end, in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = 0
        self._tail = bytearray()
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Keep what fits."""
        room = max(0, LIMIT // 2 - self._written)
        if self._path is not None and room and data:
            self._append(data[:room])
            self._written += len(data[:room])
            data = data[room:]
        self._tail += data
        if len(self._tail) > LIMIT:
            self._trim()

    def end(self) -> str:
        """Write the last part and return the last lines, for an error message."""
        self._trim()
        head = b""
        if self._path is not None:
            if self._dropped:
                self._append(f"\n[… {self._dropped} bytes left out …]\n".encode())
            if self._tail:
                self._append(bytes(self._tail))
            if self._path.exists():
                head = self._path.read_bytes()[-4000:]
        text = (head or bytes(self._tail))[-4000:]
        return text.decode(errors="replace")

    def _trim(self) -> None:
        excess = max(0, len(self._tail) - LIMIT // 2)
        self._dropped += excess
        del self._tail[:excess]

    def _append(self, data: bytes) -> None:
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(data)
        except OSError:
            # A full disk is the journal's error to raise: it holds figures, this holds chatter.
            self._path = None
