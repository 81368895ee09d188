"""Installing capture: functions, triggers and their registration, table by table under a brief lock."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from dbsync.capture.again import function_name
from dbsync.capture.layouts import know_layout
from dbsync.capture.logging_sql import key_columns
from dbsync.capture.trigger import (
    EVENTS,
    PURPOSES,
    Capture,
    drop_trigger,
    fill_row_keys,
    key_query,
    looked_up,
    parents,
    reads_truncated,
    shape_query,
    signed,
    trigger_name,
)
from dbsync.errors import PrivilegeError
from dbsync.keys.expression import Query, qualified, table_sql
from dbsync.model.catalog import Catalog
from dbsync.model.layout import tree_definition
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, RegisteredTable, Registry
from dbsync.statements import statement

LOCK_ATTEMPTS = 10
STEP_BACK = 0.5
"""Seconds: less than the second after which PostgreSQL looks for a deadlock, and might end the application's statement."""


class TriggerState(StrEnum):
    """What a table's triggers are, beside what they should be."""

    INSTALLED = "installed"
    MISSING = "missing"
    OUTDATED = "outdated"
    DISABLED = "disabled"
    ORPHANED = "orphaned"
    """There are triggers, but the table is not registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A dbsync trigger as the database has it."""

    table: TableName
    name: str
    enabled: bool
    fingerprint: str
    genuine: bool
    """Its function is the one that was installed: one replaced by hand shows."""
    finished: bool
    """Its installation came to its end: every row has the UUID that its key is."""


def captures(connection: psycopg.Connection, registry: Registry, catalog: Catalog) -> list[Capture]:
    """Compose the capture of every shipped table; the dbsync schema must be there.

    What is to be installed is composed within the snapshot that the catalog was read in: a table altered in between would be
    taken for one that nothing happened to since, and its capture would break the application's statements.
    """
    tables = registry.shipped()
    with connection.pipeline():
        asked = [connection.execute(shape_query(table, catalog)) for table in tables]
    shapes = [str(answer.fetchone()[0]) for answer in asked]  # type: ignore[index]  # one row each
    return [Capture(table=table, catalog=catalog, shape=shape) for table, shape in zip(tables, shapes, strict=True)]


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


def _uncommented(step: Query, connection: psycopg.Connection) -> str:
    return " ".join(line for line in step.as_string(connection).splitlines() if not line.startswith("--"))


def grants(
    registry: Registry, only: Collection[TableName] | None = None, schemas: Collection[str] = ()
) -> Iterator[Query]:
    """Compose what lets the capture functions read the tables that keys run through, and those truncated, and use the types.

    All of it, or what is lacking: ``only`` some that are :func:`unreadable`, partitions among them, and the ``schemas`` of types.
    """
    locked, read = _looked_into(registry)
    if only is not None:
        locked, read = locked & {*only}, {*only}
    yield from _grants_to_read(locked | read, type_schemas(registry) if only is None else schemas)
    for name in sorted(locked):
        table = registry.tables[name].table
        column = (*table.primary_key, table.columns[0].name)[0]
        yield statement("capture", "grant_lock").format(table=table_sql(name), column=sql.Identifier(column))


def _grants_to_read(names: Collection[TableName], schemas: Collection[str] = ()) -> Iterator[Query]:
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


def installed(connection: psycopg.Connection) -> list[Trigger]:
    """List every dbsync trigger in the database."""
    rows = connection.execute(statement("capture", "triggers")).fetchall()
    return [
        Trigger(
            table=TableName(schema, table),
            name=name,
            enabled=_text(enabled) in "OA",
            fingerprint=fingerprint,
            genuine=genuine,
            finished=finished,
        )
        for schema, table, name, enabled, fingerprint, genuine, finished in rows
    ]


def foreign(connection: psycopg.Connection) -> set[TableName]:
    """List the tables with a trigger that is dbsync's by its name only: it runs what dbsync did not install."""
    names = [trigger_name(event) for event in (*EVENTS, "TRUNCATE")]
    strangers = connection.execute(statement("capture", "strangers"), {"names": names}).fetchall()
    replaced = {trigger.table for trigger in installed(connection) if not trigger.genuine}
    return replaced | {TableName(schema, table) for schema, table in strangers}


