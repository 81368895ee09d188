"""Compare with an upstream that is reached by messages only: it is asked, and answers about its own rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, repeat
from operator import attrgetter

from dbsync.model.names import TableName
from dbsync.model.registration import RegisteredTable
from dbsync.model.strict import exactly, items, text, whole
from dbsync.verify import questions
from dbsync.verify.compare import Bucket, Columns, Cut, Grain, Row, Side
from dbsync.verify.questions import Json, Subject, reading
from dbsync.verify.report import Difference, Key, Kind, Place
from dbsync.verify.shape import Shape
from dbsync.verify.views import View, Views

Ask = Callable[[str, Json], Json]
"""Takes a question by its name to the upstream, and brings the answer."""

GRAIN = Grain(matched=64, rows=32, bits=questions.BITS)
"""A row that travels costs about two buckets: of a thousand rows with one that differs, 32 buckets of 32 cost least."""
_LARGEST = 1 << 21
"""Bytes of rows in one question, about: whoever answers reads his whole table for each."""
_MOST = 2**40
"""Rows that nobody has in one table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distant:
    """The upstream's database out of reach."""

    ask: Ask

    def look(self, tables: Iterable[TableName]) -> tuple[View, str]:
        """Ask what it has of some tables."""
        said = self.ask("view", questions.write_tables(tables))
        with reading():
            said = exactly(said, {"encoding", "tables"})
            return questions.read_view(said["tables"]), text(said["encoding"])

    def upstream(self, registered: RegisteredTable, shape: Shape, views: Views) -> Asked:
        """Give the one to ask about a table."""
        subject = Subject(registered=registered, source=views.source, names=(*shape.columns, *shape.loose))
        return Asked(ask=self.ask, subject=subject.as_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Asks the upstream about one table."""

    ask: Ask
    subject: Json
    grain: Grain = field(default_factory=lambda: GRAIN)

    def buckets(self, bits: int, within: Cut) -> Iterable[Bucket]:
        """Ask for the sums of buckets."""
        said = self.ask("buckets", {"subject": self.subject, "bits": bits, "within": questions.write_cut(within)})
        with reading():
            return questions.read_buckets(said)

    def matched(self, table: TableName, cut: Cut, rows: Iterator[Row]) -> Iterator[Difference]:
        """Have the source's rows matched over there, many buckets at a time."""
        for load in _loads(cut, rows):
            said = self.ask(
                "match",
                {
                    "subject": self.subject,
                    "cut": questions.write_cut(load.cut),
                    "rows": [questions.write_row(row) for row in load.rows],
                },
            )
            with reading():
                found = list(_differences(table, load, exactly(said, {"differing", "extra"})))
            yield from found

    def differing(self, source: Side, keys: Sequence[Key]) -> Mapping[Key, Columns]:
        """Ask which columns differ; the values stay where they are, on either side."""
        contents = list(source.digests(keys))
        said = self.ask("columns", {"subject": self.subject, "rows": questions.write_contents(contents)})
        with reading():
            return dict(questions.read_columns(said))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """Whole buckets, as many as go in one question."""

    cut: Cut
    rows: Sequence[Row]


def _loads(cut: Cut, rows: Iterable[Row]) -> Iterator[_Load]:
    """Pack buckets together; those without a row here go with the ones before the next that has some."""
    packed: list[Row] = []
    size = sent = 0
    for number, bucket in groupby(rows, key=attrgetter("bucket")):
        if size >= _LARGEST:
            end = bisect_left(cut.numbers, number)
            yield _Load(cut=replace(cut, numbers=cut.numbers[sent:end]), rows=packed)
            packed, size, sent = [], 0, end
        for row in bucket:
            packed.append(row)
            size += _weight(row)
    yield _Load(cut=replace(cut, numbers=cut.numbers[sent:]), rows=packed)


def _weight(row: Row) -> int:
    """Estimate a row's bytes in a question."""
    return 50 + sum(len(leaf or "") + 4 for leaf in row.key) + 24 * len(row.loose)


def _differences(table: TableName, load: _Load, said: Json) -> Iterator[Difference]:
    """Read which rows of a load differ. Rows beyond them are counted over there, and not named."""
    places: dict[Key, list[Place]] = {}
    for row in load.rows:
        places.setdefault(row.key, []).extend([row.place] if row.place else [])
    for kind, place, times in (items(one, 3) for one in items(said["differing"])):
        key = load.rows[whole(place, most=len(load.rows) - 1)].key
        difference = Difference(table=table, kind=Kind(text(kind)), key=key, places=tuple(places[key]))
        yield from repeat(difference, whole(times, most=len(load.rows)))
    yield from repeat(Difference(table=table, kind=Kind.EXTRA, key=()), whole(said["extra"], most=_MOST))
