"""Installing dbsync in an upstream: its schema, and the service's right to the registered tables and to no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from dbsync import schema
from dbsync.catalog.inspect import inspect
from dbsync.config.models import Config
from dbsync.errors import PrivilegeError
from dbsync.keys.expression import Query
from dbsync.model.catalog import Table
from dbsync.model.registration import Mode
from dbsync.postgres import connect, translated
from dbsync.statements import statement

REPLICATOR = "dbsync_replicator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation did upstream."""

    schema_changed: bool
    granted: int
    """Rights that the role dbsync_replicator did not have before."""
    left: tuple[str, ...] = ()
    """Grants for the owner of the tables to make, where this role can do for itself what the service does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Privileges that the role dbsync_replicator lacks on one thing."""

    kind: str
    """``SCHEMA``, ``TABLE`` or ``SEQUENCE``."""
    schema: str
    name: str | None
    privileges: Sequence[str]
    own: bool
    """The role that installs has it for itself: where it also runs the service, nothing is missing."""

    def grant(self) -> Query:
        """Compose the GRANT."""
        path = (self.schema,) if self.name is None else (self.schema, self.name)
        return statement("install", "grant").format(
            privileges=sql.SQL(", ").join(map(sql.SQL, self.privileges)),  # words of sql/install.sql
            kind=sql.SQL(self.kind),  # likewise
            name=sql.Identifier(*path),
        )


def install(config: Config, *, here: bool = False) -> Installed:
    """Bring the upstream to what the configuration says; a second time there is nothing to do.

    ``here`` means this node's own database, as the upstream of those who bring it their changes.
    """
    database = _database(config, here=here)
    with connect(database, name="upstream", pooled=not here) as connection:
        changed = schema.upgrade(database, "upstream")
        with translated("upstream"):
            before = missing(connection, config)
            _grant(connection, before)
            lacking = missing(connection, config)
            _refuse([right for right in lacking if not right.own])
    left = tuple(f"{right.grant().as_string(None)};" for right in lacking)
    return Installed(schema_changed=changed, granted=len(before) - len(lacking), left=left)


def plan(config: Config, *, here: bool = False) -> Iterator[str]:
    """Give the SQL that :func:`install` would run, and run none of it to stay."""
    with (
        connect(_database(config, here=here), name="upstream", pooled=not here) as connection,
        translated("upstream"),
        connection.transaction(force_rollback=True),
    ):
        since = schema.version(connection)
        if since is None or since < schema.head():
            yield schema.upgrade_sql(since)
            schema.rehearse(connection, since)
        for right in missing(connection, config):
            yield f"{right.grant().as_string(connection)};"


def _database(config: Config, *, here: bool) -> str:
    return config.node.source if here else config.upstream.database


def missing(connection: psycopg.Connection, config: Config) -> list[Right]:
    """Say what the role dbsync_replicator lacks on the configured tables that are upstream."""
    tables = _registered(connection, config)
    sequences = {column.sequence for table, _ in tables for column in table.columns if column.sequence}
    rows = connection.execute(
        statement("install", "missing_rights"),
        {
            "schemas": [table.name.schema for table, _ in tables],
            "names": [table.name.name for table, _ in tables],
            "shipped": [mode is Mode.SHIP for _, mode in tables],
            "types": sorted({schema for table, _ in tables for column in table.columns for schema in column.schemas}),
            "sequences": sorted(sequences),
        },
    ).fetchall()
    return [
        Right(kind=kind, schema=within, name=name, privileges=what, own=own) for kind, within, name, what, own in rows
    ]


def _registered(connection: psycopg.Connection, config: Config) -> list[tuple[Table, Mode]]:
    """List the upstream's own tables that the configuration names; the source need not be in reach."""
    tables = [table for _, table in sorted(inspect(connection).tables.items())]
    return [(table, entry.mode) for table in tables if (entry := config.table_for(table.name)) is not None]


def _grant(connection: psycopg.Connection, rights: Sequence[Right]) -> None:
    """Grant what this role can; what it cannot is asked for afterwards, all of it at once.

    PostgreSQL refuses a grant by somebody with no right at all, and only warns somebody who may not pass his on.
    """
    for right in rights:
        with suppress(errors.InsufficientPrivilege):
            connection.execute(right.grant())


def _refuse(lacking: Sequence[Right]) -> None:
    if not lacking:
        return
    names = [f"{right.schema}.{right.name}" if right.name else f"schema {right.schema}" for right in lacking]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""  # noqa: PLR2004 - as many as a line takes
    raise PrivilegeError(
        f"the role {REPLICATOR} may not work on every registered table",
        where="upstream",
        why=f"you do not own {', '.join(names[:3])}{more}, and cannot let it",
        hint="as their owner: " + " ".join(f"{right.grant().as_string(None)};" for right in lacking),
    )
