"""Databases in other encodings than UTF8: every letter arrives as the letter that it is, or the link halts and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.acceptance.places import Place, parts, place
from tests.support.databases import Database, Databases

Make = Callable[[str, str], Place]


@pytest.fixture
def encoded(databases: Databases, tmp_path: Path) -> Iterator[Make]:
    """Give a laptop and its server with databases of two encodings."""
    made: list[Database] = []

    def make(version: int, encoding: str) -> Database:
        beside = databases.create(version)
        found = Database(cluster=beside.cluster, name=f"{beside.name}_{encoding.lower()}")
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'")
        beside.sql(create.format(sql.Identifier(found.name), sql.Literal(encoding)))
        made.append(found)
        return found

    def both(source: str, upstream: str) -> Place:
        found = place(tmp_path, make(15, source), make(18, upstream))
        found.install()
        return found

    yield both
    for database in made:
        database.cluster.drop_database(database.name)


def subjects(database: Database) -> list[tuple[str, str]]:
    with database.connect(client_encoding="UTF8") as connection:
        found: list[tuple[str, str]] = connection.execute("SELECT identifier, initials FROM subject").fetchall()
    return sorted(found)


def insert(database: Database, identifier: str, initials: str) -> None:
    with database.connect(client_encoding="UTF8") as connection:
        connection.execute("INSERT INTO subject (identifier, initials) VALUES (%s, %s)", (identifier, initials))


@pytest.mark.parametrize(
    ("source", "upstream"), [("UTF8", "LATIN1"), ("LATIN1", "UTF8"), ("LATIN1", "LATIN1"), ("LATIN1", "LATIN9")]
)
def test_letters_that_both_have_arrive_as_they_are(encoded: Make, source: str, upstream: str) -> None:
    here = encoded(source, upstream)
    insert(here.source, "Ångström", "éü")
    here.must("run", "--once")
    assert subjects(here.upstream) == [("Ångström", "éü")]
    here.source.sql("UPDATE subject SET initials = 'x'")
    here.must("run", "--once")
    assert subjects(here.upstream) == [("Ångström", "x")]


def test_a_letter_that_the_upstream_lacks_halts_the_link_and_becomes_no_other(encoded: Make) -> None:
    here = encoded("UTF8", "LATIN1")
    insert(here.source, "S-1", "ę")
    halted = here.run("run", "--once")
    assert (halted.code, "has text that the upstream cannot hold" in parts(halted)["what"]) == (1, True)
    assert "UTF8" in parts(halted)["try"]
    assert subjects(here.upstream) == []
    found = here.status()
    assert (found["link"]["state"], found["pending"]) == ("halted", 1)
    (finding,) = [one for one in here.must("check", "--json").json["findings"] if one["code"] == "encoding_differs"]
    assert "halts the link" in finding["remedy"]
