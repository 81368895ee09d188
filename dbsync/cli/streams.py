"""stdout and stderr as they are given: closed, on a full disk, or of an encoding that lacks a letter."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

from dbsync.errors import DbsyncError, Interrupted, Refusal

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_COMPLETION = "--install-completion"


def make_ready() -> None:
    """Let a letter that the terminal does not have be shown as its number, and let a stream that is closed be one.

    Where the shell has closed stdout, a connection to a database would get its number, and whatever is printed with it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the program runs
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - likewise
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if type(sys.stdout) is io.TextIOWrapper:  # and nothing that somebody put in its place
        sys.stdout = sys.__stdout__ = _Noting.of(sys.stdout)  # type: ignore[misc]  # the one before is no stream any more


def finish() -> None:
    """Write out what is left to be printed, or say why that cannot be. Raises BrokenPipeError where the reader has gone."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up()
        if isinstance(error, BrokenPipeError):
            raise
        raise _unprinted(error) from error


def in_words(error: OSError) -> DbsyncError | None:
    """Say what could not be printed or written; None for what has nothing to do with files."""
    why = os.strerror(error.errno) if error.errno else ""
    if isinstance(sys.stdout, _Closed | _Noting) and sys.stdout.failed is error:
        return _unprinted(error)
    if error.filename is not None:
        is_completion = _COMPLETION in sys.argv
        return Refusal(
            f"{os.fsdecode(error.filename)} cannot be read or written",
            where="this computer",
            why=why,
            hint="dbsync --show-completion   prints what your shell is to read"
            if is_completion
            else f"ls -ld {os.fsdecode(error.filename)}   shows who may; then type the same again",
        )
    if error.errno in _FULL:
        return Interrupted(
            "a file could not be written", where="this computer", why=why, hint="make room, and type the same again"
        )
    return None


def _unprinted(error: OSError) -> Interrupted:
    return Interrupted(
        "what was to be printed could not be written",
        where="stdout",
        why=os.strerror(error.errno) if error.errno else "",
        hint="print it elsewhere, or make room; then type the same again",
    )


def _give_up() -> None:
    """Let what cannot be printed go, or the interpreter tries once more at its end, and says so in words of its own."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Closed(io.TextIOBase):
    """A stdout that the shell has closed: a command that prints nothing does not need it."""

    encoding = "utf-8"
    failed: OSError | None = None

    def write(self, _text: str) -> int:
        """Refuse."""
        self.failed = OSError(errno.EBADF, os.strerror(errno.EBADF))
        raise self.failed


class _Noting(io.TextIOWrapper):
    """A stdout that notes what kept it from writing: the error itself does not say which file it was."""

    failed: OSError | None = None

    @classmethod
    def of(cls, stream: io.TextIOWrapper) -> _Noting:
        """Take over from the interpreter's own."""
        encoding, lines = stream.encoding, stream.line_buffering
        return cls(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=lines)

    def write(self, text: str) -> int:
        """Write, or note why not."""
        try:
            return super().write(text)
        except OSError as error:
            self.failed = error
            raise

    def flush(self) -> None:
        """Write out, or note why not."""
        try:
            super().flush()
        except OSError as error:
            self.failed = error
            raise
