"""Rights on tables and sequences: what is missing, as SQL to paste."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from dbsync.check.finding import error, warning
from dbsync.check.server import Server, Side
from dbsync.check.wording import grants, identifier, listed, table
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import KeyReference, KeyTree, Mode, Registry
from dbsync.statements import statement

_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
_CAPTURE = ("SELECT", "TRIGGER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the connected role may do with a table."""

    schema: str
    name: str
    schema_usage: bool
    held: Sequence[str]
    given_on: bool
    read_on: bool
    filtered: bool

    @property
    def table(self) -> TableName:
        """Give the table's name."""
        return TableName(self.schema, self.name)


def ask(connection: psycopg.Connection, tables: Iterable[TableName]) -> list[Rights]:
    """Ask what the connected role may do with some tables; those that are not there are left out."""
    names = sorted(tables)
    with connection.cursor(row_factory=class_row(Rights)) as cursor:
        cursor.execute(
            statement("check", "table_privileges"),
            {"schemas": [name.schema for name in names], "names": [name.name for name in names]},
        )
        return cursor.fetchall()


def closed_schemas(connection: psycopg.Connection, schemas: Iterable[str], *, to: Side) -> list[str]:
    """List of some schemas those that the connected role cannot let capture look into, or upstream may not itself."""
    asked = {"schemas": sorted(schemas), "capture": to == "source"}
    return [str(schema) for (schema,) in connection.execute(statement("check", "closed_schemas"), asked).fetchall()]


def of_types(closed: Sequence[str]) -> Iterator[Finding]:
    """Say which schemas of types the capture functions, which run as the role dbsync_capture, could not look into."""
    if closed:
        yield error(
            "privilege_lookup",
            "source",
            f"types are in {_schemas_in_words(closed)}, and you cannot let the role dbsync_capture use them",
            "as their owner: " + " ".join(_usage(schema, "dbsync_capture") for schema in closed),
        )


def of_source(
    registry: Registry, rights: Sequence[Rights], server: Server, settled: Collection[TableName]
) -> list[Finding]:
    """Find what the role lacks to install capture; tables that are ``settled`` have it already.

    The service's role needs no right at all on the application's tables.
    """
    if not server.installs:
        return [*_of_looked_up(registry, rights)]
    shipped = {name for name, one in registry.tables.items() if one.mode is Mode.SHIP}
    needs = {
        one.table: [p for p in _CAPTURE if p == "SELECT" or one.table not in settled] if one.table in shipped else []
        for one in rights
    }
    return [
        *_of_schemas("source", rights, server),
        *_of_tables("source", rights, needs, server),
        *_of_looked_up(registry, rights),
    ]


def of_capture(tables: Sequence[TableName], schemas: Sequence[str], grants: str) -> Finding:
    """Say which tables the capture functions may no longer read, or which types they may not use, though they are at work."""
    lost = []
    if tables:
        lost.append(f"may no longer read {listed(tables)}: what refers to them is captured without its key")
    if schemas:
        lost.append(
            f"may not use the types in {_schemas_in_words(schemas)}: the application's next write may fail for it"
        )
    what = f"the role dbsync_capture {'; and it '.join(lost)}"
    return error("privilege_capture", "source", what, f"as their owner: {grants}")


def of_upstream(registry: Registry, rights: Sequence[Rights], types: Sequence[str], server: Server) -> list[Finding]:
    """Find what the role lacks to write the shipped tables and to read the lookups; ``types`` are schemas closed to it."""
    needs = {one.table: list(_WRITE) if registry.tables[one.table].mode is Mode.SHIP else ["SELECT"] for one in rights}
    return [
        *_of_schemas("upstream", rights, server, types),
        *_of_tables("upstream", rights, needs, server),
        *_of_filtered(rights),
    ]


