"""After ``migrate``: what the triggers and dbsync.toml make of the tables as they are now. It warns, and breaks nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from django.db import Error, connections

from dbsync.cli.check import drifted
from dbsync.contrib.django import configured
from dbsync.errors import DbsyncError, place_of

_MANY = 10
_IDENTITY = """
    SELECT to_regnamespace('dbsync') IS NOT NULL, s.system_identifier || '/' || d.oid
    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
"""


def look(using: str, verbosity: int) -> None:
    """Say on stderr what the migration left to be done; nothing where dbsync is not installed in that database."""
    if verbosity < 1:
        return
    try:
        lines = list(_lines(using))
    except (DbsyncError, Error) as error:
        lines = [f"dbsync: what the migration means for it was not looked at: {error}"]
    except Exception as error:  # the last edge: the tables have changed by now, and migrate must not fail
        lines = [
            f"dbsync: what the migration means was not looked at: a bug, {type(error).__name__} in {place_of(error)}"
        ]
    for line in lines:
        print(line, file=sys.stderr)


def _lines(using: str) -> Iterator[str]:
    identity = _installed_in(using)
    config = configured.config() if identity is not None else None
    if config is None or identity is None:
        return
    found = drifted(config, identity)
    for one in found[:_MANY]:
        yield f"dbsync: {one.where}: {one.what}"
        yield f"  try    {one.remedy}"
    if len(found) > _MANY:
        yield f"dbsync: and {len(found) - _MANY:,} more: manage.py dbsync check"


def _installed_in(using: str) -> str | None:
    """Identify the database that was migrated; None where dbsync is not in it: a test's, made anew, never has it."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(_IDENTITY)
        has_schema, identity = cursor.fetchone()
    return str(identity) if has_schema else None
