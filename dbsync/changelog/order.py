"""Transactions put in their order, in which each row and each key could have become what it is.

What triggers of the application did comes behind the statement that fired them, a key leaves a row before another has it, and a
row is changed before it goes.
It is done in the log, once, before a batch is cut: whoever reads the transaction afterwards finds it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import psycopg

from dbsync.changelog.leaves import key_of
from dbsync.changelog.nested import Fired, Place, Step, places
from dbsync.keys.expression import qualified
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.statements import statement

Known = Callable[[list[int]], Mapping[int, Layout]]
"""Gives the layouts of these ids."""
AT_ONCE = 2_000
"""Lines that are held here at a time."""


def put_in_order(connection: psycopg.Connection, known: Known, *, for_good: bool = False) -> int:
    """Put the window's transactions in their order, in the caller's transaction; give the number of changes that moved.

    ``for_good``: no transaction of the window is ever looked at again, as they are about to be joined.
    """
    connection.execute(statement("order", "turn"))
    for step in ("make_nested", "clear_nested", "fill_nested"):
        connection.execute(statement("order", step))
    found = connection.execute(statement("order", "nested_layouts")).fetchall()
    layouts = known([row[0] for row in found])
    mixed = _name_rows(connection, [identity for identity, layout in layouts.items() if layout.keyed_by_row_id])
    at = places(_steps(connection, layouts, mixed), _fired(connection, layouts))
    return _deal_out(connection, at, settled={"mixed": sorted(mixed), "all": for_good})


def untangle(connection: psycopg.Connection, known: Known, several: list[int], batch: Mapping[str, int]) -> int:
    """Put what can only have come first there, in the caller's transaction; give the number of changes that moved.

    The parts of a WITH are captured when each has come to its end, which may be after the statement around it; a deferrable
    constraint lets two rows have one key for a while; and a statement's cascades are captured table by table, deletes first. So the
    log may have a key given before it was taken, or a row changed when it was gone. ``several`` are the layouts to look at,
    ``batch`` says after which seq the batch begins and which is its last.
    """
    connection.execute(statement("order", "turn"))
    for step in ("make_nested", "clear_nested"):
        connection.execute(statement("order", step))
    if not connection.execute(statement("order", "fill_several"), {**batch, "layouts": several}).rowcount:
        return 0
    layouts = known(several)
    query = statement("order", "overtaken").format(
        key=key_of(layouts, image="c.image", refs="c.refs"),
        old_key=key_of(layouts, image="c.old_image", refs="coalesce(c.old_refs, c.refs)"),
    )
    through = [
        (i, qualified(table)) for i, layout in layouts.items() if layout.key for table in set(layout.key.through())
    ]
    asked = {"layouts": several, "of": [i for i, _ in through], "through": [relation for _, relation in through]}
    at: dict[int, Place] = {}
    for run, before in connection.execute(query, asked).fetchall():
        at[run] = (*at.get(before, ()), before, -run)
    return _deal_out(connection, at, settled={"mixed": [], "all": False}) if at else 0


def _deal_out(connection: psycopg.Connection, at: Mapping[int, Place], *, settled: Mapping[str, object]) -> int:
    asked = {"runs": list(at), "places": ["{" + ",".join(map(str, place)) + "}" for place in at.values()]}
    connection.execute(statement("order", "move"), asked)
    row = connection.execute(statement("order", "put_in_order"), settled).fetchone()
    assert row is not None
    return int(row[0])


def _name_rows(connection: psycopg.Connection, layouts: list[int]) -> set[str]:
    """Tell the UUIDs of rows that had none yet when a trigger changed them; give the transactions with such changes."""
    if not layouts:
        return set()
    rows = connection.execute(statement("order", "unnamed"), {"layouts": layouts}).fetchall()
    if rows:
        asked = {"layouts": layouts, "xids": [row[0] for row in rows]}
        connection.execute(statement("order", "name_rows"), asked)
    return {row[0] for row in rows}


def _steps(connection: psycopg.Connection, layouts: Mapping[int, Layout], mixed: set[str]) -> Iterator[Step]:
    """Read what statements of different depths did to the same rows and keys; ``mixed`` are their transactions."""
    query = statement("order", "chains").format(
        key=key_of(layouts, image="c.image", refs="c.refs"),
        old_key=key_of(layouts, image="c.old_image", refs="coalesce(c.old_refs, c.refs)"),
    )
    with connection.cursor("dbsync_chains") as cursor:
        cursor.itersize = AT_ONCE
        for *found, was, becomes, was_refs, becomes_refs in cursor.execute(query):
            xid, relation, slot, is_key, seq, depth, op, run, ends_in = found
            mixed.add(xid)
            yield Step(
                xid=xid,
                relation=relation,
                slot=slot,
                is_key=is_key,
                seq=seq,
                depth=depth,
                op=op,
                run=run,
                ends_in=tuple(ends_in or ()),
                was=None if was is None else (was, was_refs),
                becomes=None if becomes is None else (becomes, becomes_refs),
            )


def _fired(connection: psycopg.Connection, layouts: Mapping[int, Layout]) -> Fired:
    """Decide by the table's own triggers, and by whether an inserted row is there, what its values leave open."""
    tables = {qualified(layout.table): layout.table for layout in layouts.values()}

    @cache
    def triggers(relation: str) -> tuple[bool, bool, bool]:
        row = connection.execute(statement("order", "own_triggers"), _named(tables[relation])).fetchone()
        return (False, False, False) if row is None else (row[0], row[1], row[2])

    def fired(outer: Step, _: Step) -> bool:
        after, before_insert, gives_ids = triggers(outer.relation)
        if not after or outer.op != "I" or not before_insert:
            return after
        asked = {**_named(tables[outer.relation]), "local_id": outer.slot}
        row = connection.execute(statement("order", "is_there"), asked).fetchone()
        return gives_ids if row is None else not row[0]

    return fired


def _named(table: TableName) -> dict[str, str]:
    return {"schema": table.schema, "table": table.name}
