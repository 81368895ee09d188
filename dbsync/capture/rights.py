"""What capture's role has to be let into: the tables that keys run through, partitions that are emptied, the schemas of types."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

import psycopg
from psycopg import errors, sql

from dbsync.capture.logging_sql import key_columns
from dbsync.capture.trigger import looked_up, parents, reads_truncated
from dbsync.errors import PrivilegeError
from dbsync.keys.expression import Query, table_sql
from dbsync.model.catalog import Catalog
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, RegisteredTable, Registry
from dbsync.statements import statement


def grant(connection: psycopg.Connection, registry: Registry) -> None:
    """Let the capture functions read the tables that keys run through, and use the types; refuse where this role cannot.

    Capture without that right would break the application's statements. PostgreSQL refuses a grant by somebody with no right
    at all, and only warns somebody who may not pass his on; so what is lacking is asked for afterwards, all of it at once.
    """
    for step in grants(registry):
        with suppress(errors.InsufficientPrivilege):
            connection.execute(step)
    for step in grants(registry, unreadable(connection, registry)):  # the partitions, which only the database knows
        with suppress(errors.InsufficientPrivilege):
            connection.execute(step)
    tables, schemas = unreadable(connection, registry), unusable(connection, registry)
    if tables or schemas:
        closed = [*map(str, tables), *(f"schema {schema}" for schema in schemas)]
        raise PrivilegeError(
            "the role dbsync_capture may not read every table that natural keys run through"
            if tables
            else "the role dbsync_capture may not use every type of the registered tables",
            where="source",
            why=f"you are no owner of {', '.join(closed)}, and cannot let it",
            hint=f"as their owner: {grants_to_paste(connection, registry, tables, schemas)}",
        )


def unreadable(connection: psycopg.Connection, registry: Registry) -> list[TableName]:
    """List the tables that the capture functions look into and may not read, or lock rows of."""
    emptied = _emptied(registry)
    locked, read = _looked_into(registry)
    names = sorted(locked | read)
    rows = connection.execute(
        statement("capture", "not_granted"),
        {
            "schemas": [name.schema for name in names],
            "names": [name.name for name in names],
            "locked": [name in locked for name in names],
            "emptied": [name in emptied for name in names],
        },
    ).fetchall()
    return [TableName(schema, name) for schema, name in rows]


def unusable(connection: psycopg.Connection, registry: Registry) -> list[str]:
    """List the schemas of types that the capture functions may not look into."""
    asked = {"schemas": sorted(type_schemas(registry))}
    rows = connection.execute(statement("capture", "schemas_not_granted"), asked).fetchall()
    return [str(schema) for (schema,) in rows]


def type_schemas(registry: Registry) -> set[str]:
    """Give the schemas of the types, functions and operators that capture works with, ``pg_catalog`` left out.

    Of all that the captured tables have, for after a migration the whole row is written anew; of the others the columns
    that keys run through.
    """
    used = {column for table in registry.shipped() for column in looked_up(table)[1]}
    found: set[str] = set()
    for name in (_looked_into(registry)[0] | _generic_targets(registry)) | {t.name for t in registry.shipped()}:
        table = registry.tables[name]
        named = {*used, *table.table.primary_key, *key_columns(table)}
        for column in table.table.columns:
            if column.name in named or (table.mode is Mode.SHIP and column.name not in table.excluded):
                found.update(column.schemas)
    return found


def grants_to_paste(
    connection: psycopg.Connection, registry: Registry, only: Collection[TableName], schemas: Collection[str]
) -> str:
    """Say in one line how the owner of some tables and schemas of types lets the capture functions read and use them."""
    return " ".join(f"{_uncommented(step, connection)};" for step in grants(registry, only, schemas))


def grants(
    registry: Registry, only: Collection[TableName] | None = None, schemas: Collection[str] = ()
) -> Iterator[Query]:
    """Compose what lets the capture functions read the tables that keys run through, and those truncated, and use the types.

    All of it, with the keys of the other tables; or what is lacking: ``only`` some that are :func:`unreadable`, partitions
    among them, and the ``schemas`` of types.
    """
    locked, read = _looked_into(registry)
    others: list[RegisteredTable] = []
    if only is None:
        others = [registry.tables[name] for name in sorted({*registry.tables} - locked - read)]
        schemas = type_schemas(registry) | {table.name.schema for table in others}
    else:
        locked, read = locked & {*only}, {*only}
    yield from grants_to_read(locked | read, schemas)
    for name in sorted(locked):
        table = registry.tables[name].table
        column = (*table.primary_key, table.columns[0].name)[0]
        yield statement("capture", "grant_lock").format(table=table_sql(name), column=sql.Identifier(column))
    yield from _grants_of_keys(others)


def _grants_of_keys(tables: Iterable[RegisteredTable]) -> Iterator[Query]:
    """Compose what lets the capture functions read what rows are known by, in tables that no key runs through so far."""
    for table in tables:
        columns = dict.fromkeys([*table.table.primary_key, *key_columns(table)])
        if columns:
            named = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
            yield statement("capture", "grant_key").format(table=table_sql(table.name), columns=named)


def grants_to_read(names: Collection[TableName], schemas: Collection[str] = ()) -> Iterator[Query]:
    """Compose what lets the capture functions read some tables, and look into their schemas and others."""
    for schema in sorted({*schemas, *(name.schema for name in names)}):
        yield statement("capture", "grant_schema").format(schema=sql.Identifier(schema))
    for name in sorted(names):
        yield statement("capture", "grant_read").format(table=table_sql(name))


def looks_into(registry: Registry, name: TableName, tables: Collection[TableName]) -> bool:
    """Say whether capturing a table's rows looks into any of some others."""
    table = registry.tables.get(name)
    return table is not None and not {*looked_up(table)[0]}.isdisjoint(tables)


def looked_into(registry: Registry, catalog: Catalog) -> set[int | str]:
    """Give what capture needs rights to: tables, by number, for one that was made anew has lost its rights; and schemas."""
    locked, read = _looked_into(registry)
    return {catalog.tables[name].oid for name in locked | read} | type_schemas(registry)


def _uncommented(step: Query, connection: psycopg.Connection) -> str:
    return " ".join(line for line in step.as_string(connection).splitlines() if not line.startswith("--"))


def _looked_into(registry: Registry) -> tuple[set[TableName], set[TableName]]:
    """Give the tables whose rows capture locks, and those that it only reads."""
    locked = {name for table in registry.shipped() for name in looked_up(table)[0]}
    read = _emptied(registry)
    read |= {TableName("public", "django_content_type") for table in registry.shipped() if table.generics}
    read |= _generic_targets(registry)
    return locked, read


def _emptied(registry: Registry) -> set[TableName]:
    """Give the tables whose rows are read before TRUNCATE takes them."""
    return {table.name for table in registry.shipped() if reads_truncated(table)}


def _generic_targets(registry: Registry) -> set[TableName]:
    """Give the tables that generic references may point to, and those that the keys of these run through."""
    targets = [tree for table in registry.shipped() for g in table.generics for tree in g.targets.values()]
    return {tree.table for target in targets for tree in (target, *parents(target))}
