"""Erasing what dbsync itself remembers of a row that the application has deleted, in one database.

The row's own delete is the application's, and travels like any change. Here go the ledgers: decided cases of the quarantine,
conflicts with both images, checked boxes, differences that a comparison found, and the key in what people did on the pages.
What is still needed stays and is told: a case that waits, a box that its upstream has not got, the change log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbsync import schema
from dbsync.capture.resend import Key
from dbsync.config.models import Config
from dbsync.errors import PrivilegeError, Refusal, UsageError
from dbsync.keys.expression import Sql, qualified, text_sql, value_of
from dbsync.model.catalog import Catalog, Column
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyTree, RegisteredTable, Registry
from dbsync.postgres import connect, translated
from dbsync.service.install import registered
from dbsync.service.quarantine import Leaves, table_of
from dbsync.service.resend import find_rows
from dbsync.statements import statement

_RELATION = sql.SQL("r.relation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One thing that is remembered of the row, or of one that refers to it."""

    kind: str
    """``case``, ``conflict``, ``difference``, ``list`` or ``deed``."""
    id: str
    table: TableName | None = None
    key: Leaves | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was erased, or would be, and what stays."""

    gone: tuple[Trace, ...]
    stays: tuple[Trace, ...]
    """Cases that wait, and boxes that the upstream has not got: they are decided, or sent, first."""
    logged: int
    """Changes in the change log that hold the key; retention takes them out."""
    living: bool
    """The row is in its table still."""


def erase(config: Config, name: TableName, key: Key, *, by: str | None = None, dry_run: bool = True) -> Erased:
    """Take out of dbsync's own tables what is about a row, in one transaction; a dry run does it all and keeps nothing.

    Refuses while the row is in its table: whoever is to be forgotten is deleted by the application first. Never touches
    a change that waits or has no receipt. That it was done, on whose word, is written down without the key.
    """
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        _require_membership(connection)
        found = registered(config, connection)
        table = _known(found.registry, name)
        with translated("source"), connection.transaction(force_rollback=dry_run):
            living = key in find_rows(connection, table, found.catalog, [key])
            if living and not dry_run:
                raise Refusal(
                    f"{name} ({', '.join(map(str, key))}) is in its table still, and nothing was erased",
                    where=str(name),
                    why="the application deletes the row first: what is remembered of it would only grow again",
                    hint=f"dbsync erase {name} VALUE...   shows what is remembered meanwhile",
                )
            asked = _asked(found.registry, table, _spelled(connection, table.key, found.catalog, key))
            gone = tuple(_take_out(connection, asked))
            erased = Erased(
                gone=gone, stays=tuple(_left(connection, asked)), logged=_logged(connection, asked), living=living
            )
            _write_down(connection, name, erased, by)
    return erased


def places(tree: KeyTree, target: TableName, first: int = 1) -> Iterator[int]:
    """Give the leaves at which the key of another table's row begins in a key, counted from 1."""
    if tree.table == target:
        yield first
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            first += 1
        else:
            yield from places(part.target, target, first)
            first += part.target.width


def _require_membership(connection: psycopg.Connection) -> None:
    row = connection.execute(statement("erase", "may_write")).fetchone()
    assert row is not None
    member, role = row
    if not member:
        raise PrivilegeError(
            "this role may not change what dbsync remembers",
            where="source",
            why=f"{role} is no member of dbsync, to whom its tables belong",
            hint=sql.SQL("GRANT dbsync TO {};").format(sql.Identifier(role)).as_string(connection),
        )


def _known(registry: Registry, name: TableName) -> RegisteredTable:
    table = registry.tables.get(name)
    if table is None:
        raise UsageError(
            f"no key of {name} is known",
            where=str(name),
            why="no entry of dbsync.toml names the table",
            hint="dbsync tables --registered",
        )
    return table


def _spelled(connection: psycopg.Connection, tree: KeyTree, catalog: Catalog, key: Key) -> Key:
    """Write a key as it is remembered, ``7`` for ``007``: the ledgers hold it as text."""
    written = (_as_written(sql.Literal(value), leaf) for value, leaf in zip(key, _leaves(tree, catalog), strict=True))
    row = connection.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(written))).fetchone()
    assert row is not None
    return tuple(row)


def _leaves(tree: KeyTree, catalog: Catalog) -> Iterator[Column | None]:
    """Give the column of each leaf; none for a UUID that dbsync gave."""
    if tree.row_id:
        yield None
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            yield catalog.tables[tree.table].column(part.column)
        else:
            yield from _leaves(part.target, catalog)


def _as_written(value: Sql, leaf: Column | None) -> Sql:
    if leaf is None:
        return sql.SQL("({})::pg_catalog.uuid::pg_catalog.text").format(value)
    return text_sql(value_of(value, leaf), leaf)


def _asked(registry: Registry, table: RegisteredTable, key: Key) -> dict[str, Any]:
    """Say what is looked for, in the words of the statements."""
    begin = [
        (qualified(other.name), first) for other in registry.tables.values() for first in places(other.key, table.name)
    ]
    said = r"\s+".join(re.escape(str(value)) for value in key)
    return {
        "relation": qualified(table.name),
        "key": list(key),
        "relations": [relation for relation, _ in begin],
        "firsts": [first for _, first in begin],
        "value": key[0] if len(key) == 1 else None,
        "said": rf"(^|[^[:alnum:]_-]){said}(?![[:alnum:]_-])",
    }


def _take_out(connection: psycopg.Connection, asked: Mapping[str, Any]) -> Iterator[Trace]:
    whole = statement("erase", "whole_name")
    yield from _rows(connection, "case", "decided_cases", asked, about=_case_about())
    yield from _rows(connection, "conflict", "conflicts", asked, about=_runs_through())
    yield from _rows(connection, "difference", "differences", asked, about=_runs_through(whole), relation=whole)
    yield from _rows(connection, "list", "lists", asked)
    yield from _rows(connection, "deed", "deeds", asked)
    connection.execute(statement("erase", "backfills"))


def _left(connection: psycopg.Connection, asked: Mapping[str, Any]) -> Iterator[Trace]:
    yield from _rows(connection, "case", "waiting_cases", asked, about=_case_about())
    yield from _rows(connection, "list", "unsent_lists", asked)


def _runs_through(relation: Sql = _RELATION) -> Sql:
    return statement("erase", "runs_through").format(relation=relation)


def _case_about() -> Sql:
    return statement("erase", "case_about").format(runs_through=_runs_through())


def _rows(
    connection: psycopg.Connection, kind: str, name: str, asked: Mapping[str, Any], **parts: Sql
) -> Iterator[Trace]:
    query = statement("erase", name)
    for row in connection.execute(query.format(**parts) if parts else query, asked).fetchall():
        named = {"table": table_of(row[1]), "key": row[2]} if len(row) > 1 else {}
        yield Trace(kind=kind, id=row[0], **named)


def _logged(connection: psycopg.Connection, asked: Mapping[str, Any]) -> int:
    row = connection.execute(statement("erase", "logged"), asked).fetchone()
    assert row is not None
    return int(row[0])


def _write_down(connection: psycopg.Connection, name: TableName, erased: Erased, by: str | None) -> None:
    done = {
        "by": by,
        "command": f"dbsync erase {name} (erased) --yes",
        "result": f"{len(erased.gone)} erased, {len(erased.stays)} stay",
    }
    connection.execute(statement("erase", "write_down"), done)
