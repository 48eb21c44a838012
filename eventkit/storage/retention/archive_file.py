"""The file of an archive: one JSON object a line, lines end with LF alone, UTF-8, readable by its owner only.

It is always a new file, through no link and over no other file, and deleted again where its writer fails. The database
stores the SHA-256 of its bytes, so a file that was cut, edited or made by others is recognized.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from eventkit.errors import ArchiveError

_BATCH, _BATCH_BYTES = 2_000, 8_000_000
_CHUNK = 1 << 20


@contextmanager
def created(file: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing and reading; delete it again where the block fails."""
    with file_errors(file):
        try:
            new = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise ArchiveError(
                f"{file} exists already, and an archive is never overwritten: name another file"
            ) from error
        with open(new, "w+b") as lent:  # noqa: PTH123 a descriptor
            try:
                yield lent
            except BaseException:
                file.unlink(missing_ok=True)
                raise


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Open an existing file for reading."""
    with file_errors(file):
        there = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(there, "rb") as lent:  # noqa: PTH123 of a descriptor, which is opened without waiting for the writer of a FIFO
            if not stat.S_ISREG(os.fstat(there).st_mode):
                raise ArchiveError(f"{file} is no file, but something else of that name")
            yield lent


def keep(out: BinaryIO, file: Path) -> None:
    """Flush a file and its directory entry to the disk."""
    out.flush()
    os.fsync(out.fileno())
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def digest(file: BinaryIO) -> str:
    """Return the SHA-256 of a whole file, in hex."""
    file.seek(0)
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


class Lines:
    """The lines of a file in batches that fit into memory; `digest` is the SHA-256 of the lines read so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The SHA-256 of all lines so far, in hex."""
        return self._hash.hexdigest()

    def batches(self) -> Iterator[list[str]]:
        """Yield batches; each ends at 8 MB or 2,000 lines."""
        self._file.seek(0)
        batch, size = [], 0
        for line in self._file:  # bytes are split at LF only: text would also be split at other separators
            self._hash.update(line)
            batch.append(line.decode())
            size += len(line)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


@contextmanager
def file_errors(file: Path) -> Iterator[None]:
    """Raise ArchiveError for an error of the operating system."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{file} cannot be used: {error}; nothing was done") from error
