"""What a batch passes on: transactions of nodes below its sender, which may come here by another way too.

A transaction is known by lineage, last number and moment, by whatever way it came. A tier that applies a batch whole, in
one transaction of its own, tells the tier above that the one holds the other. See docs/decisions/0017-two-ways.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import psycopg

from dbsync.model.batch import Header, Op
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.policy import OnConflict, OnDelete, Policies
from dbsync.statements import statement


def drop_known(connection: psycopg.Connection, header: Header) -> int:
    """Take transactions out of the stage that pass on nothing but what is here; give how many changes.

    Whoever applies holds the turns of all lineages that are passed on: nobody brings the same at the same moment.
    """
    if not header.passed:
        return 0
    return connection.execute(statement("passed", "drop_known"), _told(header)).rowcount


def record(connection: psycopg.Connection, header: Header) -> None:
    """Record what the staged transactions pass on, in the transaction that applies them."""
    if header.passed:
        connection.execute(statement("passed", "record"), {**_told(header), **_batch(header)})


def claim(connection: psycopg.Connection, header: Header, policies: Policies, newest_conflict: int) -> None:
    """Note which transaction here holds the whole batch, if one does; nothing of it may wait in quarantine.

    To be called at the end of the transaction that applied it. The claim is what makes the tier above leave out what it
    gets of the same node: where there is any doubt that all of it is passed on, there is none.
    """
    if _lets_deletes_be(header, policies):
        return
    captured = connection.execute(statement("passed", "captured")).fetchall()
    if not passes_on(header.layouts.values(), [Layout.read(definition) for _, definition in captured]):
        return
    if _may_lose(header, policies) and _has_lost(connection, header, newest_conflict):
        return
    connection.execute(statement("passed", "claim"), {**_batch(header), "tx": max(tx for tx, _ in captured)})


def passes_on(brought: Iterable[Layout], captured: Iterable[Layout]) -> bool:
    """Say whether what was captured is of the same tables as what was brought, with no column left out.

    A table that leaves nothing in the log may not be passed on from here; one that came in addition, by a trigger of the
    application, would be lost if the transaction were left out above.
    """
    here = _columns(captured)
    there = _columns(brought)
    return here.keys() == there.keys() and all(
        of_one <= of_other for table, found in there.items() for of_one in found for of_other in here[table]
    )


def _columns(layouts: Iterable[Layout]) -> Mapping[TableName, Sequence[frozenset[str]]]:
    found: dict[TableName, list[frozenset[str]]] = {}
    for layout in layouts:
        names = {name for name, _ in layout.columns}
        names.update(name for reference in layout.references for name in reference.columns)
        names.update(name for generic in layout.generics for name in (generic.type_column, generic.id_column))
        found.setdefault(layout.table, []).append(frozenset(names))
    return found


def _lets_deletes_be(header: Header, policies: Policies) -> bool:
    deleted = {header.layouts[count.layout].table for count in header.counts if count.op is Op.DELETE}
    return any(policies.of(table).on_delete is OnDelete.IGNORE for table in deleted)


def _may_lose(header: Header, policies: Policies) -> bool:
    rules = {policies.of(layout.table).on_conflict for layout in header.layouts.values()}
    return not rules.isdisjoint((OnConflict.UPSTREAM, OnConflict.NEWEST))


def _has_lost(connection: psycopg.Connection, header: Header, newest_conflict: int) -> bool:
    asked = {**_batch(header), "newest": newest_conflict}
    row = connection.execute(statement("passed", "decided_otherwise"), asked).fetchone()
    return row is None or bool(row[0])


def _batch(header: Header) -> dict[str, object]:
    return {
        "node": header.node, "incarnation": header.incarnation, "link": header.link, "number": header.number
    }  # fmt: skip


def _told(header: Header) -> dict[str, object]:
    """Give the transactions passed on as columns, one element for each."""
    told = [
        (passed.tx, passed.lineage, *transaction) for passed in header.passed for transaction in passed.transactions
    ]
    return dict(zip(("vias", "lineages", "transactions", "moments"), map(list, zip(*told, strict=True)), strict=True))
