"""Installing capture: functions, triggers and their registration, table by table under a brief lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from dbsync.capture.again import function_name
from dbsync.capture.backfill import hold, owe
from dbsync.capture.layouts import layout_entry
from dbsync.capture.rights import grants_to_read
from dbsync.capture.trigger import (
    EVENTS,
    PURPOSES,
    Capture,
    drop_trigger,
    fill_row_keys,
    key_query,
    reads_truncated,
    shape_query,
    signed,
    trigger_name,
)
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


def registered(connection: psycopg.Connection) -> dict[TableName, Mode]:
    """List the tables that were installed, shipped ones and lookups, whatever became of their triggers."""
    rows = connection.execute(statement("capture", "registered")).fetchall()
    return {TableName(schema, table): Mode(mode) for schema, table, mode in rows}


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
    with connection.transaction():
        connection.execute("SET LOCAL ROLE dbsync")
        connection.cursor().executemany(
            statement("capture", "register_relation"), list(_lookup_entries(registry, catalog))
        )


def lookups_plan(connection: psycopg.Connection, registry: Registry, catalog: Catalog) -> Iterator[str]:
    """Give the SQL that :func:`register_lookups` runs."""
    entries = [typed(connection, "register_relation", entry) for entry in _lookup_entries(registry, catalog)]
    yield from _in_transaction(entries) if entries else ()


def install(connection: psycopg.Connection, capture: Capture, *, lock_timeout: float) -> None:
    """Install the capture of one table in one transaction; try again while the table is locked by others.

    ``lock_timeout`` is in seconds: an application's statement never queues behind us for longer than that.
    Where nothing captured until now, rows may be there that only a backfill brings: it is to be done then, or done again.
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
    yield "SET LOCAL ROLE dbsync"
    yield from (typed(connection, name, entry) for name, entry in _entries(capture))
    yield "COMMIT"
    yield from row_keys
    if row_keys:
        yield from _in_transaction([typed(connection, "finish", _finished(capture))])


def typed(connection: psycopg.Connection, name: str, values: Mapping[str, object]) -> str:
    """Write a statement of capture with its values in it, as a person would paste it."""
    return psycopg.ClientCursor(connection).mogrify(statement("capture", name), values)


def _in_transaction(steps: Sequence[str]) -> Iterator[str]:
    yield from ("BEGIN", "SET LOCAL ROLE dbsync", *steps, "COMMIT")


def uninstall(connection: psycopg.Connection, table: TableName, *, lock_timeout: float) -> None:
    """Remove the triggers of one table; its changes in the log stay."""
    with connection.transaction():
        for step in uninstall_steps(connection, table, lock_timeout):
            connection.execute(step)
        connection.execute(statement("capture", "forget_relation"), {"relation": qualified(table)})


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


def forget_plan(connection: psycopg.Connection, table: TableName) -> str:
    """Give the SQL by which a table is registered no more."""
    return typed(connection, "forget_relation", {"relation": qualified(table)})


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
    members = partitions(connection, capture.table)
    unseen = _blind(connection, members)
    yield _lock_timeout(lock_timeout)
    if unseen:
        yield hold(capture.table.name)
    yield sql.SQL("SET LOCAL ROLE dbsync")
    yield from capture.create_functions()
    yield sql.SQL("RESET ROLE")
    for member in members:
        if member != capture.table.name and reads_truncated(capture.table):
            yield from grants_to_read([member])
        yield from capture.create_triggers(member)
    if unseen:
        yield owe(capture.table.name, unseen)


def _blind(connection: psycopg.Connection, members: Sequence[TableName]) -> list[TableName]:
    asked = {
        "schemas": [member.schema for member in members],
        "names": [member.name for member in members],
        "triggers": [trigger_name(event) for event in EVENTS],
    }
    rows = connection.execute(statement("capture", "blind"), asked).fetchall()
    return [TableName(schema, name) for schema, name in rows]


def _register(connection: psycopg.Connection, capture: Capture) -> None:
    connection.execute("SET LOCAL ROLE dbsync")
    for name, entry in _entries(capture):
        connection.execute(statement("capture", name), entry)
    connection.execute("RESET ROLE")


def _entries(capture: Capture) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Give what is entered for a table, by the statements that do it: what its changes mean, and how it is captured."""
    yield "register_layout", layout_entry(capture.table)
    yield (
        "register_relation",
        {
            **_relation(capture.table, capture.catalog),
            "layout": capture.layout.identity,
            "fingerprint": "" if capture.table.key.row_id else capture.fingerprint,  # empty until it is finished
            "bodies": Jsonb(_bodies(capture)),
        },
    )


def _lookup_entries(registry: Registry, catalog: Catalog) -> Iterator[Mapping[str, object]]:
    made = {"layout": None, "fingerprint": "", "bodies": Jsonb({})}
    lookups = (table for table in registry.tables.values() if table.mode is Mode.LOOKUP)
    yield from ({**_relation(table, catalog), **made} for table in lookups)


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
    with connection.transaction():
        connection.execute("SET LOCAL ROLE dbsync")
        connection.execute(statement("capture", "finish"), _finished(capture))


def _finished(capture: Capture) -> Mapping[str, object]:
    return {"relation": qualified(capture.table.name), "fingerprint": capture.fingerprint}


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
