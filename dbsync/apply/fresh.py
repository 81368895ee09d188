"""Rows that upstream has none of: what most large shares are, inserted without a look for what they may be. Pure.

A unique index on the key stands in for that look: where a row is there after all, or a reference finds nothing, or anything
else is in the way, the statement fails or inserts fewer rows than there are changes. Then all of it is undone, and the
share is written by the statement that looks (:mod:`dbsync.apply.write`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from dbsync.apply.share import Share
from dbsync.apply.typed import net, typed
from dbsync.apply.write import drawn_columns, insert_columns
from dbsync.keys.expression import Query, table_sql
from dbsync.model.batch import Op
from dbsync.model.registration import KeyColumn
from dbsync.statements import statement


def may_be_fresh(share: Share, ops: AbstractSet[Op]) -> bool:
    """Say whether a share may be tried so: new rows, each once, and a unique index that knows whether they are new."""
    return (
        ops <= {Op.INSERT, Op.BACKFILL}
        and not (share.reduce or share.renames or share.ordered or share.late or share.catch_up)
        and not any(reference.soft for _, reference, _ in share.references)
        and not (share.layout.keyed_by_row_id or drawn_columns(share))
        and has_unique_key(share)
    )


def fresh_statement(share: Share) -> Query:
    """Compose the insert of a share's rows whose references are all found; its row count tells how many they were."""
    columns = insert_columns(share)
    return statement("apply", "insert_fresh").format(
        net=net(share),
        typed=typed(share),
        bound=share.bound((), as_new=True),
        table=table_sql(share.table.name),
        **columns,
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
