"""Rows that upstream has none of: what most large shares are, inserted without a look for what they may be. Pure.

A unique index on the key stands in for that look: where a row is there after all, or a reference finds nothing, or anything
else is in the way, the statement fails or inserts fewer rows than it should. Then all of it is undone, and the share is
written by the statement that looks (:mod:`dbsync.apply.write`). Of rows that were entered and changed again within the same
batch, as by whoever fills in a form and saves it twice, each goes in once, as its last change left it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace

from psycopg import sql

from dbsync.apply.share import Share
from dbsync.apply.typed import last_of_new, net, typed
from dbsync.apply.write import drawn_columns, insert_columns
from dbsync.keys.expression import Query, table_sql
from dbsync.model.batch import Op
from dbsync.model.registration import KeyColumn
from dbsync.statements import statement


def may_be_fresh(share: Share, ops: AbstractSet[Op]) -> bool:
    """Say whether a share may be tried so, if its rows are new: a unique index knows whether they are, and none is deleted."""
    return (
        not ops.isdisjoint({Op.INSERT, Op.BACKFILL})
        and Op.DELETE not in ops
        and not (share.renames or share.ordered or share.late or share.catch_up)
        and not any(reference.soft for _, reference, _ in share.references)
        and not (share.layout.keyed_by_row_id or drawn_columns(share))
        and has_unique_key(share)
    )


def fresh_statement(share: Share) -> Query:
    """Compose the insert of a share's rows whose references are all found; its row count tells how many they were."""
    new = replace(share, updates=False)  # nobody asks how a row was before
    return statement("apply", "insert_fresh").format(
        net=last_of_new(new) if share.reduce else net(new),
        typed=typed(new),
        bound=new.bound((), as_new=True),
        table=table_sql(share.table.name),
        order=sql.SQL(" ORDER BY b.first_seq" if share.reduce else ""),
        **insert_columns(new),
    )


def has_unique_key(share: Share) -> bool:
    """Say whether no two rows can have one key: a unique index, checked at once, on columns that are never null."""
    key: set[str] = set()
    for part in share.key.parts:
        key.update((part.column,) if isinstance(part, KeyColumn) else part.columns)
    if any(column is None or column.nullable for column in map(share.table.column, key)):
        return False
    at_once = [set(unique.columns) for unique in share.table.uniques if unique.immediate]
    if share.table.primary_key and share.table.primary_key_immediate:
        at_once.append(set(share.table.primary_key))
    return any(columns <= key for columns in at_once)
