"""A comparison by papers finds what the direct one finds, in as few as it can, and believes nothing that is no paper."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
import psycopg
import pytest

from dbsync.catalog.inspect import inspect
from dbsync.errors import FormatError
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import connect
from dbsync.verify import paper
from dbsync.verify.asking import Known, Prepared, Source
from dbsync.verify.direct import verify
from dbsync.verify.paper import Answer, Otherwise, Question, Told, ToldAgain, Unable
from dbsync.verify.replies import reply
from dbsync.verify.side import encoding_of, snapshot
from dbsync.verify.sketch import Sketch
from tests.integration.comparing import PLANS
from tests.integration.test_verify import clinic  # noqa: F401 - a fixture
from tests.support.databases import ONE_MIXTURE, Pair

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = ONE_MIXTURE


@pytest.fixture
def ends(clinic: Pair) -> Iterator[tuple[psycopg.Connection, psycopg.Connection, Registry]]:  # noqa: F811
    with connect(clinic.source.dsn, name="source") as here, connect(clinic.upstream.dsn, name="upstream") as there:
        catalog = inspect(here)
        yield here, there, Registry(tables={plan.key.table: plan.registered(catalog) for plan in PLANS})


def asked(
    here: psycopg.Connection,
    registry: Registry,
    *,
    known: Known | None = None,
    again: dict[TableName, set[int]] | None = None,
) -> tuple[Question, list[Prepared]]:
    """Ask about all tables, or about some rows; as a stick would carry it."""
    with snapshot(here, "source"):
        seen = Source.seen(here, registry.shipped(), known or Known())
        whole = [] if again else [table.name for table in registry.shipped()]
        prepared = list(seen.ask(whole, [], again or {}, size=500_000))
        question = Question(
            node="field-01",
            incarnation=UUID(int=1),
            link="community",
            number=3,
            encoding=encoding_of(here, "source"),
            source=seen.view,
            tables=tuple(one.asked for one in prepared if one.asked is not None),
        )
    return question, prepared


def answered(there: psycopg.Connection, question: Question) -> tuple[Any, ...]:
    """Answer it; as a stick would carry it."""
    with snapshot(there, "upstream"):
        replies = reply(there, Question.read(question.write()))
    return Answer.read(Answer(number=3, at=datetime(2026, 11, 28, tzinfo=UTC), tables=replies).write()).tables


MUTATIONS: tuple[LiteralString, ...] = (
    "SELECT 1",
    "UPDATE subject SET initials = 'x' WHERE identifier = 'S-2'",
    "DELETE FROM crf",
    "UPDATE note SET text = 'x'",
    "UPDATE subject SET identifier = 'S-1-renamed' WHERE identifier = 'S-1'",
    "INSERT INTO subject (id, identifier) VALUES (999, 'S-extra')",
)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_one_paper_finds_what_a_direct_comparison_does(
    clinic: Pair,  # noqa: F811
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
    mutation: LiteralString,
) -> None:
    here, there, registry = ends
    clinic.upstream.script(mutation)
    direct = {table.table: table for table in verify(registry, here, there).tables}
    question, prepared = asked(here, registry)
    for one, found in zip(prepared, answered(there, question), strict=True):
        assert isinstance(found, Told)
        assert found.apart is not None
        wanted = direct[one.name]
        counts = (one.rows, found.rows, found.other_origin, len(found.apart.different), found.apart.extra)
        assert counts == (
            wanted.source_rows, wanted.upstream_rows, wanted.other_origin, wanted.different, wanted.extra,
        )  # fmt: skip
        assert len(found.apart.missing) == wanted.missing - wanted.not_captured


def test_rows_that_are_asked_about_again_are_told_with_their_columns(
    clinic: Pair,  # noqa: F811
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
) -> None:
    here, there, registry = ends
    clinic.upstream.script("UPDATE subject SET initials = 'x' WHERE identifier = 'S-2'")
    name = TableName("public", "subject")
    question, prepared = asked(here, registry)
    told = dict(zip([one.name for one in prepared], answered(there, question), strict=True))[name]
    ((place, digest),) = told.apart.different
    (again,) = answered(there, asked(here, registry, again={name: {place}})[0])
    assert again == ToldAgain(rows=(((place, digest), again.rows[0][1], ("initials",)),))
    clinic.source.script("UPDATE subject SET initials = 'x' WHERE identifier = 'S-2'")
    assert answered(there, asked(here, registry, again={name: {place}})[0]) == (ToldAgain(rows=()),)


def test_where_the_upstreams_types_are_others_it_says_so_and_the_next_paper_agrees(
    clinic: Pair,  # noqa: F811
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
) -> None:
    here, there, registry = ends
    clinic.upstream.script("ALTER TABLE subject ALTER identifier TYPE char(20)")
    question, prepared = asked(here, registry)
    known = Known()
    for one in answered(there, question):
        if isinstance(one, Otherwise):
            known = known.learn(one.tables, one.view)
    assert TableName("public", "subject") in known.tables
    question, prepared = asked(here, registry, known=Known.read(known.as_json()))
    found = dict(zip([one.name for one in prepared], answered(there, question), strict=True))
    subject = found[TableName("public", "subject")]
    assert (len(subject.apart.missing), subject.apart.extra) == (0, 0)
    assert not any(isinstance(one, Otherwise | Unable) for one in found.values())


def test_a_table_that_is_not_there_is_in_the_way_of_no_other(
    clinic: Pair,  # noqa: F811
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
) -> None:
    here, there, registry = ends
    clinic.upstream.script("DROP TABLE crf")
    question, prepared = asked(here, registry)
    found = dict(zip([one.name for one in prepared], answered(there, question), strict=True))
    assert found.pop(TableName("public", "crf")) == Unable(problem="upstream has no such table")
    assert all(isinstance(one, Told) for one in found.values())


def test_databases_of_different_encodings_are_not_compared(
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
) -> None:
    here, there, registry = ends
    question, _ = asked(here, registry)
    other = replace(question, encoding="LATIN1")
    assert all(isinstance(one, Unable) and "LATIN1" in one.problem for one in answered(there, other))


def test_the_database_sums_up_as_python_takes_apart(
    clinic: Pair,  # noqa: F811
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
) -> None:
    here, there, registry = ends
    for database in (clinic.source, clinic.upstream):
        database.script(
            "INSERT INTO subject (id, identifier) SELECT 1000 + n, 'N-' || n FROM generate_series(1, 5000) n"
        )
    clinic.upstream.script(
        "DELETE FROM subject WHERE identifier LIKE 'N-77%'; UPDATE subject SET initials = 'x' WHERE identifier LIKE 'N-33_3'"
    )
    question, prepared = asked_small(here, registry)
    name = TableName("public", "subject")
    (about,) = (one.asked for one in prepared if one.name == name and one.asked)
    assert isinstance(about.what, Sketch)
    told = dict(zip([one.name for one in prepared], answered(there, question), strict=True))[name]
    assert (len(told.apart.different), len(told.apart.missing), told.apart.extra) == (10, 11, 0)
    clinic.upstream.script("UPDATE subject SET initials = 'x' WHERE identifier LIKE 'N-%'")
    told = dict(zip([one.name for one in prepared], answered(there, question), strict=True))[name]
    assert (told.apart, told.rows) == (None, told.rows)


def asked_small(here: psycopg.Connection, registry: Registry) -> tuple[Question, list[Prepared]]:
    """Ask in little room: large tables are summed up."""
    with snapshot(here, "source"):
        seen = Source.seen(here, registry.shipped(), Known())
        prepared = list(seen.ask([table.name for table in registry.shipped()], [], {}, size=10_000))
        tables = tuple(one.asked for one in prepared if one.asked is not None)
        question = Question(
            node="field-01", incarnation=UUID(int=1), link="community", number=0,
            encoding=encoding_of(here, "source"), source=seen.view, tables=tables,
        )  # fmt: skip
    return question, prepared


def _plain(question: Question) -> bytes:
    return bytes(zstd.decompress(question.write()))


def test_what_was_cut_or_is_no_paper_is_refused(
    ends: tuple[psycopg.Connection, psycopg.Connection, Registry],
) -> None:
    here, _, registry = ends
    question, _ = asked(here, registry)
    whole = question.write()
    for bad in (b"", whole[:-1], whole + b"x", paper._pack({}), zstd.compress(b"[" * 5_000), b"\x00" * 50):
        with pytest.raises(FormatError):
            Question.read(bad)
        with pytest.raises(FormatError):
            Answer.read(bad)
    newer = paper._pack({**orjson.loads(_plain(question)), "version": 2})
    with pytest.raises(FormatError, match="another version"):
        Question.read(newer)
