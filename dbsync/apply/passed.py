"""What a batch passes on: transactions of nodes below its sender, which may come here by another way too.

A transaction is known by lineage, last number and moment, by whatever way it came. A tier that applies a batch, in one
transaction of its own, tells the tier above that the one holds the other, or which part of it. See
docs/decisions/0017-two-ways.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import psycopg
from psycopg import sql

from dbsync.apply.names import own_key
from dbsync.keys.expression import qualified
from dbsync.model.batch import Header, Op
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.policy import OnDelete, Policies
from dbsync.statements import statement

MOST_KEPT = 10_000
"""Changes of a batch that a header tells of one by one."""

Columns = Mapping[TableName, Sequence[frozenset[str]]]
"""Of each table the columns of each of its layouts."""


def drop_known(connection: psycopg.Connection, header: Header) -> int:
    """Take transactions out of the stage that pass on nothing but what is here; give how many changes.

    What its sender says is to be kept of them stays. Whoever applies holds the turns of all lineages that are passed on:
    nobody brings the same at the same moment.
    """
    if not header.passed:
        return 0
    asked = {**_told(header), "kept": list(header.kept)}
    return connection.execute(statement("passed", "drop_known"), asked).rowcount


def record(connection: psycopg.Connection, header: Header) -> None:
    """Record what the staged transactions pass on, in the transaction that applies them."""
    if header.passed:
        connection.execute(statement("passed", "record"), {**_told(header), **_batch(header)})


def claim(
    connection: psycopg.Connection,
    header: Header,
    layouts: Iterable[Layout],
    policies: Policies,
    newest_conflict: int,
    *,
    held: bool,
) -> None:
    """Note which transaction here holds the batch, and whether all of it; ``held``: something of it waits in quarantine.

    ``layouts`` are the batch's, with columns called as they are here.

    To be called at the end of the transaction that applied it. What is claimed as a whole the tier above leaves out where it
    has the same of the same node: where there is any doubt that all of it is passed on, it is claimed as a part. A part is left
    out only where it came from here before.
    """
    captured = connection.execute(statement("passed", "captured")).fetchall()
    if not captured:
        return
    own = {identity: Layout.read(definition) for identity, _, definition in captured}
    brought, written = _columns(layouts), _columns(own.values())
    unwritten = _unwritten(connection, brought.keys() - written.keys())
    added = sorted(qualified(table) for table in written.keys() - brought.keys())
    lacks = [
        *lacking(brought, {**_columns(unwritten), **written}),
        *_let_be(header, policies),
        *map("added {}".format, added),
    ]
    asked = {
        **_batch(header),
        "tx": max(tx for _, tx, _ in captured),
        "relations": [qualified(table) for table in written],
        "newest": newest_conflict,
        "held": held,
        "lacks": lacks,
    }
    row = connection.execute(statement("passed", "claim"), asked).fetchone()
    if added or (row is not None and row[0]):
        _note_overruling(connection, header, own, newest_conflict, added)


def lacking(brought: Columns, captured: Columns) -> list[str]:
    """Name the columns that were brought and are not captured here: of a table that is not, all of them."""
    found = {
        f"{qualified(table)}.{column}"
        for table, layouts in brought.items()
        for of_one in layouts
        for of_other in captured.get(table, [frozenset()])
        for column in of_one - of_other
    }
    return sorted(found)


def _unwritten(connection: psycopg.Connection, tables: Set[TableName]) -> list[Layout]:
    """Give what would have been captured of tables of which nothing was: of some a batch may come to nothing."""
    if not tables:
        return []
    asked = {"relations": [qualified(table) for table in tables]}
    rows = connection.execute(statement("passed", "unwritten"), asked).fetchall()
    return [Layout.read(definition) for (definition,) in rows]


def _note_overruling(
    connection: psycopg.Connection,
    header: Header,
    captured: Mapping[int, Layout],
    newest_conflict: int,
    added: Sequence[str],
) -> None:
    """Note which of the captured changes are of rows that won over what was here: once restored, this server sends them up again."""
    own_keys = [
        statement("passed", "own_keys").format(
            relation=sql.Literal(qualified(layout.table)), key=own_key(layout), layout=sql.Literal(identity)
        )
        for identity, layout in captured.items()
    ]
    said = {**_batch(header), "newest": newest_conflict, "most": MOST_KEPT, "added": list(added)}
    connection.execute(statement("passed", "by_index"))
    connection.execute(
        statement("passed", "note_overruling").format(
            captured=sql.SQL(" UNION ALL ").join(own_keys), **{name: sql.Literal(value) for name, value in said.items()}
        )
    )


def _columns(layouts: Iterable[Layout]) -> Columns:
    found: dict[TableName, list[frozenset[str]]] = {}
    for layout in layouts:
        names = {name for name, _ in layout.columns}
        names.update(name for reference in layout.references for name in reference.columns)
        names.update(name for generic in layout.generics for name in (generic.type_column, generic.id_column))
        found.setdefault(layout.table, []).append(frozenset(names))
    return found


def _let_be(header: Header, policies: Policies) -> list[str]:
    """Name the tables of which something was deleted that stays here."""
    deleted = {header.layouts[count.layout].table for count in header.counts if count.op is Op.DELETE}
    return sorted(f"deletes {qualified(table)}" for table in deleted if policies.of(table).on_delete is OnDelete.IGNORE)


def _batch(header: Header) -> dict[str, object]:
    return {
        "node": header.node, "incarnation": header.incarnation, "link": header.link, "number": header.number
    }  # fmt: skip


def _told(header: Header) -> dict[str, object]:
    """Give the transactions passed on as columns, one element for each."""
    told = [
        (passed.tx, passed.lineage, passed.whole, *transaction)
        for passed in header.passed
        for transaction in passed.transactions
    ]
    names = ("vias", "lineages", "wholes", "transactions", "moments")
    return dict(zip(names, map(list, zip(*told, strict=True)), strict=True))