def states(connection: psycopg.Connection, wanted: Sequence[Capture]) -> dict[TableName, TriggerState]:
    """Say for every registered or formerly registered table what its triggers are."""
    found: dict[TableName, list[Trigger]] = {}
    for trigger in installed(connection):
        found.setdefault(trigger.table, []).append(trigger)
    result: dict[TableName, TriggerState] = {}
    covered: set[TableName] = set()
    for capture in wanted:
        members = partitions(connection, capture.table)
        covered.update(members)
        each = {_state(capture, found.get(member, [])) for member in members}
        result[capture.table.name] = next(
            (s for s in (TriggerState.MISSING, TriggerState.DISABLED, TriggerState.OUTDATED) if s in each),
            TriggerState.INSTALLED,
        )
    result.update({table: TriggerState.ORPHANED for table in found if table not in covered})
    return result


def partitions(connection: psycopg.Connection, table: RegisteredTable) -> list[TableName]:
    """List the table and, if it is partitioned, all its partitions."""
    if table.table.kind != "partitioned":
        return [table.name]
    query = statement("capture", "partitions").format(table=sql.Literal(table_sql(table.name).as_string(None)))
    return [TableName(schema, name) for schema, name in connection.execute(query).fetchall()]


def register_lookups(connection: psycopg.Connection, registry: Registry, catalog: Catalog) -> None:
    """Register the tables that only resolve references, with how the keys of their rows are found."""
    made = {"layout": None, "fingerprint": "", "bodies": Jsonb({})}
    lookups = [table for table in registry.tables.values() if table.mode is Mode.LOOKUP]
    with connection.transaction():
        connection.execute("SET LOCAL ROLE dbsync")
        connection.cursor().executemany(
            statement("capture", "register_relation"), [{**_relation(table, catalog), **made} for table in lookups]
        )


def install(connection: psycopg.Connection, capture: Capture, *, lock_timeout: float) -> None:
    """Install the capture of one table in one transaction; try again while the table is locked by others.

    ``lock_timeout`` is in seconds: an application's statement never queues behind us for longer than that.
    Rows of a table without a natural key get their UUIDs outside of that transaction, nearly all of them before it: what is
    left for after it are those that came in between, and those the capture itself gives one to when they change. Stopped
    anywhere, it is done anew by the next installation.
    Raises :class:`psycopg.errors.LockNotAvailable` when every attempt met a lock.
    """
    if capture.table.key.row_id:
        _give_row_keys(connection, capture, lock_timeout)
    for attempt in _attempts():
        with attempt, connection.transaction():
            for step in _steps(connection, capture, lock_timeout):
                connection.execute(step)
            _register(connection, capture)
    if capture.table.key.row_id:
        _give_row_keys(connection, capture, lock_timeout)
        _finish(connection, capture)


def plan(connection: psycopg.Connection, capture: Capture, *, lock_timeout: float) -> Iterator[str]:
    """Give the SQL that :func:`install` runs for one table, with where its transaction begins and ends."""
    row_keys = [fill_row_keys(capture.table).as_string(connection)] if capture.table.key.row_id else []
    yield from row_keys
    yield "BEGIN"
    for step in _steps(connection, capture, lock_timeout):
        yield step.as_string(connection)
    yield "COMMIT"
    yield from row_keys


def uninstall(connection: psycopg.Connection, table: TableName, *, lock_timeout: float) -> None:
    """Remove the triggers of one table; its changes in the log stay."""
    with connection.transaction():
        for step in uninstall_steps(connection, table, lock_timeout):
            connection.execute(step)
        connection.execute("DELETE FROM dbsync.relation WHERE relation = %s", (qualified(table),))


