"""Rows that upstream has as the source last saw them: what most large updates are about. Pure.

Of such a change only what it changed is read, and the row is found and written in one go. Where upstream holds anything
else in one of those columns, or has no such row, it is left as it is, and the row count tells. Then all of it is undone,
and the share is written by the statement that judges (:mod:`dbsync.apply.write`).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from psycopg import sql

from dbsync.apply.fresh import has_unique_key
from dbsync.apply.share import RANGE, Share
from dbsync.apply.typed import net, typed
from dbsync.keys.expression import Query, Sql, column_sql, table_sql
from dbsync.model.batch import Op
from dbsync.model.catalog import Column
from dbsync.statements import statement


def may_be_edited(share: Share, ops: AbstractSet[Op]) -> bool:
    """Say whether a share may be tried so: updates, each row once, and a unique index by which each is one row."""
    return (
        ops == {Op.UPDATE}
        and not (share.reduce or share.renames or share.ordered or share.late or share.catch_up)
        and not any(column.always for _, column in share.values)
        and (share.layout.keyed_by_row_id or has_unique_key(share))
        and bool(_asked(share))
    )


def edits(share: Share) -> Query:
    """Compose the question which columns a share changes; it answers whether more than values, and one boolean a column."""
    differ = sql.SQL("bool_or(n.old_image[{0}] IS DISTINCT FROM n.image[{0}])")
    return statement("apply", "edits").format(
        columns=sql.SQL(", ").join(differ.format(sql.Literal(place)) for place, _ in _asked(share)),
        layout=sql.Literal(share.identity),
        range=RANGE,
    )


def edited_columns(share: Share, told: Sequence[bool]) -> frozenset[str]:
    """Give the columns that a share edits, as :func:`edits` told; none where it does more than edit them."""
    more, *changed = told
    if more:
        return frozenset()
    return frozenset(column.name for (_, column), says in zip(_asked(share), changed, strict=True) if says)


def edited_statement(share: Share) -> Query:
    """Compose the update of a share whose ``edited`` columns are known; its row count tells how many rows it took."""
    found = [join for place, reference, _ in share.references for join in share.resolve(reference, place).joins]
    joins, same_row = share.own_row("t")
    columns = [(place, column) for place, column in share.values if column.name in (share.edited or ())]
    changed = [share.differs("y", place) for place, _ in columns]
    return statement("apply", "update_edited").format(
        net=net(share),
        typed=typed(share),
        table=table_sql(share.table.name),
        assignments=sql.SQL(", ").join(_assignment(share, place, column) for place, column in columns),
        joins=sql.SQL("\n").join([*found, *joins]),
        same_row=sql.SQL(" AND ").join(same_row),
        changed=sql.SQL(" OR ").join(changed),
        untouched=sql.SQL(" AND ").join(_untouched(share, place, column) for place, column in columns),
    )


def _asked(share: Share) -> list[tuple[int, Column]]:
    """Give the columns that may be written on a row that is there, each with its place."""
    return [
        (place, column)
        for place, column in share.values
        if not column.generated and column.name not in share.layout.insert_only
    ]


def _assignment(share: Share, place: int, column: Column) -> Sql:
    return sql.SQL("{name} = CASE WHEN {changed} THEN {value} ELSE {current} END").format(
        name=sql.Identifier(column.name),
        changed=share.differs("y", place),
        value=column_sql("y", f"v{place}"),
        current=column_sql("t", column.name),
    )


def _untouched(share: Share, place: int, column: Column) -> Sql:
    """Say that upstream holds what the source changed, as the column keeps it: rounded and padded where it does that."""
    return sql.SQL(
        "(NOT {changed} OR NOT pg_catalog.record_image_ne(ROW(({current})::{type}), ROW(({before})::{type})))"
    ).format(
        changed=share.differs("y", place),
        current=column_sql("t", column.name),
        before=share.was("y", place, column),
        type=sql.SQL(column.type),  # from the catalog
    )
