"""The capture triggers of one table: one function, four triggers, a fingerprint that says what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import LiteralString, assert_never

from psycopg import sql

from dbsync.capture import again, logging_sql
from dbsync.capture.again import function_name
from dbsync.capture.logging_sql import (
    NOTHING,
    Form,
    forget_row_keys,
    key_columns,
    log_delete,
    log_insert,
    log_update,
    referring_columns,
    row_key_statements,
)
from dbsync.keys import expression
from dbsync.keys.expression import Query, Sql, flatten, local_id, qualified, row_key_of, table_sql, text_array
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Json, Layout
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyTree, RegisteredTable, Truncate
from dbsync.statements import folder, statement

EVENTS = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
}
PURPOSES = ("capture", "truncate", "again")
"""What a table's functions are for."""
PREFIX = "dbsync_"
FINGERPRINT_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Everything that installing one table's capture needs, as data and composed SQL."""

    table: RegisteredTable
    catalog: Catalog
    shape: str
    """What ``dbsync.shape`` says of the table and of those its key runs through, at installation."""

    @property
    def layout(self) -> Layout:
        """Give the layout that the static statements write."""
        return Layout.of(self.table)

    @property
    def function(self) -> sql.Identifier:
        """Name the trigger function: hashed, for table names of 63 bytes are real."""
        return sql.Identifier("dbsync", function_name(self.table.name, "capture"))

    @property
    def truncate_function(self) -> sql.Identifier:
        """Name the function behind TRUNCATE."""
        return sql.Identifier("dbsync", function_name(self.table.name, "truncate"))

    @cached_property
    def body(self) -> str:
        """Give the source of the trigger function."""
        return _body(self.table, self.catalog, self.shape)

    @cached_property
    def truncate_body(self) -> str:
        """Give the source of the function behind TRUNCATE; empty where that means nothing."""
        match self.table.truncate:
            case Truncate.REJECT:
                return statement("capture", "reject_truncate_body").as_string(None)
            case Truncate.CAPTURE:
                return _truncate_body(self.table, self.catalog, self.shape)
            case Truncate.IGNORE if self.heeds_truncate:
                return _ignore_truncate_body(self.table)
            case Truncate.IGNORE:
                return ""
        assert_never(self.table.truncate)

    @property
    def heeds_truncate(self) -> bool:
        """Say whether there is a trigger for TRUNCATE: where it is ignored, UUIDs are forgotten all the same."""
        return self.table.truncate is not Truncate.IGNORE or bool(self.table.key.row_id)

    @cached_property
    def again_body(self) -> str:
        """Give the source of the function that looks a key up once more; empty where no key is looked up."""
        return again.again_body(self.table, self.catalog)

    @cached_property
    def fingerprint(self) -> str:
        """Give 16 hex digits that change whenever the triggers would be made differently.

        Said of what they are made from, the program's own text included: composing hundreds of functions only to
        compare them would take seconds.
        """
        tables, columns = looked_up(self.table)
        beside = [c for name in tables for c in self.catalog.tables[name].columns if c.name in columns]
        made_from = (
            _json(self.layout.definition()),
            self.shape,
            self.table.truncate.value,
            *sorted(self.table.excluded),
            *(str(self.catalog.tables[name].oid) for name in (self.table.name, *tables)),  # others after a reload
            *(repr(column) for column in (*self.table.table.columns, *beside)),
            _maker(),
        )
        return hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:FINGERPRINT_LENGTH]

    def create_functions(self) -> Iterator[Query]:
        """Compose what makes the functions (as the owner role) and gives them to the role they run as."""
        yield statement("capture", "take_turn")
        yield statement("capture", "open_schema")
        if self.again_body:
            yield from self._function(signed(self.table.name, "again"), "create_again", self.again_body)
        yield from self._function(signed(self.table.name, "capture"), "create_function", self.body)
        if self.truncate_body:
            yield from self._function(signed(self.table.name, "truncate"), "create_function", self.truncate_body)
        yield statement("capture", "close_schema")

    def _function(self, function: Sql, block: str, body: str) -> Iterator[Query]:
        yield statement("capture", block).format(function=function, body=sql.Literal(body))
        yield statement("capture", "secure_function").format(function=function)
        yield statement("capture", "give_function").format(function=function)

    def create_triggers(self, on: TableName) -> Iterator[Query]:
        """Compose what makes the triggers on the table, or on one of its partitions (as the table's owner)."""
        for event, transition in EVENTS.items():
            yield self._trigger(on, event, "AFTER", sql.SQL(transition), self.function)
        if self.heeds_truncate:
            only_forgets = self.table.truncate is Truncate.IGNORE and not reads_truncated(self.table)
            moment = "AFTER" if only_forgets else "BEFORE"  # rows that refer to these may be logged yet, by their UUIDs
            yield self._trigger(on, "TRUNCATE", moment, NOTHING, self.truncate_function)
        else:
            yield drop_trigger("TRUNCATE", on)

    def _trigger(self, on: TableName, event: str, moment: str, transition: Sql, function: Sql) -> Query:
        return statement("capture", "create_trigger").format(
            trigger=sql.Identifier(trigger_name(event)),
            moment=sql.SQL(moment),  # AFTER or BEFORE
            event=sql.SQL(event),  # one of EVENTS or TRUNCATE
            table=table_sql(on),
            transition=transition,
            function=function,
            fingerprint=sql.Literal(self.fingerprint),
        )


