"""The comparison of a link that no line leads over: what is kept of it from one visit of a stick to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from dbsync.identity.keys import Signed
from dbsync.model.names import TableName
from dbsync.statements import statement
from dbsync.verify.asking import Known
from dbsync.verify.report import Key, Place
from dbsync.verify.sketch import Item


class Ask(StrEnum):
    """What is still to be asked about a table as a whole."""

    WHOLE = "whole"
    LISTED = "listed"
    """Row by row: more rows differ than a sketch tells."""
    NOTHING = "nothing"


class Found(StrEnum):
    """In what way a row differs."""

    MISSING = "missing"
    DIFFERENT = "different"
    UNCAPTURED = "uncaptured"
    """Missing, and nothing could have brought it: it was never captured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison, and how far it is."""

    begun_at: datetime
    patterns: tuple[str, ...]
    """The tables that somebody asked for; all where there are none."""
    ignore_extra: bool
    size: int
    """Bytes of a question about all tables, about."""
    repair: bool
    repaired: int | None
    """Rows in the change log once more; None before a repair."""
    upstream: Known
    question: UUID | None
    """The one under way."""
    asked: tuple[TableName, ...]
    """Its tables, in its order."""
    asked_at: datetime | None
    """The moment that the first one was about."""
    number: int
    """With this batch the upstream has all of the moment of the one under way."""
    answered_at: datetime | None
    settled_at: datetime | None
    """When nothing was left to be asked but, perhaps, names of columns."""
    told_at: datetime | None
    named: bool
    """Whether columns were asked for."""
    trouble: str | None
    """What was in the way when the service wanted to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far one table is compared; all counts are rows."""

    table: TableName
    ask: Ask = Ask.WHOLE
    source_rows: int = 0
    upstream_rows: int = 0
    extra: int = 0
    other_origin: int = 0
    otherwise: int = 0
    """How often the upstream's tables were not what they were taken for."""
    missing_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row that differs, or seems to."""

    found: Found
    item: Item
    times: int
    """How often it was said to differ just as it is."""
    settled: bool
    """Whether that is sure; otherwise it is asked about once more."""
    asked: bool = False
    """Whether it is asked about by itself in the question under way."""
    key: Key
    place: Place
    columns: tuple[str, ...] | None = None
    """Those that differ; None before they were named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that was written."""

    question: UUID
    tables: tuple[TableName, ...]
    """In its order."""
    at: datetime
    """The moment that it is about."""
    number: int
    naming: bool
    """Whether columns are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A link's comparison in the source's database; the connection is in autocommit."""

    connection: psycopg.Connection
    link: str

    def read(self) -> Comparison | None:
        """Give the newest one."""
        row = self._ask("read").fetchone()
        if row is None:
            return None
        (begun, patterns, ignore_extra, size, repair, repaired, upstream, question, asked, asked_at, number, answered,
         settled, told, named, trouble) = row  # fmt: skip
        return Comparison(
            begun_at=begun,
            patterns=tuple(patterns),
            ignore_extra=ignore_extra,
            size=size,
            repair=repair,
            repaired=repaired,
            upstream=Known.read(upstream),
            question=question,
            asked=tuple(map(TableName.parse, asked or ())),
            asked_at=asked_at,
            number=number or 0,
            answered_at=answered,
            settled_at=settled,
            told_at=told,
            named=named,
            trouble=trouble,
        )

    def wish(self) -> datetime | None:
        """Say when somebody began one of which nothing was asked yet; None where there is no such."""
        row = self._ask("wish").fetchone()
        return None if row is None else row[0]

    def begin(self, patterns: Sequence[str], *, ignore_extra: bool, size: int, repair: bool) -> None:
        """Begin another one in place of that."""
        with self.connection.transaction():
            self.connection.execute(statement("changelog", "open_link"), {"link": self.link})
            before = self._ask("end").fetchone()
            known = Known.read(before[0]) if before else Known()
            self._ask(
                "begin",
                patterns=list(patterns),
                ignore_extra=ignore_extra,
                size=size,
                repair=repair,
                upstream=Jsonb(known.as_json()),
            )

    def want_repair(self) -> None:
        """Let what differs be sent again as soon as it is known."""
        self._ask("want_repair")

    def note_repaired(self, rows: int) -> None:
        """Note how many rows are in the change log once more."""
        self._ask("repaired", rows=rows)

    def note_told(self) -> None:
        """Note that somebody has read what came out."""
        self._ask("told")

    def note_trouble(self, trouble: str) -> None:
        """Leave word of what is in the way."""
        self._ask("trouble", trouble=trouble)

    def note_asked(self, paper: Signed, asked: Asked) -> None:
        """Keep a question as it is written: the same goes onto every stick until one brings the answer."""
        self._ask(
            "asked",
            question=asked.question,
            paper=paper.data,
            signature=paper.signature,
            asked=list(map(str, asked.tables)),
            at=asked.at,
            number=asked.number,
            naming=asked.naming,
        )

    def paper(self, question: UUID) -> Signed | None:
        """Give a question as it was written; None where it is under way no more."""
        row = self._ask("paper", question=question).fetchone()
        return None if row is None or row[0] is None else Signed(data=bytes(row[0]), signature=bytes(row[1]))

    def forget_question(self) -> None:
        """Let nobody wait for the answer to the question under way any more; what it was about is asked anew."""
        self._ask("forget_question")

    def note_settled(self) -> None:
        """Note that nothing can be asked."""
        self._ask("settled")

    def note_answered(self, question: UUID, *, at: datetime, upstream: Known, settled: bool) -> None:
        """End the question that was under way."""
        self._ask("answered", question=question, at=at, upstream=Jsonb(upstream.as_json()), settled=settled)

    def tables(self) -> dict[TableName, Standing]:
        """Give how far each table is."""
        return {
            TableName.parse(relation): Standing(
                table=TableName.parse(relation),
                ask=Ask(ask),
                source_rows=source_rows,
                upstream_rows=upstream_rows,
                extra=extra,
                other_origin=other_origin,
                otherwise=otherwise,
                missing_columns=tuple(missing_columns),
                notes=tuple(notes),
                problem=problem,
            )
            for (relation, ask, source_rows, upstream_rows, extra, other_origin, otherwise, missing_columns, notes, problem)
            in self._ask("tables")
        }  # fmt: skip

    def note_table(self, standing: Standing) -> None:
        """Keep how far a table is."""
        self._ask(
            "note_table",
            relation=str(standing.table),
            ask=standing.ask.value,
            source_rows=standing.source_rows,
            upstream_rows=standing.upstream_rows,
            extra=standing.extra,
            other_origin=standing.other_origin,
            otherwise=standing.otherwise,
            missing_columns=list(standing.missing_columns),
            notes=list(standing.notes),
            problem=standing.problem,
        )

    def rows(self, table: TableName) -> list[Row]:
        """Give the rows of a table that differ, or seem to."""
        return [
            Row(
                found=Found(kind),
                item=(place, digest),
                times=times,
                settled=settled,
                asked=asked,
                key=tuple(key or ()),
                place=tuple(local_id or ()),
                columns=None if columns is None else tuple(columns),
            )
            for kind, place, digest, times, settled, asked, key, local_id, columns in self._ask(
                "differences", relation=str(table)
            )
        ]

    def note_rows(self, table: TableName, rows: Iterable[Row]) -> None:
        """Keep these rows of a table, in place of those before."""
        self._ask("forget_differences", relation=str(table))
        with self.connection.cursor() as cursor, cursor.copy(statement("comparison", "note_differences")) as copy:
            for row in rows:
                columns = None if row.columns is None else list(row.columns)
                known = (row.times, row.settled, row.asked, list(row.key), list(row.place), columns)
                copy.write_row((self.link, str(table), row.found.value, *row.item, *known))

    def counts(self) -> dict[TableName, dict[tuple[Found, bool], int]]:
        """Count the rows of each table by kind, and by whether they are settled."""
        found: dict[TableName, dict[tuple[Found, bool], int]] = {}
        for relation, kind, settled, count in self._ask("counts"):
            found.setdefault(TableName.parse(relation), {})[Found(kind), settled] = count
        return found

    def first(self, table: TableName, limit: int) -> Iterator[tuple[Found, Key, tuple[str, ...]]]:
        """Give the first settled rows of a table: how they differ, by key, in which columns."""
        for kind, key, columns in self._ask("first", relation=str(table), limit=limit):
            yield Found(kind), tuple(key or ()), tuple(columns or ())

    def unnamed(self) -> dict[TableName, set[int]]:
        """Give the places of rows whose columns are not named, the first of each table."""
        found: dict[TableName, set[int]] = {}
        for relation, place in self._ask("unnamed"):
            found.setdefault(TableName.parse(relation), set()).add(place)
        return found

    def to_repair(self) -> dict[TableName, list[Place]]:
        """Give where the settled rows are, by table."""
        found: dict[TableName, list[Place]] = {}
        for relation, local_id in self._ask("to_repair"):
            found.setdefault(TableName.parse(relation), []).append(tuple(local_id))
        return found

    def _ask(self, name: str, **values: object) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.connection.execute(statement("comparison", name), {"link": self.link, **values})
