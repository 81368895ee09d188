"""Structured logs: readable on a terminal, one JSON object a line elsewhere; always on stderr."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

import structlog


@contextmanager
def quietly() -> Iterator[None]:
    """Let a command's log be its warnings, on stderr, for as long as it takes."""
    before = structlog.get_config()
    configure(quiet=True)
    try:
        yield
    finally:
        structlog.configure(**before)


def configure(*, quiet: bool = False) -> None:
    """Set up structlog for this process. ``quiet`` leaves out what is only informative."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of is told by us as what is in the way
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Patient(sys.stderr))),
    )


class _Patient(io.TextIOBase):
    """A stream that loses what it cannot write: a disk that is full of logs, or a reader who has gone, keeps no change waiting."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as far as that is possible."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write out as far as that is possible."""
        with suppress(OSError):
            self._stream.flush()