@cache
def _maker() -> str:
    """Hash the text that composes capture, so that a new version of the program renews what an old one installed."""
    texts = [Path(file).read_bytes() for file in (__file__, again.__file__, logging_sql.__file__, expression.__file__)]
    texts.append((folder() / "capture.sql").read_bytes())
    return hashlib.sha256(b"".join(texts)).hexdigest()


def signed(table: TableName, purpose: str) -> Sql:
    """Name one of :data:`PURPOSES` with what it takes."""
    signature = sql.SQL(again.SIGNATURE if purpose == "again" else "()")
    return sql.SQL("{}{}").format(sql.Identifier("dbsync", function_name(table, purpose)), signature)


def trigger_name(event: str) -> str:
    """Name the trigger for an event; a trigger's name needs to be unique on its table only."""
    return PREFIX + event.lower()


def drop_trigger(event: str, on: TableName) -> Query:
    """Compose the drop of one trigger."""
    return statement("capture", "drop_trigger").format(trigger=sql.Identifier(trigger_name(event)), table=table_sql(on))


def parents(tree: KeyTree) -> list[KeyTree]:
    """List the keys of the tables that a key runs through, its own table left out, each once."""
    found: dict[TableName, KeyTree] = {}
    for part in tree.parts:
        if not isinstance(part, KeyColumn):
            found.setdefault(part.target.table, part.target)
            found.update({below.table: below for below in parents(part.target)})
    return list(found.values())


def looked_up(table: RegisteredTable) -> tuple[list[TableName], list[str]]:
    """Give the tables that capturing a row looks into, and the columns it uses there."""
    trees: dict[TableName, KeyTree] = {}
    columns: set[str] = set()
    for reference in table.references:
        columns.update(reference.target_columns)
        for tree in (reference.target, *parents(reference.target)):
            trees[tree.table] = tree
    for tree in trees.values():
        for part in tree.parts:
            columns.update((part.column,) if isinstance(part, KeyColumn) else (*part.columns, *part.target_columns))
    return sorted(trees), sorted(columns)


def shape_query(table: RegisteredTable, catalog: Catalog) -> Query:
    """Compose the question whose answer :class:`Capture` keeps as ``shape``."""
    return statement("capture", "shape").format(**_shape_of(table, catalog))


def _guard(table: RegisteredTable, catalog: Catalog) -> dict[str, Sql]:
    said = _shape_of(table, catalog)
    if table.table.kind != "partitioned":
        return {**said, "detached": NOTHING}
    return {**said, "detached": statement("capture", "detached").format(table=said["table"])}


def _shape_of(table: RegisteredTable, catalog: Catalog) -> dict[str, Sql]:
    tables, columns = looked_up(table)
    return {
        "table": _regclass(table.name, catalog),
        "parents": sql.SQL(", ").join(sql.SQL("{}::regclass").format(_regclass(name, catalog)) for name in tables),
        "used": text_array([sql.Literal(column) for column in columns]),
    }


def _regclass(name: TableName, catalog: Catalog) -> Sql:
    """Name a table by its number: when a migration renames it, a name would break the application's next statement."""
    return sql.Literal(str(catalog.tables[name].oid))


def _body(table: RegisteredTable, catalog: Catalog, shape: str) -> str:
    static, drifted, unkeyed = _forms(table, catalog)
    branches: dict[str, Sql] = {}
    for event, log in (("INSERT", log_insert), ("UPDATE", log_update), ("DELETE", log_delete)):
        name = event.lower()
        keys = row_key_statements(table, event)
        branches[name] = _sequence(keys, log(static), event)
        branches[f"drifted_{name}"] = _sequence(keys, _execute(log(drifted), drifted), event)
        branches[f"unkeyed_{name}"] = _execute(log(unkeyed), unkeyed)
    body = statement("capture", "function_body")
    return body.format(shape=sql.Literal(shape), **_guard(table, catalog), **branches).as_string(None)