def of_sequences(
    connection: psycopg.Connection, registry: Registry, upstream: Catalog, server: Server
) -> Iterator[Finding]:
    """Find sequences that the role may not draw ids from, for new rows and for gone ones that a history refers to."""
    gone = {r.target.table for one in registry.shipped() for r in one.references if r.soft}
    tables = [upstream.table(name) for name in {one.name for one in registry.shipped()} | gone]
    drawn = sorted({column.sequence for one in tables if one for column in one.columns if column.sequence})
    rows = connection.execute(statement("check", "unusable_sequences"), {"sequences": drawn}).fetchall()
    missing = [str(sequence) for (sequence,) in rows]
    if missing:
        yield error(
            "privilege_sequence",
            "upstream",
            f"role {server.role} may not draw ids for new rows from {listed(missing)}",
            f"GRANT USAGE ON SEQUENCE {', '.join(missing)} TO {identifier(_grantee(server))};",
        )


def _schemas_in_words(schemas: Sequence[str]) -> str:
    """Name some schemas in a sentence."""
    return f"schema{'s' if len(schemas) > 1 else ''} {', '.join(schemas)}"


def _usage(schema: str, role: str) -> str:
    return f"GRANT USAGE ON SCHEMA {identifier(schema)} TO {identifier(role)};"


def _grantee(server: Server) -> str:
    """Name whom to grant to: the role made for logins of the service, where this one is such a login."""
    return server.role if server.installs else "dbsync_replicator"


def _of_schemas(side: Side, rights: Sequence[Rights], server: Server, types: Sequence[str] = ()) -> Iterator[Finding]:
    closed = sorted({one.schema for one in rights if not one.schema_usage} | {*types})
    for schema in closed:
        yield error(
            "privilege_usage",
            side,
            f"role {server.role} may not look into schema {schema}",
            _usage(schema, _grantee(server)),
        )


def _of_tables(
    side: Side, rights: Sequence[Rights], needs: Mapping[TableName, Sequence[str]], server: Server
) -> Iterator[Finding]:
    """Say once for each set of missing privileges which tables it is missing on."""
    lacking: defaultdict[tuple[str, ...], list[TableName]] = defaultdict(list)
    for one in rights:
        missing = tuple(privilege for privilege in needs[one.table] if privilege not in one.held)
        if missing:
            lacking[missing].append(one.table)
    for privileges, tables in lacking.items():
        yield error(
            "privilege_table",
            side,
            f"role {server.role} lacks {', '.join(privileges)} on {listed(tables)}",
            " ".join(grants(privileges, tables, _grantee(server))),
        )


def _of_looked_up(registry: Registry, rights: Sequence[Rights]) -> Iterator[Finding]:
    """Find tables that the capture functions, which run as the role dbsync_capture, could not read."""
    locked = {name for one in registry.shipped() for reference in one.references for name in _along(reference)}
    targets = [tree for one in registry.shipped() for generic in one.generics for tree in generic.targets.values()]
    read = {name for tree in targets for name in (tree.table, *_tables_of(tree))}
    closed = [
        one.table
        for one in rights
        if (one.table in locked and not one.given_on) or (one.table in read and not one.read_on)
    ]
    if closed:
        yield error(
            "privilege_lookup",
            "source",
            f"natural keys run through {listed(closed)}, and you cannot let the role dbsync_capture read and lock rows there",
            "as their owner: " + " ".join([*grants(["SELECT"], closed, "dbsync_capture"), *_locks(registry, closed)]),
        )


def _locks(registry: Registry, tables: Collection[TableName]) -> Iterator[str]:
    """Say how to grant the locking of rows, which takes the right to update some column; dbsync updates none."""
    for name in tables:
        found = registry.tables[name].table
        column = (*found.primary_key, found.columns[0].name)[0]
        yield f"GRANT UPDATE ({identifier(column)}) ON {table(name)} TO dbsync_capture;"


def _along(reference: KeyReference) -> Iterator[TableName]:
    yield reference.target.table
    yield from _tables_of(reference.target)


def _tables_of(tree: KeyTree) -> Iterator[TableName]:
    for part in tree.parts:
        if isinstance(part, KeyReference):
            yield from _along(part)


def _of_filtered(rights: Sequence[Rights]) -> Iterator[Finding]:
    for one in rights:
        if one.filtered:
            yield warning(
                "row_security_upstream",
                str(one.table),
                "row-level security upstream shows this role only some of the rows",
                f"CREATE POLICY dbsync ON {table(one.table)} TO CURRENT_USER USING (true) WITH CHECK (true);",
            )
