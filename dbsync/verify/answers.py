"""The upstream's part of a comparison over a line: questions answered, each in a snapshot of its own.

What leaves is sums over buckets, which of the asked rows differ, in which columns, and how many rows are here beyond them. Rows of
other nodes are among these, so neither keys nor values do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg import errors

from dbsync.errors import DbsyncError, Refusal
from dbsync.model.names import TableName
from dbsync.model.strict import exactly
from dbsync.postgres import translated
from dbsync.statements import statement
from dbsync.verify import questions
from dbsync.verify.compare import match, named
from dbsync.verify.questions import Json, Subject, reading
from dbsync.verify.report import Key, Kind
from dbsync.verify.rows import Parts, row_sql
from dbsync.verify.shape import Shape, shape, tables_of
from dbsync.verify.side import Connection, DatabaseSide, encoding_of, snapshot, view_of
from dbsync.verify.views import Views

_NOT_COMPARABLE = (errors.UndefinedFunction, errors.DatatypeMismatch, errors.CannotCoerce)
"""What PostgreSQL says where a question means columns of this database that no query can put together: a question's queries
call no function but PostgreSQL's own."""


def answer(connection: Connection, asks: str, question: Json) -> Json:
    """Answer a question about this database. Raises FormatError for what is none, Refusal where it cannot be answered."""
    try:
        return QUESTIONS[asks](connection, question)
    except DbsyncError as error:
        if not isinstance(error.__cause__, _NOT_COMPARABLE):
            raise
        raise Refusal(
            "the question is about columns that cannot be compared here",
            where="upstream",
            why="a reference and what it points to, as the node has them, are of types without a common equality here",
            hint="run the same migrations on both sides, then: dbsync verify",
        ) from error


def _view(connection: Connection, question: Json) -> Json:
    """Say what is here of some tables."""
    with reading():
        tables = questions.read_tables(question)
    with snapshot(connection, "upstream"):
        found = view_of(connection, tables, "upstream")
        return {"encoding": encoding_of(connection, "upstream"), "tables": questions.write_view(found, tables)}


def _buckets(connection: Connection, question: Json) -> Json:
    """Sum the rows of a table up."""
    with reading():
        question = exactly(question, {"subject", "bits", "within"})
        subject, within = Subject.read(question["subject"]), questions.read_cut(question["within"])
        bits = questions.read_bits(question["bits"], within)
    with snapshot(connection, "upstream"):
        side = _About.of(connection, subject).side
        return {"buckets": [questions.write_bucket(bucket) for bucket in side.buckets(bits, within)]}


def _match(connection: Connection, question: Json) -> Json:
    """Say which of the source's rows differ from those here, by their places in the question."""
    with reading():
        question = exactly(question, {"subject", "cut", "rows"})
        subject, cut = Subject.read(question["subject"]), questions.read_cut(question["cut"])
        rows = list(questions.read_rows(question["rows"]))
    first: dict[Key, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(row.key, place)
    with snapshot(connection, "upstream"):
        side = _About.of(connection, subject).side
        found = Counter(
            (difference.kind, first.get(difference.key))
            for difference in match(subject.registered.name, rows, side.rows(cut))
        )
    extra = sum(count for (kind, _), count in found.items() if kind is Kind.EXTRA)
    return {
        "differing": [[kind.value, place, n] for (kind, place), n in found.items() if kind is not Kind.EXTRA],
        "extra": extra,
    }


def _columns(connection: Connection, question: Json) -> Json:
    """Say in which columns some rows differ, by digests of the source's."""
    with reading():
        question = exactly(question, {"subject", "rows"})
        subject = Subject.read(question["subject"])
        theirs = questions.read_contents(question["rows"], len(subject.names))
    with snapshot(connection, "upstream"):
        about = _About.of(connection, subject)
        ours = list(about.side.digests([key for key, _ in theirs])) if theirs else []
    differing = named(theirs, ours, about.shape.columns, about.shape.loose)
    return {"rows": [[list(key), [column.column for column in columns]] for key, columns in differing.items()]}


QUESTIONS: Mapping[str, Callable[[Connection, Json], Json]] = {
    "view": _view,
    "buckets": _buckets,
    "match": _match,
    "columns": _columns,
}
"""What can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """A table that is asked about, as it is here."""

    shape: Shape
    side: DatabaseSide

    @classmethod
    def of(cls, connection: Connection, subject: Subject) -> _About:
        """Look at it. Raises Refusal where it is not what the source took it for when it asked first."""
        views = Views(source=subject.source, upstream=view_of(connection, tables_of(subject.registered), "upstream"))
        with reading():
            found = shape(subject.registered, views)
        if found.parts is None or (*found.columns, *found.loose) != subject.names:
            raise Refusal(
                f"{subject.registered.name} was altered since the comparison began",
                where="upstream",
                why=found.problem,
                hint="compare again",
            )
        return cls(shape=found, side=side_of(connection, found.parts))


def side_of(connection: Connection, parts: Parts) -> DatabaseSide:
    """Give the upstream's side of a table. Raises Refusal for one of which it tells nothing."""
    _expect_shipped(connection, parts.registered.name)
    with reading():
        said = row_sql(parts, parts.views.upstream)
    return DatabaseSide(connection=connection, name="upstream", said=said)


def _expect_shipped(connection: Connection, table: TableName) -> None:
    """Refuse a table that no node could have brought anything to: who may write nothing there is told nothing about it."""
    with translated("upstream"):
        row = connection.execute(
            statement("verify", "may_write"), {"schema": table.schema, "table": table.name}
        ).fetchone()
    if row is None or not row[0]:
        raise Refusal(f"{table} takes no changes here", where="upstream", hint="dbsync install-upstream")