def _truncate_body(table: RegisteredTable, catalog: Catalog, shape: str) -> str:
    static, drifted, unkeyed = _forms(table, catalog)
    forget = [forget_row_keys(table)] if table.key.row_id else []
    without_key = [] if table.table.kind == "partitioned" else forget  # those of one partition are told by their key
    of_these = sql.SQL("of_these ||")
    log = sql.Literal(log_delete(static).as_string(None))
    branches: dict[str, Sql] = {
        "delete": _in_order([statement("capture", "execute_of_these").format(statement=log), *forget]),
        "drifted_delete": _in_order([_execute(log_delete(drifted), drifted, of_these), *forget]),
        "unkeyed_delete": _in_order([_execute(log_delete(unkeyed), unkeyed, of_these), *without_key]),
    }
    guard = _guard(table, catalog)
    seen: dict[str, Sql] = {
        "hidden": hidden(sql.SQL("TG_RELID"), "{r}"),
        "refuse_hidden": statement("capture", "refuse_hidden"),
    }
    body = statement("capture", "capture_truncate_body")
    return body.format(shape=sql.Literal(shape), **guard, **branches, **seen, **_around_truncate(table)).as_string(None)


def hidden(table: Sql, commands: LiteralString) -> Sql:
    """Ask whether policies may keep rows of a table, told by its number, from who asks; ``commands`` are as in pg_policy."""
    return statement("capture", "hidden").format(table=table, commands=sql.Literal(commands))


def _ignore_truncate_body(table: RegisteredTable) -> str:
    body = statement("capture", "ignore_truncate_body")
    return body.format(forget=forget_row_keys(table), **_around_truncate(table)).as_string(None)


def _around_truncate(table: RegisteredTable) -> dict[str, Sql]:
    block = "truncated_partition" if table.table.kind == "partitioned" else "truncated_table"
    return {
        "truncated": statement("capture", block).format(trigger=sql.Literal(trigger_name("TRUNCATE"))),
        "unreadable": statement("capture", "refuse_unreadable"),
    }


def _forms(table: RegisteredTable, catalog: Catalog) -> tuple[Form, Form, Form]:
    """Give the three forms of a table's statements: static, drifted, unkeyed."""
    static = Form(table=table, catalog=catalog, repeats=True)
    drifted = replace(static, drifted=True)
    return static, drifted, replace(drifted, keyed=False, repeats=False)


def reads_truncated(table: RegisteredTable) -> bool:
    """Say whether the function behind TRUNCATE reads the rows that go."""
    forgets = table.truncate is Truncate.IGNORE and bool(table.key.row_id)
    return table.truncate is Truncate.CAPTURE or (forgets and table.table.kind == "partitioned")


def _sequence(row_keys: list[Sql], log: Sql, event: str) -> Sql:
    """Order the statements: a new row has its UUID before it is logged, a deleted one keeps it until it is."""
    return _in_order([log, *row_keys] if event == "DELETE" else [*row_keys, log])


def _in_order(statements: list[Sql]) -> Sql:
    return sql.SQL(";\n            ").join(statements)


def _execute(template: Sql, form: Form, before: Sql = NOTHING) -> Sql:
    return statement("capture", "execute").format(
        before=before,
        base=sql.Literal(_json(form.layout.definition())),
        set_apart=text_array([sql.Literal(name) for name in _set_apart(form.table)]),
        template=sql.Literal(template.as_string(None)),
    )


def _set_apart(table: RegisteredTable) -> list[str]:
    kept = set(table.values)
    known = {column.name for column in table.table.columns if not column.generated}
    return sorted((known - kept) | set(table.excluded) | set(referring_columns(table)))


def key_query(table: RegisteredTable, catalog: Catalog) -> str:
    """Give the query that finds a row's key by its local id, for ``dbsync.key_of``; empty where one id does not name a row."""
    primary = table.table.primary_key
    if len(primary) != 1 or not (table.key.row_id or key_columns(table)):
        return ""
    column = table.table.column(primary[0])
    assert column is not None
    if table.key.row_id:  # one that is gone may have a UUID as well
        found = sql.SQL(
            "SELECT ARRAY[q.k] FROM {} t, LATERAL (SELECT {} AS k) q WHERE t.{} = $1::{} AND q.k IS NOT NULL"
        ).format(
            table_sql(table.name),
            row_key_of(table.name, local_id("t", primary)),
            sql.Identifier(column.name),
            sql.SQL(column.cast),  # quoted by PostgreSQL
        )
        return found.as_string(None)
    flat = flatten(table.key, "t", catalog)
    return (
        sql.SQL("SELECT {} FROM {} t {} WHERE t.{} = $1::{}")
        .format(
            text_array(flat.leaves),
            table_sql(table.name),
            sql.SQL(" ").join(flat.joins),
            sql.Identifier(column.name),
            sql.SQL(column.cast),  # quoted by PostgreSQL
        )
        .as_string(None)
    )


def fill_row_keys(table: RegisteredTable) -> Query:
    """Compose what gives the rows that were there before the triggers their UUIDs; those that have one keep it."""
    return statement("capture", "fill_row_keys").format(
        relation=sql.Literal(qualified(table.name)),
        local_id=local_id("n", table.key.row_id),
        table=table_sql(table.name),
    )


def _json(value: Json) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
