"""Cutting a span into segments: what can be written by one pass over the tables, without one change undoing another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import psycopg
from psycopg import sql

from dbsync.apply.load import Load
from dbsync.apply.span import Span
from dbsync.keys.expression import Query
from dbsync.model.batch import Count, Op
from dbsync.statements import statement


def segments(
    connection: psycopg.Connection, load: Load, span: Span, counts: Sequence[Count], *, by_origin: bool
) -> list[Span]:
    """Cut a span where a key is renamed, a table's layout or its rows' coming and going changes, or the first origin does."""
    tables: dict[object, set[int]] = {}
    for count in counts:
        tables.setdefault(load.layouts[count.layout].table, set()).add(count.layout)
    changing = [ids for ids in tables.values() if len(ids) > 1]
    going = _coming_and_going(counts) if load.may_be_known else []
    if not changing and not going and not by_origin and not any(count.renames for count in counts):
        return [span]
    connection.execute(statement("apply", "index_stage"))
    query = statement("apply", "segments").format(
        range=span.condition(),
        begins=_begins(span, changing, going),
        by_origin=sql.Literal(by_origin),
    )
    found: list[Span] = []
    low = span.low
    for place, renames, origin in connection.execute(query).fetchall():
        found.append(Span(low=low, high=place, renames=renames, origin=origin))
        low = place
    return found


def count_staged(connection: psycopg.Connection, span: Span) -> tuple[Count, ...]:
    """Count the staged changes of a span by layout and kind."""
    rows = connection.execute(statement("apply", "counts").format(range=span.condition())).fetchall()
    return tuple(Count(layout=layout, op=Op(op), changes=n, renames=r) for layout, op, n, r in rows)


def by_layout(counts: Sequence[Count]) -> dict[int, Counter[Op]]:
    """Give the number of each layout's changes of each kind."""
    kinds: dict[int, Counter[Op]] = {}
    for count in counts:
        kinds.setdefault(count.layout, Counter())[count.op] += count.changes
    return kinds


def _begins(span: Span, changing: Sequence[set[int]], going: Sequence[int]) -> Query:
    """Say which changes begin a run of their own.

    ``changing`` are the layouts of each table that has several, ``going`` those of which rows come and go.
    """
    conditions: list[Query] = [sql.SQL("false")]
    if changing:
        conditions.append(
            statement("apply", "begins_with_a_layout").format(
                range=span.condition("t"),
                range_of_first=span.condition("f"),
                layouts=sql.Literal([layout for layouts in changing for layout in sorted(layouts)]),
                tables=sql.Literal([number for number, layouts in enumerate(changing) for _ in layouts]),
            )
        )
    if going:
        conditions.append(statement("apply", "begins_with_what_it_takes").format(going=sql.Literal(list(going))))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def _coming_and_going(counts: Sequence[Count]) -> list[int]:
    """List the layouts of which rows come and rows go.

    A row of which one transaction says that it came, and another one that it is gone, was never there if both are taken
    together. One that was restored may have told before that it came: then the second takes away what is there.
    """
    kinds = by_layout(counts)
    return sorted(i for i, ops in kinds.items() if Op.DELETE in ops and ops.keys() & {Op.INSERT, Op.BACKFILL})
