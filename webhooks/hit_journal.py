"""Hits while the database is away: append-only files under the data folder, each of one process.

A record is a line: CRC-32 in hexadecimal, a space, the hit's JSON. Whoever writes a file holds its flock, and so
does whoever takes it in: a file that nobody holds was closed, or its process was killed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from zlib import crc32

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024 * 1024  # of all files in the folder: some 500,000 hits
LONGEST = 64 * 1024  # bytes of a record; a line beyond it is nobody's
UNBORN = ".new"  # a file that is being made
UNBORN_SECONDS = 60  # that takes milliseconds


class Full(Exception):
    """There is no room for more, or the disk refuses; the text says which."""


class Journal:
    """The file that this process appends to, made when it is needed. One thread at a time may call."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._file: IO[bytes] | None = None
        self._size = 0  # of our file
        self._others = 0  # of the others, when ours was made

    @property
    def is_open(self) -> bool:
        """Whether a file of ours waits to be closed."""
        return self._file is not None

    @property
    def half_full(self) -> bool:
        """Whether what is left is for those who send no flood."""
        return self._size + self._others > self.most_bytes // 2

    def append(self, lines: Sequence[str]) -> None:
        """Keep these lines: they are on the disk when this returns. Raises `Full`, and then keeps none of them."""
        framed = b"".join(map(_framed, lines))
        try:
            file = self._file or self._begin()
            if self._size + self._others + len(framed) > self.most_bytes:
                raise Full(f"the journal has reached its {self.most_bytes >> 20} MiB")
            self._write(file, framed)
        except OSError as error:
            raise Full(f"the journal can't be written: {error}") from None

    def _write(self, file: IO[bytes], framed: bytes) -> None:
        try:
            rest = memoryview(framed)
            while rest:  # a disk that is nearly full takes a part
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            self._take_back(file)
            raise
        self._size += len(framed)

    def _take_back(self, file: IO[bytes]) -> None:
        """What came half is no record, and nothing may stand behind it in its line."""
        try:
            os.ftruncate(file.fileno(), self._size)
        except OSError:
            self.close()  # the next begins a new file; a reader steps over what stays

    def _begin(self) -> IO[bytes]:
        try:
            return self._make()
        except FileNotFoundError:  # somebody tidied the folder away
            return self._make()

    def _make(self) -> IO[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._others = sum(_size(path) for path in _files(self.folder))
        _remove_unborn(self.folder)
        # By another name until its flock is ours, or somebody would take the empty file in and remove it.
        name = f"{time.time_ns():020d}-{os.getpid()}.journal"
        hidden = self.folder / f"{name}{UNBORN}"
        descriptor = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(descriptor, "wb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(self.folder / name)
        _sync_folder(self.folder)
        self._file, self._size = file, 0
        return file

    def close(self) -> None:
        """Leave the file to whoever takes it in."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Left:
    """A file that nobody writes any more, and that is ours to take in."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file

    def batches(self, most: int) -> Iterator[list[str]]:
        """Its records in their order, so many at a time. Torn ones are left out, and said so."""
        found: list[str] = []
        torn = 0
        while line := self.file.readline(LONGEST):
            record = _record(line)
            if record is None:
                torn += 1
                continue
            found.append(record)
            if len(found) == most:
                yield found
                found = []
        if found:
            yield found
        if torn:
            log.warning("%s held %d torn record(s): never finished, so never answered", self.path.name, torn)

    def remove(self) -> None:
        """It is taken in."""
        self.path.unlink(missing_ok=True)


@contextmanager
def left(path: Path) -> Iterator[Left | None]:
    """A file to take in, for one process at a time; None while somebody has it, or when it is gone."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield Left(path, file) if os.fstat(file.fileno()).st_nlink else None


def waiting(folder: Path) -> list[Path]:
    """The files there, the oldest first; some may still be written."""
    return sorted(_files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("*.journal")


def _remove_unborn(folder: Path) -> None:
    """What processes left that were killed while they made a file: empty, and nobody's."""
    for path in folder.glob(f"*{UNBORN}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > UNBORN_SECONDS:
                path.unlink()


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _framed(line: str) -> bytes:
    raw = line.encode("ascii")
    return b"%08x %s\n" % (crc32(raw), raw)


def _record(line: bytes) -> str | None:
    crc, _, raw = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or crc != b"%08x" % crc32(raw):
        return None
    return raw.decode("ascii")


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
