"""This node as its database knows it: name, incarnation, switches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg

from dbsync.errors import ConfigError, SchemaVersionError
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One installation of dbsync."""

    name: str
    lineage: UUID
    incarnation: UUID
    capture_off_since: datetime | None
    paused_since: datetime | None
    reloaded: bool = False
    """Its log was made in another cluster (dump and reload, pg_upgrade), and was not brought over to this one yet."""


def register(connection: psycopg.Connection, name: str) -> None:
    """Enter this node, or refuse if the database was installed under another name."""
    row = connection.execute(statement("service", "register_node"), {"name": name}).fetchone()
    if row is not None:
        expect(row[0], name)


def registration(connection: psycopg.Connection, name: str) -> str | None:
    """Give the SQL that enters this node; None where it is entered. Refuses as :func:`register` does."""
    row = connection.execute(statement("changelog", "node")).fetchone()
    if row is not None:
        expect(row[0], name)
        return None
    return psycopg.ClientCursor(connection).mogrify(statement("service", "register_node"), {"name": name})


def expect(found: str, configured: str) -> None:
    """Refuse a database that was installed under another name than the configuration's."""
    if found != configured:
        raise ConfigError(
            f"this database was installed as node {found!r}, the configuration says {configured!r}",
            where="source",
            why="a node's name goes with its batches; two names would be two nodes with the same rows",
            hint=f'set name = "{found}" in [node]',
        )


def keep_apart(source: psycopg.Connection, upstream: psycopg.Connection) -> None:
    """Refuse an upstream that is the source itself, by whatever address: old changes would be written over newer rows."""
    here, there = (database.execute(statement("service", "database")).fetchone() for database in (source, upstream))
    if here == there:
        raise ConfigError(
            "source and upstream are the same database",
            where="dbsync.toml",
            why="what was captured would be written over what came after it",
            hint="mend [upstream] url   (dbsync check   says where it leads)",
        )


def read(connection: psycopg.Connection) -> Node:
    """Read this node."""
    row = connection.execute(statement("changelog", "node")).fetchone()
    if row is None:
        raise SchemaVersionError("no node is registered here", where="source", hint="dbsync install-triggers")
    name, lineage, incarnation, system, capture_off, paused, here, restamps = row
    return Node(
        name=name,
        lineage=lineage,
        incarnation=incarnation,
        capture_off_since=capture_off,
        paused_since=paused,
        reloaded=system != here or restamps,
    )


def is_reloaded(connection: psycopg.Connection) -> bool:
    """Say whether the log of the node, if one is registered, was made in another cluster and not brought over yet."""
    row = connection.execute(statement("changelog", "node")).fetchone()
    return row is not None and (row[3] != row[6] or row[7])


def switch_capture(connection: psycopg.Connection, *, on: bool) -> datetime | None:
    """Turn capture on or off for the whole database; give since when it is off."""
    row = connection.execute(statement("service", "switch_capture"), {"on": on}).fetchone()
    return row[0] if row else None


def switch_shipping(connection: psycopg.Connection, *, on: bool) -> datetime | None:
    """Resume or pause shipping; give since when it is paused."""
    row = connection.execute(statement("service", "switch_shipping"), {"on": on}).fetchone()
    return row[0] if row else None
