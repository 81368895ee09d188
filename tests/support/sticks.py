"""Sticks, and disks, on which no bundle comes to its end: they fill up, are pulled, or begin to fail in the middle of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dbsync.bundle import write
from tests.support.databases import Database

ROWS = 50_000
"""More than the line between a database and dbsync holds: what is not read keeps the database writing."""
MIDDLE = 300_000
"""Bytes of a bundle of so many rows, which nothing makes smaller than a megabyte."""


def fill(source: Database) -> None:
    """Make many sites in one transaction, with codes that no compression finds anything in."""
    source.sql(
        f"INSERT INTO site (code) SELECT md5(random()::text) || md5(random()::text) FROM generate_series(1, {ROWS})".encode()
    )


@contextmanager
def failing_in_the_middle(number: int) -> Iterator[None]:
    """Fail in the middle of every bundle of some size, with an error of the system's."""
    whole = write._Volumes._write
    written: dict[int, int] = {}

    def half(volumes: write._Volumes, data: memoryview) -> None:
        written[id(volumes)] = written.get(id(volumes), 0) + len(data)
        if written[id(volumes)] > MIDDLE:
            raise OSError(number, os.strerror(number))
        whole(volumes, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write._Volumes, "_write", half)
        yield
