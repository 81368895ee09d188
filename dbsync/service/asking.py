"""Writing a question onto a stick: about the source at the moment up to which the stick has its batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from uuid import uuid4

import psycopg
import structlog

from dbsync.bundle import sealed
from dbsync.bundle.names import Kind, SealedName
from dbsync.errors import Interrupted
from dbsync.identity.keys import Keys
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import translated
from dbsync.service.chosen import selected
from dbsync.service.comparison import Ask, Asked, Comparison, Found, Row, Standing, Store
from dbsync.service.held import HeldLink
from dbsync.statements import statement
from dbsync.verify.asking import Prepared, Source
from dbsync.verify.paper import Again, Question
from dbsync.verify.side import encoding_of
from dbsync.verify.sketch import Item

AGAIN = 5_000
"""Rows of one table that are asked about one by one; more of them are asked about with all others."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The source as it was when a stick came in, to be asked about when its batches are on that."""

    held: HeldLink
    keys: Keys
    store: Store
    comparison: Comparison
    tables: Mapping[TableName, Standing]
    source: psycopg.Connection
    """In a snapshot."""
    registry: Registry
    stop: Callable[[], bool]

    @property
    def until(self) -> str:
        """Give the snapshot, as a window of the change log may end with it."""
        return self._moment[1]

    @cached_property
    def _moment(self) -> tuple[datetime, str]:
        with translated("source"):
            row = self.source.execute(statement("comparison", "moment")).fetchone()
        assert row is not None
        return row[0], row[1]

    def write(self) -> None:
        """Write the question: with the newest batch that has left by now the upstream has all that it is about."""
        wanted = self._wanted()
        seen = Source.seen(self.source, [self.registry.tables[name] for name in wanted.names], self.comparison.upstream)
        prepared = []
        for one in seen.ask(wanted.whole, wanted.listed, wanted.again, size=self.comparison.size):
            if self.stop():
                raise Interrupted("the comparison was stopped", where="source", why="the service was told to end")
            prepared.append(one)
        asked = [one for one in prepared if one.asked is not None]
        with translated("source"), self.store.connection.transaction():
            for name in wanted.gone:
                self.store.note_table(Standing(table=name, ask=Ask.NOTHING, problem="it is not shipped any more"))
            for one in prepared:
                self._note(one)
            if asked:
                self._note_asked(asked, seen)
            else:
                self.store.note_settled()
        log.info("comparison_asked", link=self.held.name, tables=len(asked))

    def _note_asked(self, asked: Sequence[Prepared], seen: Source) -> None:
        held = self.held
        name = SealedName(node=held.node.name, id=uuid4(), kind=Kind.QUESTION)
        question = Question(
            node=held.node.name,
            incarnation=held.node.incarnation,
            link=held.name,
            number=held.recorded(),
            encoding=encoding_of(self.source, "source"),
            source=seen.view,
            tables=tuple(one.asked for one in asked if one.asked is not None),
        )
        paper = sealed.seal(question.write(), name, keys=self.keys, theirs=held.theirs)
        self.store.note_asked(
            paper,
            Asked(
                question=name.id,
                tables=tuple(one.name for one in asked),
                at=self._moment[0],
                number=question.number,
                naming=self.comparison.settled_at is not None,
            ),
        )

    def _note(self, one: Prepared) -> None:
        """Keep what was seen of a table, and which of its rows are asked about as what."""
        standing = self.tables.get(one.name, Standing(table=one.name))
        if one.asked is None:
            self.store.note_table(replace(standing, ask=Ask.NOTHING, problem=one.shape.problem))
        elif isinstance(one.asked.what, Again):
            self.store.note_rows(one.name, _as_asked(self.store.rows(one.name), one.asked.what))
        else:
            columns = one.shape.missing_columns
            self.store.note_table(replace(standing, source_rows=one.rows, missing_columns=columns))

    def _wanted(self) -> _Wanted:
        """Say what of which tables is to be asked about: of all that were chosen, the first time."""
        if not self.tables:
            chosen = selected(self.registry, self.comparison.patterns)
            every = [table.name for table in self.registry.shipped()] if chosen is None else chosen
            return _Wanted(listed=every) if self.comparison.ignore_extra else _Wanted(whole=every)
        shipped = {table.name for table in self.registry.shipped()}
        wanted = _Wanted(gone=[name for name in self.tables if name not in shipped])
        unnamed = {} if self.comparison.named else self.store.unnamed()
        counts = self.store.counts()
        for name in (name for name in self.tables if name in shipped):
            ask = self.tables[name].ask
            unsettled = sum(n for (_, settled), n in counts.get(name, {}).items() if not settled)
            if ask is Ask.LISTED:
                wanted.listed.append(name)
            elif ask is Ask.WHOLE or unsettled > AGAIN:
                wanted.whole.append(name)
            elif unsettled or name in unnamed:
                places = (row.item[0] for row in self.store.rows(name) if not row.settled)
                wanted.again[name] = {*places, *unnamed.get(name, ())}
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which tables are asked about as a whole, which row by row, and of which some rows by their places."""

    whole: list[TableName] = field(default_factory=list)
    listed: list[TableName] = field(default_factory=list)
    again: dict[TableName, set[int]] = field(default_factory=dict)
    gone: list[TableName] = field(default_factory=list)
    """Tables that are not shipped any more."""

    @property
    def names(self) -> list[TableName]:
        return [*self.whole, *self.listed, *self.again]


def _as_asked(rows: Sequence[Row], what: Again) -> Iterator[Row]:
    """Take the rows for what they are in the question; those that are gone by now are none any more."""
    there: dict[int, list[Item]] = defaultdict(list)
    for item, _ in what.rows:
        there[item[0]].append(item)
    for row in rows:
        items = there.get(row.item[0], [])
        if row.settled:
            yield replace(row, asked=row.item in items and row.found is Found.DIFFERENT and row.columns is None)
            continue
        for item in items:
            yield replace(row, item=item, asked=True, times=row.times if item == row.item else 0)
