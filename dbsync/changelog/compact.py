"""Compaction: the backlog reduced to the last state of each row, in the log, before it is shipped.

A *plain* update, of columns that no other row hangs on, is told by the change of the same row before it. Whatever rows
hang together by - inserts, deletes, keys, references, unique columns - keeps its place. So every change can still be
applied in its order, and the upstream ends the same. See docs/decisions/0013-retention.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from dbsync.changelog.order import put_in_order, untangle
from dbsync.changelog.purge import is_at_home
from dbsync.changelog.stitch import stitch, unstitched
from dbsync.errors import Interrupted, Refusal
from dbsync.keys.expression import qualified
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.pooling import need
from dbsync.statements import statement

LOOK_AGAIN = 0.1
"""Seconds between two looks at writers that have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What compaction did, or would do."""

    changes_before: int
    changes_after: int
    transactions_before: int
    transactions_after: int
    gone: Mapping[str, int]
    """Changes told by others, by ``schema.table``."""


class _Rehearsed(Exception):
    """Nothing is kept of a rehearsal."""


def compact(
    connection: psycopg.Connection,
    link: str,
    wanted: Callable[[TableName], bool] = lambda _: True,
    *,
    patience: float = 30.0,
    rehearse: bool = False,
) -> Compacted:
    """Compact what no link has been sent, on a session of its own (autocommit); in one transaction, or not at all.

    Waits ``patience`` seconds for those who ship and for writers that have not ended; raises Interrupted if they do not.
    What is written meanwhile is left alone. With ``rehearse`` nothing is changed.
    """
    if not is_at_home(connection):
        raise Refusal(
            "this database is a copy, or was reloaded, and has not met its upstream since",
            where="source",
            hint="dbsync run   (finds out what the upstream has), then again",
        )
    prepare(connection)
    _claim(connection, link, patience)
    last = _quiet_point(connection, patience)
    found: Compacted | None = None
    try:
        with connection.transaction():
            found = _compact(connection, wanted, last)
            if rehearse:
                raise _Rehearsed
    except _Rehearsed:
        pass
    assert found is not None
    if not rehearse and found.gone:
        connection.execute(statement("retention", "vacuum_all"))
    return found


def prepare(connection: psycopg.Connection) -> None:
    """Make a session one that works on the change log."""
    need(connection, "changelog", "session")
    need(connection, "session", "promise")


def _claim(connection: psycopg.Connection, link: str, patience: float) -> None:
    """Take every link, as those who ship do: nobody reads while the log is rewritten."""
    links = {name for (name,) in connection.execute(statement("retention", "links")).fetchall()}
    for name in sorted(links | {link}):
        try:
            with connection.transaction():
                wait = {"link": name, "patience": f"{max(1, round(patience * 1000))}ms"}
                connection.execute(statement("changelog", "claim"), wait)
        except errors.LockNotAvailable as error:
            raise Interrupted(
                f"another dbsync ships the link {name} now",
                where="source",
                why="the backlog is not rewritten while it is read",
                hint="stop the service first, or set compact_over in [retention]: then it compacts by itself",
            ) from error


def _quiet_point(connection: psycopg.Connection, patience: float) -> int:
    """Give a seq up to which every transaction has ended: none that comes later can belong among them.

    A transaction draws its numbers while it holds a lock on the log, and lets go of it at its end.
    """
    row = connection.execute(statement("retention", "last_seq")).fetchone()
    assert row is not None
    awaited = _writers(connection)
    end = time.monotonic() + patience
    while left := {name: pid for name, pid in _writers(connection).items() if name in awaited or pid is None}:
        if time.monotonic() >= end:
            raise Interrupted(
                f"{len(left)} transactions that wrote captured tables have not ended",
                where="source",
                why=f"they may still change the rows of the backlog (processes {_listed(left.values())})",
                hint="end them, or type the same again when they have",
            )
        time.sleep(LOOK_AGAIN)
    return int(row[0])


def _writers(connection: psycopg.Connection) -> dict[str, int | None]:
    return dict(connection.execute(statement("retention", "writers")).fetchall())


def _listed(processes: object) -> str:
    assert hasattr(processes, "__iter__")
    return ", ".join(sorted({"prepared" if pid is None else str(pid) for pid in processes}))


def _compact(connection: psycopg.Connection, wanted: Callable[[TableName], bool], last: int) -> Compacted:
    connection.execute(statement("changelog", "make_window"))
    connection.execute(statement("changelog", "empty_window"))
    connection.execute(statement("retention", "fill_backlog"), {"last": last})
    layouts = {
        identity: Layout.read(definition)
        for identity, definition in connection.execute(statement("retention", "backlog_layouts")).fetchall()
    }
    _stitch(connection, layouts, last)
    _find_folds(connection, {identity: layout for identity, layout in layouts.items() if wanted(layout.table)})
    found = _measure(connection)
    _rewrite(connection)
    connection.execute(statement("changelog", "empty_window"))
    return found


def _stitch(connection: psycopg.Connection, layouts: Mapping[int, Layout], last: int) -> None:
    """Do what the reader does before a cut: afterwards the transactions may be others."""

    def known(ids: Sequence[int]) -> Mapping[int, Layout]:
        return {identity: layouts[identity] for identity in ids}

    waiting, nested = unstitched(connection)
    if nested:
        put_in_order(connection, known, for_good=True)
    if waiting:
        beside = [row[0] for row in connection.execute(statement("changelog", "siblings")).fetchall()]
        stitch(connection, layouts, waiting, beside)
    untangle(connection, known, list(layouts), {"after": 0, "last": last})


def _find_folds(connection: psycopg.Connection, layouts: Mapping[int, Layout]) -> None:
    bound = {
        TableName(schema, table): frozenset(columns)
        for schema, table, columns in connection.execute(statement("retention", "bound_columns")).fetchall()
    }
    targets = _targets(connection)
    said = [
        {
            "layout": identity,
            "relation": qualified(layout.table),
            "bound": [p for p, (name, _) in enumerate(layout.columns, 1) if name in bound.get(layout.table, ())],
            "leaf": layout.table not in targets,
        }
        for identity, layout in layouts.items()
    ]
    connection.execute("SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_seqscan', 'on', true)")
    connection.execute(statement("retention", "make_transactions"))
    connection.execute(statement("retention", "make_chains").format(layouts=sql.Literal(Jsonb(said))))
    connection.execute(statement("retention", "analyze_chains"))
    for step in ("leave_broken", "make_folds", "make_gone", "index_gone", "make_islands", "analyze_folds"):
        connection.execute(statement("retention", step))


def _rewrite(connection: psycopg.Connection) -> None:
    told = connection.execute(statement("retention", "tell")).fetchone()
    assert told is not None
    if told[0] != told[1]:
        raise Refusal("the backlog is not what it was a moment ago", where="source", why="nothing of it was compacted")
    connection.execute(statement("retention", "drop_told"))
    connection.execute(statement("retention", "join_transactions"))


def _targets(connection: psycopg.Connection) -> frozenset[TableName]:
    """Give the tables that any row may point to, by a reference of any layout there ever was or by a foreign key."""
    found = {TableName(*names) for names in connection.execute(statement("retention", "pointed_to")).fetchall()}
    for (definition,) in connection.execute(statement("retention", "all_layouts")).fetchall():
        layout = Layout.read(definition)
        for tree in [*(r.target for r in layout.references), *(t for g in layout.generics for t in g.targets)]:
            found.update((tree.table, *tree.through()))
    return frozenset(found)


def _measure(connection: psycopg.Connection) -> Compacted:
    size = connection.execute(statement("retention", "backlog_size")).fetchone()
    left = connection.execute(statement("retention", "transactions_left")).fetchone()
    assert size is not None
    assert left is not None
    gone: dict[str, int] = dict(connection.execute(statement("retention", "gone_by_table")).fetchall())
    return Compacted(
        changes_before=size[0],
        changes_after=size[0] - sum(gone.values()),
        transactions_before=size[1],
        transactions_after=left[0],
        gone=gone,
    )
