"""What can be told of an upstream whose database is not seen from here: keys, and whether this node is enrolled with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg

from dbsync.check.finding import error, of_failure, ok, warning
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.identity.keys import Keys
from dbsync.identity.registry import pinned
from dbsync.model.findings import Finding
from dbsync.postgres import translated


def of_elsewhere(
    config: Config, source: psycopg.Connection | DbsyncError, more: Iterator[Finding]
) -> Iterator[Finding]:
    """Look at this node's keys, at whom it is enrolled with, and at ``more`` of its route."""
    try:
        Keys.load(Path(config.node.keys))
        yield from _enrolled(config, source)
        yield from more
    except DbsyncError as failure:
        yield of_failure(failure, "upstream")
    yield warning(
        "upstream_elsewhere",
        "upstream",
        "its tables, keys and rights cannot be seen from here",
        "dbsync check, on the upstream's server",
    )


def of_stick(config: Config) -> Iterator[Finding]:
    """Say whether the stick is in; that it is not is no fault."""
    folder = config.upstream.folder
    if folder.is_symlink():
        yield error("stick_link", "upstream", f"{folder} is a symbolic link", "name the folder on the stick itself")
    elif folder.is_dir():
        yield ok("stick_in", "upstream", f"the stick is in: {folder}")
    else:
        yield ok("stick_away", "upstream", f"no stick is in: {folder} is not there")


def _enrolled(config: Config, source: psycopg.Connection | DbsyncError) -> Iterator[Finding]:
    if isinstance(source, DbsyncError):
        return
    label = config.upstream.label
    with translated("source"):
        known = pinned(source, label)
    if known is None:
        yield error("not_enrolled", "upstream", f"this node is not enrolled with {label}", "dbsync enrol URL CODE")
    else:
        yield ok("enrolled", "upstream", f"this node is enrolled with {label}")
