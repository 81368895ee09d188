"""Structured logs: readable on a terminal, one JSON object a line elsewhere; always on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
