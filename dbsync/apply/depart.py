"""Rows that are gone for good, and to which references without a constraint still point: each gets an id upstream. Pure.

A soft reference is told with the UUID that stands for its gone target, or by a key that no row upstream has; a generic one with such
a UUID behind the key. ``dbsync.row_key`` keeps which id that is, so that all who mean the row name the same
(docs/decisions/0010-soft-references.md, 0052-lines-about-what-is-gone.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from psycopg import sql

from dbsync.apply.share import Share
from dbsync.apply.typed import net, typed
from dbsync.keys.expression import Query, Sql, column_sql, qualified, text_array
from dbsync.model.layout import LayoutGeneric
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn
from dbsync.statements import statement


def depart_statements(share: Share) -> list[Query]:
    """Compose what gives the gone targets of soft and generic references an id upstream, before the share is written."""
    composed: list[Query] = []
    for place, reference, _ in share.references:
        target = reference.target.table
        if not reference.soft or target in share.late:
            continue
        unfound = sql.SQL("CASE WHEN {} IS NULL THEN {} END")
        composed += _depart(
            share,
            {qualified(target): _fresh_id(share, target, reference.target_columns[0])},
            relation=sql.Literal(qualified(target)),
            departed=unfound.format(share.anchor(reference, place), share.departed(reference, place)),
            joins=share.resolve(reference, place).joins,
            known=sql.SQL("NULL::pg_catalog.text"),
        )
    for place, generic, _ in share.generics:
        identity, joins = share.resolve_generic(generic, place)
        tables = [table for table in map(share.catalog.table, (t.table for t in generic.targets)) if table is not None]
        ids = {qualified(table.name): _fresh_id(share, table.name, table.primary_key[0]) for table in tables}
        told = dict(_told_ids(share, generic, place))
        composed += _depart(
            share,
            {relation: value or (sql.NULL if relation in told else None) for relation, value in ids.items()},
            relation=column_sql("y", f"gt{place}"),
            departed=column_sql("y", f"departed{place}"),
            joins=joins,
            known=sql.SQL("coalesce({})").format(sql.SQL(", ").join([identity, *told.values()])),
        )
    return composed


def _depart(share: Share, fresh: Mapping[str, Sql | None], *, joins: Iterable[Sql], **said: Sql) -> Iterator[Query]:
    """Compose what gives an id to each gone row of some tables that has none yet.

    ``fresh`` says how one is made in each table, None where it cannot be; ``said`` are the gone row's table, its UUID, and the id
    that it is known to have had.
    """
    can_be = {relation: value for relation, value in fresh.items() if value is not None}
    if not can_be:
        return
    cases = [sql.SQL("WHEN {} THEN {}").format(sql.Literal(relation), value) for relation, value in can_be.items()]
    yield statement("apply", "depart").format(
        net=net(share),
        typed=typed(share),
        joins=sql.SQL("\n").join(joins),
        relations=text_array([sql.Literal(relation) for relation in can_be]),
        fresh=sql.SQL("CASE gone.relation {} END").format(sql.SQL(" ").join(cases)),
        **said,
    )


def _fresh_id(share: Share, table: TableName, name: str) -> Sql | None:
    """Say how an id is made that no living row has, in a column or in the one that it goes on with; None where none can be."""
    seen: set[TableName] = set()
    while table not in seen:
        seen.add(table)
        there = share.catalog.table(table)
        column = None if there is None else there.column(name)
        if there is None or column is None:
            return None
        if column.sequence:
            return sql.SQL("pg_catalog.nextval({}::regclass)::pg_catalog.text").format(sql.Literal(column.sequence))
        if column.holds_uuid:
            return sql.SQL("gone.departed::pg_catalog.text")
        for key in there.foreign_keys:
            if key.columns == (name,):
                table, name = key.target, key.target_columns[0]
    return None


def _told_ids(share: Share, generic: LayoutGeneric, place: int) -> Iterator[tuple[str, Sql]]:
    """Say the ids of gone rows of those tables whose rows are known by them."""
    for i, tree in enumerate(generic.targets, start=1):
        table = share.catalog.table(tree.table)
        columns = tuple(part.column for part in tree.parts if isinstance(part, KeyColumn))
        if table is not None and columns == table.primary_key and len(tree.parts) == 1:
            leaf = column_sql("y", f"g{place}_{i}_1")
            only = sql.SQL("CASE WHEN {} = {} THEN {}::pg_catalog.text END")
            relation = qualified(tree.table)
            yield relation, only.format(column_sql("y", f"gt{place}"), sql.Literal(relation), leaf)
