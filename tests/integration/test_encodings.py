"""Databases and sessions that are encoded otherwise: text arrives as it was, or the link says that it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import LiteralString

import pytest
from psycopg import sql

from dbsync.errors import LinkHalted
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = "CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE)"
TABLES = '[[tables]]\nname = "subject"'

Encoded = Callable[[int, str], Database]


@pytest.fixture
def encoded(databases: Databases) -> Iterator[Encoded]:
    """Make databases of an encoding."""
    with ExitStack() as stack:

        def make(version: int, encoding: str) -> Database:
            plain = databases.create(version)
            made = Database(cluster=plain.cluster, name=f"{plain.name}_{encoding.lower()}")
            words = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'"
            plain.sql(sql.SQL(words).format(sql.Identifier(made.name), sql.Literal(encoding)))
            stack.callback(made.cluster.drop_database, made.name)
            made.script(SCHEMA)
            return made

        yield make


def names(database: Database) -> list[str]:
    """Give the names in a database, decoded by what it says of itself."""
    with database.connect(client_encoding="UTF8") as session:
        return [str(name) for (name,) in session.execute("SELECT name FROM subject ORDER BY name").fetchall()]


def enter(database: Database, name: str) -> None:
    with database.connect(client_encoding="UTF8") as session:
        session.execute("INSERT INTO subject (name) VALUES (%s)", [name])


@pytest.mark.parametrize(("here", "there"), [("UTF8", "LATIN1"), ("LATIN1", "UTF8"), ("LATIN1", "LATIN1")])
def test_text_means_the_same_in_another_encoding(encoded: Encoded, pair: Pair, here: str, there: str) -> None:
    source, upstream = (encoded(v, name) for v, name in zip(pair.versions, (here, there), strict=True))
    with Pipeline(source, upstream, TABLES) as pipeline:
        enter(source, "Zoë")
        pipeline.ship()
        source.sql("UPDATE subject SET name = name || ' Müller'".encode(here))
        pipeline.ship()
    assert len(names(upstream)) == 1
    assert names(upstream) == names(source)


def test_what_a_session_would_speak_by_itself_is_not_what_travels(
    encoded: Encoded, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, upstream = (encoded(version, "UTF8") for version in pair.versions)
    with Pipeline(source, upstream, TABLES) as pipeline:
        applier = pipeline.applier
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        pipeline.restart()  # the laptop's session, whose batch another one's applies
        pipeline.applier = applier
        enter(source, "Zoë")
        pipeline.ship()
    assert names(upstream) == ["Zoë"]


def test_text_that_has_no_place_upstream_halts_the_link_in_words(encoded: Encoded, pair: Pair) -> None:
    source, upstream = (encoded(v, name) for v, name in zip(pair.versions, ("UTF8", "LATIN1"), strict=True))
    with Pipeline(source, upstream, TABLES) as pipeline:
        enter(source, "Жанна")
        with pytest.raises(LinkHalted, match="batch 1 of field-01 has text that the upstream cannot hold") as halted:
            pipeline.ship()
    assert halted.value.why == "its database is encoded in LATIN1"
    assert names(upstream) == []