def uninstall_steps(connection: psycopg.Connection, table: TableName, lock_timeout: float) -> Iterator[Query]:
    """Compose the removal of one table's triggers and functions, and of the triggers of its partitions, which run those."""
    names = [function_name(table, purpose) for purpose in ("capture", "truncate")]
    rows = connection.execute(statement("capture", "run_by"), {"functions": names}).fetchall()
    yield _lock_timeout(lock_timeout)
    for on in sorted({table, *(TableName(schema, name) for schema, name in rows)}):
        for event in (*EVENTS, "TRUNCATE"):
            yield drop_trigger(event, on)
    for purpose in PURPOSES:
        yield statement("capture", "drop_function").format(function=signed(table, purpose))


def _attempts() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type((errors.LockNotAvailable, errors.DeadlockDetected)),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_attempt(LOCK_ATTEMPTS),
        reraise=True,
    )


def _give_row_keys(connection: psycopg.Connection, capture: Capture, lock_timeout: float) -> None:
    """Give every row its UUID, and step back where the application gives one to the same row at that moment."""
    for attempt in _attempts():
        with attempt, connection.transaction():
            connection.execute(_lock_timeout(min(lock_timeout, STEP_BACK)))
            connection.execute(fill_row_keys(capture.table))


def _steps(connection: psycopg.Connection, capture: Capture, lock_timeout: float) -> Iterator[Query]:
    yield _lock_timeout(lock_timeout)
    yield sql.SQL("SET LOCAL ROLE dbsync")
    yield from capture.create_functions()
    yield sql.SQL("RESET ROLE")
    for member in partitions(connection, capture.table):
        if member != capture.table.name and reads_truncated(capture.table):
            yield from _grants_to_read([member])
        yield from capture.create_triggers(member)


def _register(connection: psycopg.Connection, capture: Capture) -> None:
    layout = capture.layout
    connection.execute("SET LOCAL ROLE dbsync")
    know_layout(connection, capture.table)
    connection.execute(
        statement("capture", "register_relation"),
        {
            **_relation(capture.table, capture.catalog),
            "layout": layout.identity,
            "fingerprint": "" if capture.table.key.row_id else capture.fingerprint,  # empty until it is finished
            "bodies": Jsonb(_bodies(capture)),
        },
    )
    connection.execute("RESET ROLE")


def _relation(table: RegisteredTable, catalog: Catalog) -> dict[str, object]:
    """Say of a table what is needed to tell which of its rows is meant."""
    return {
        "relation": qualified(table.name),
        "mode": table.mode.value,
        "key_query": key_query(table, catalog),
        "key_tree": Jsonb(tree_definition(table.key)),
        "key_width": table.key.width,
    }


def _state(capture: Capture, found: list[Trigger]) -> TriggerState:
    events = [*EVENTS, "TRUNCATE"] if capture.heeds_truncate else list(EVENTS)
    by_name = {trigger.name: trigger for trigger in found}
    mine = {event: trigger for event in events if (trigger := by_name.get(trigger_name(event))) is not None}
    if not mine.keys() >= EVENTS.keys():
        return TriggerState.MISSING
    if not all(trigger.enabled for trigger in mine.values()):
        return TriggerState.DISABLED
    if len(mine) == len(events) and all(_is_current(trigger, capture) for trigger in mine.values()):
        return TriggerState.INSTALLED
    return TriggerState.OUTDATED


def _is_current(trigger: Trigger, capture: Capture) -> bool:
    return trigger.genuine and trigger.finished and trigger.fingerprint == capture.fingerprint


def _finish(connection: psycopg.Connection, capture: Capture) -> None:
    relation = qualified(capture.table.name)
    with connection.transaction():
        connection.execute("SET LOCAL ROLE dbsync")
        connection.execute(statement("capture", "finish"), {"relation": relation, "fingerprint": capture.fingerprint})


def _bodies(capture: Capture) -> dict[str, str]:
    """Give the MD5 of each function's source, by the function's name."""
    purposes = (("capture", capture.body), ("truncate", capture.truncate_body), ("again", capture.again_body))
    return {
        function_name(capture.table.name, purpose): hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        for purpose, body in purposes
        if body
    }


def _lock_timeout(seconds: float) -> Query:
    return sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{round(seconds * 1000)}ms"))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
