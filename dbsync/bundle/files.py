"""Files on a stick: whole or not there at all, and never through a link that somebody else laid."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dbsync import posix
from dbsync.errors import Exhausted, FormatError, Refusal, Unreachable

ROOM_HERE = "make room there, or name another folder: TMPDIR=/var/tmp dbsync ..."
"""What to do where the folder for temporary files is full."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GONE = (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.ESTALE)


class Gone(Unreachable):
    """A file on a stick that cannot be read or written now; others on it may be."""


class Unfit(Refusal):
    """A stick, or a folder of this computer, that cannot be used as it is."""


@contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Say what went wrong with a file in words that help."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        if error.errno in _FULL:
            raise Exhausted(what, where=str(path), why=why, hint="another stick, or room on this one") from None
        if error.errno == errno.ELOOP:
            raise Unfit(
                what,
                where=str(path),
                why="a symbolic link leads there: the stick was prepared by somebody",
                hint="another stick",
            ) from None
        if error.errno in _GONE:
            raise Gone(what, where=str(path), why=f"{why}: was the stick removed?", hint="put it in again") from None
        raise Unfit(
            what, where=str(path), why=why, hint=f"is {path.parent} the right folder, and may you write there?"
        ) from None


@contextmanager
def told_here(what: str) -> Iterator[None]:
    """Say what went wrong in this computer's own folder for temporary files."""
    try:
        yield
    except OSError as error:
        kind = Exhausted if error.errno in _FULL else Refusal
        raise kind(
            what,
            where=tempfile.gettempdir(),
            why=f"on this computer's own disk: {(error.strerror or str(error)).lower()}",
            hint=ROOM_HERE,
        ) from None


@contextmanager
def begun(path: Path) -> Iterator[BinaryIO]:
    """Give a new file to be written; it is on the disk before it ends, and gone if anything goes wrong.

    Whoever finds it may read it, for another account brings it in at the other end: what is in it is sealed, or no secret.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | posix.NOFOLLOW
    file = os.fdopen(os.open(path, flags, 0o644), "wb")
    try:
        with file:
            posix.let_be_read(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        remove(path)
        raise


def settle(path: Path) -> None:
    """Have what was written to a file on the disk."""
    descriptor = os.open(path, os.O_RDWR | posix.NOFOLLOW)  # Windows settles no file that is open to be read only
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finish(partial: Path, path: Path) -> None:
    """Give a written file its name, durably."""
    partial.replace(path)
    sync_folder(path.parent)


def write(path: Path, data: bytes) -> None:
    """Write a small file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")  # another may write the same now
    with begun(partial) as file:
        file.write(data)
    finish(partial, path)


def opened(path: Path) -> BinaryIO:
    """Open an ordinary file to be read."""
    return os.fdopen(os.open(path, os.O_RDONLY | posix.NOFOLLOW | posix.NONBLOCK), "rb")


def read(path: Path, most: int) -> bytes:
    """Read a small file; raises FormatError where it is larger than any honest one."""
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise FormatError(
            f"{path.name} is too large", where=str(path), why=f"no honest one has more than {most:,} bytes"
        )
    return data


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the stick is gone: there is nothing to remove it from


def refuse_link(folder: Path) -> None:
    """Raise OSError for a folder that leads elsewhere, and for what is none.

    Links in the middle of its path belong to this computer where they lie on the file system of its root; others came with a stick.
    """
    whole = folder.absolute()
    own = Path(whole.anchor).stat().st_dev
    for part in (*reversed(whole.parents), whole):
        if part.is_symlink() and (part == whole or part.parent.stat().st_dev != own):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    posix.refuse_none(folder)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk."""
    posix.sync_folder(folder)
