"""``verify`` where no line goes: begun, gone on with, and told, one visit of a stick or a relay after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from dbsync import schema
from dbsync.bundle import files, sealed
from dbsync.bundle.find import Left
from dbsync.bundle.names import Kind
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import Interrupted, NotAdmitted, Refusal, UsageError
from dbsync.identity import registry
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service import relays
from dbsync.service.backlog import count_pending
from dbsync.service.comparing import COMPARISON, repair
from dbsync.service.comparison import Comparison, Found, Standing, Store
from dbsync.service.export import export
from dbsync.verify.comparison import fair_shares
from dbsync.verify.report import ColumnDifference, Difference, Report, TableReport
from dbsync.verify.report import Kind as Differs

LOOK = 0.2
"""Seconds between two looks at what the service does with the stick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants of a comparison."""

    patterns: tuple[str, ...] = ()
    ignore_extra: bool = False
    repair: bool = False
    anew: bool = False
    """Begin another one, whatever came of the last."""
    last: bool = False
    """Tell the last report once more."""
    size: int = 500_000
    """Bytes of a question about large tables, about."""
    limit: int = 20
    """So many differing rows are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a comparison stands."""

    comparison: Comparison
    report: Report
    """What is known by now; everything where it is settled."""
    unsettled: int
    """Rows that were said to differ and are asked about once more."""
    open: int
    """Tables that are asked about."""
    pending: int | None
    left: tuple[Left, ...] = ()

    @property
    def settled(self) -> bool:
        """Say whether the report is whole."""
        return self.comparison.settled_at is not None


def compare(config: Config, folder: Path | None, wish: Wish, *, wait: Callable[[], None]) -> Told:
    """Begin a comparison, or go on with the one that is under way, as far as the stick in ``folder`` leads; tell how it stands.

    A report is told once; then the next call begins another one, unless it is to repair what the last one found. ``wait`` is called
    when the service has the stick in hand. Raises Unreachable where a stick is needed and none is in.
    """
    stick = folder if folder is not None else _own_folder(config)
    with _store(config) as store:
        comparison = _gone_on_with(store, wish, lambda: _expect(stick))
        left: tuple[Left, ...] = ()
        if comparison.settled_at is None:
            left = _visit(config, stick, store, wait)
        return _told(config, store, wish, left)


def compare_by_relay(config: Config, wish: Wish) -> Told:
    """Begin a comparison, or go on with the one that is under way, as far as the relays in reach lead; tell how it stands.

    Where none is, the question leaves with the first that comes, by the service or through the outbox.
    """
    with _store(config) as store:
        comparison = _gone_on_with(store, wish, lambda: None)
        if comparison.settled_at is None and config.relays:
            with suppress(Interrupted):  # the service has the link in hand, and visits them
                relays.visit(config)
            _refuse(store, ())
        return _told(config, store, wish, ())


def _own_folder(config: Config) -> Path:
    if config.upstream.route is not Route.FILE:
        raise UsageError("which folder is the stick?", hint="dbsync verify --stick DIR")
    return config.upstream.folder


@contextmanager
def _store(config: Config) -> Iterator[Store]:
    label = config.upstream.label
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with translated("source"):
            if registry.pinned(source, label) is None:
                raise NotAdmitted(
                    f"the keys of {label} are not known here",
                    where="source",
                    why="a question is sealed for its destination alone, and its answer signed by it",
                    hint="dbsync enrol URL CODE   (with the code that dbsync nodes invite printed there)",
                )
        yield Store(connection=source, link=label)


def _gone_on_with(store: Store, wish: Wish, expect: Callable[[], None]) -> Comparison:
    """Give the comparison that is to be gone on with, begun if need be; the last report stays where ``expect`` says why not."""
    with translated("source"):
        found = store.read()
        if wish.last:
            if found is None or found.settled_at is None:
                raise Refusal("there is no report yet", where="source", hint="dbsync verify")
            return found
        if found is None or _is_over(found, wish):
            expect()
            store.begin(wish.patterns, ignore_extra=wish.ignore_extra, size=wish.size, repair=wish.repair)
        elif wish.repair and not found.repair:
            store.want_repair()
        begun = store.read()
    assert begun is not None
    return begun


def _is_over(found: Comparison, wish: Wish) -> bool:
    """Say whether a comparison is another one than is wanted now, or has nothing more to tell."""
    if wish.anew or (wish.patterns and wish.patterns != found.patterns):
        return True
    may_repair = wish.repair and found.repaired is None
    return found.settled_at is not None and found.told_at is not None and not may_repair


def _visit(config: Config, folder: Path, store: Store, wait: Callable[[], None]) -> tuple[Left, ...]:
    """Do with the stick what is to be done, or let the service do it that has it in hand."""
    while True:
        _expect(folder)
        try:
            left = export(config, folder).left
        except Interrupted:
            if config.upstream.route is not Route.FILE or folder != config.upstream.folder:
                raise
        else:
            _refuse(store, left)
            return left
        wait()
        if _is_done(config, folder, store):
            return ()


def _expect(folder: Path) -> None:
    if not _is_in(folder):
        raise files.Gone(
            "no stick is in",
            where=str(folder),
            why="this folder is not there",
            hint="put the stick in, then: dbsync verify   (on a new stick make the folder first)",
        )


def _is_in(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # it is being pulled
        return False


def _is_done(config: Config, folder: Path, store: Store) -> bool:
    """Wait a little for the service; say whether it has done with the stick what is to be done. Raises Refusal where it cannot."""
    node = config.node.name
    for _ in range(25):
        with translated("source"):
            comparison, paused = store.read(), _is_paused(store.connection)
        assert comparison is not None
        if comparison.settled_at is not None:
            return True
        if comparison.trouble is not None:
            raise _trouble(comparison.trouble)
        if paused:
            raise Refusal("shipping is paused", where=config.upstream.label, hint="dbsync resume")
        if not _is_in(folder):
            return False
        questions, answers = (
            {name.id for name in sealed.found(folder, kind, node)} for kind in (Kind.QUESTION, Kind.ANSWER)
        )
        if comparison.question in questions - answers:
            return True
        time.sleep(LOOK)
    return False


def _is_paused(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT paused_since IS NOT NULL FROM dbsync.node").fetchone()
    return row is not None and bool(row[0])


def _refuse(store: Store, left: Sequence[Left]) -> None:
    """Raise what was in the way of the comparison."""
    for one in left:
        if one.name == COMPARISON:
            raise _trouble(one.why, one.hint)
    with translated("source"):
        comparison = store.read()
    if comparison is not None and comparison.trouble is not None:
        raise _trouble(comparison.trouble)


def _trouble(why: str, hint: str = "") -> Refusal:
    return Refusal("the comparison does not go on", where="verify", why=why, hint=hint or "dbsync check")


def _told(config: Config, store: Store, wish: Wish, left: tuple[Left, ...]) -> Told:
    with translated("source"):
        comparison = store.read()
        assert comparison is not None
        if comparison.settled_at is not None:
            if wish.repair and comparison.repaired is None:
                repair(config, store)
            store.note_told()
        comparison = store.read()
        assert comparison is not None
        tables, counts = store.tables(), store.counts()
        found = report(store, tables, counts, wish.limit)
        waiting = count_pending(store.connection, store.link)
    unsettled = sum(n for of_table in counts.values() for (_, settled), n in of_table.items() if not settled)
    return Told(
        comparison=comparison,
        report=found,
        unsettled=unsettled,
        open=len(comparison.asked) if comparison.question else 0,
        pending=waiting,
        left=left,
    )


def report(
    store: Store, tables: dict[TableName, Standing], counts: dict[TableName, dict[tuple[Found, bool], int]], limit: int
) -> Report:
    """Say what is known: the counts of all tables, and the first rows that differ."""
    reports = [_table(standing, counts.get(name, {})) for name, standing in tables.items()]
    shares = fair_shares([one.missing + one.different for one in reports], limit)
    listed = (
        Difference(
            table=one.table,
            kind=Differs.DIFFERENT if found is Found.DIFFERENT else Differs.MISSING,
            key=key,
            captured=found is not Found.UNCAPTURED,
            columns=tuple(ColumnDifference(column=column) for column in columns),
        )
        for one, share in zip(reports, shares, strict=True)
        for found, key, columns in store.first(one.table, share)
    )
    return Report(tables=tuple(reports), differences=tuple(listed))


def _table(standing: Standing, counts: dict[tuple[Found, bool], int]) -> TableReport:
    missing, different, uncaptured = (
        counts.get((found, True), 0) for found in (Found.MISSING, Found.DIFFERENT, Found.UNCAPTURED)
    )
    return TableReport(
        table=standing.table,
        source_rows=standing.source_rows,
        upstream_rows=standing.upstream_rows,
        missing=missing + uncaptured,
        extra=standing.extra,
        different=different,
        unnamed=standing.extra,
        not_captured=uncaptured,
        other_origin=standing.other_origin,
        missing_columns=standing.missing_columns,
        notes=standing.notes,
        problem=standing.problem,
    )
