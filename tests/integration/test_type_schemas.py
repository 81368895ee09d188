"""Types in a schema of their own, which PUBLIC may not look into, as a DBA installs extensions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import sql

from dbsync.catalog.inspect import inspect
from tests.acceptance.places import Place, parts, place
from tests.integration.clinic_schema import held
from tests.integration.test_least_rights import folder_as, login
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared

SCHEMA = """
CREATE SCHEMA extensions;
CREATE EXTENSION citext SCHEMA extensions;
CREATE SCHEMA kinds;
CREATE TYPE kinds.colour AS ENUM ('red', 'green');
CREATE TYPE kinds.pair AS (one extensions.citext, two int);
CREATE TYPE kinds.span AS RANGE (subtype = extensions.citext);
CREATE DOMAIN kinds.mail AS extensions.citext CHECK (VALUE LIKE '%@%');
CREATE TABLE account (email extensions.citext PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE login (id serial PRIMARY KEY, no int NOT NULL UNIQUE,
    email extensions.citext NOT NULL REFERENCES account ON UPDATE CASCADE);
CREATE TABLE person (id serial PRIMARY KEY, email kinds.mail NOT NULL UNIQUE, name text);
CREATE TABLE message (id serial PRIMARY KEY, person_id int NOT NULL REFERENCES person, no int NOT NULL,
    colour kinds.colour, pair kinds.pair, span kinds.span, mails kinds.mail[], UNIQUE (person_id, no));
"""
TABLES = """
[[tables]]
name = "*"
"""
WRITES: LiteralString = """
INSERT INTO account (email, code) VALUES ('{0}@example.org', '{0}');
INSERT INTO login (email, no) VALUES ('{0}@EXAMPLE.org', length('{0}'));
UPDATE account SET email = '{0}@example.com' WHERE code = '{0}';
INSERT INTO person (email, name) VALUES ('{0}@example.org', '{0}');
INSERT INTO message (person_id, no, colour, pair, span, mails)
    SELECT id, no, 'red', '({0},1)', '[{0},{0}]', ARRAY[email] FROM person, generate_series(1, 3) no WHERE name = '{0}';
UPDATE message SET colour = 'green', pair = ROW(NULL, NULL) WHERE no = 1;
UPDATE message SET pair = NULL WHERE no = 2;
DELETE FROM message WHERE no = 3;
UPDATE person SET email = '{0}@example.com' WHERE name = '{0}';
"""


def write(database: Database, word: LiteralString) -> None:
    """Do everything an application does."""
    database.script(WRITES.format(word))


@pytest.fixture
def mailing(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


@ONE_MIXTURE
def test_rows_whose_id_is_of_such_a_type_arrive_and_are_changed(databases: Databases, pair: Pair) -> None:
    both = prepared(
        databases,
        pair,
        """
        CREATE SCHEMA extensions;
        CREATE EXTENSION ltree SCHEMA extensions;
        CREATE TABLE area (path extensions.ltree PRIMARY KEY, name text, inside extensions.ltree REFERENCES area);
        CREATE TABLE note (path extensions.ltree PRIMARY KEY, said text)""",
    )
    tables = TABLES + '[[tables]]\nname = "note"\nkey = "row_id"\n'
    with Pipeline(both.source, both.upstream, tables) as pipeline:
        pipeline.source.script("""
            INSERT INTO area VALUES ('a', 'x', NULL), ('a.b', 'y', 'a'), ('c', 'z', NULL);
            INSERT INTO note VALUES ('a', 'x'), ('a.b', 'y')""")
        pipeline.agree()
        pipeline.source.script("""
            UPDATE area SET path = 'd' WHERE name = 'z'; UPDATE area SET name = 'u';
            DELETE FROM area WHERE inside IS NOT NULL; UPDATE note SET said = 'u'; DELETE FROM note WHERE path::text = 'a.b'""")
        pipeline.agree()
        assert held(pipeline) == []


def test_an_application_goes_on_and_all_arrives(mailing: Pipeline) -> None:
    write(mailing.source, "a")
    mailing.agree()
    write(mailing.source, "bb")
    mailing.agree(max_changes=1)
    assert held(mailing) == []


@pytest.mark.parametrize("migration", ["ADD COLUMN age int", "RENAME COLUMN {0} TO other", "ADD UNIQUE ({0})"])
@ONE_MIXTURE
def test_an_application_goes_on_after_a_migration(mailing: Pipeline, migration: LiteralString) -> None:
    write(mailing.source, "a")
    mailing.agree()
    for table, column in (("account", "code"), ("login", "no"), ("person", "name"), ("message", "colour")):
        mailing.source.script("ALTER TABLE " + table + " " + migration.format(column))
    before = mailing.source.value("SELECT count(*) FROM dbsync.change")
    writes: LiteralString = """
        INSERT INTO account (email, {code}) VALUES ('b@example.org', 'b'); INSERT INTO login ({no}, email) VALUES (9, 'B@example.org');
        INSERT INTO person (email) VALUES ('b@example.org'); INSERT INTO message (person_id, no) VALUES (2, 9);
        UPDATE person SET email = 'c@example.org' WHERE id = 2; UPDATE message SET pair = ROW('x', 1) WHERE no = 9;
        DELETE FROM message WHERE no = 9; DELETE FROM person WHERE id = 2
    """
    code, no = ("other", "other") if "RENAME" in migration else ("code", "no")
    mailing.source.script(writes.format(code=code, no=no))
    assert mailing.source.value("SELECT count(*) FROM dbsync.change") == before + 8


def test_an_application_goes_on_after_a_migration_brings_a_type_that_nobody_let_capture_use(mailing: Pipeline) -> None:
    for database in (mailing.source, mailing.upstream):
        database.script("""
            CREATE SCHEMA later;
            CREATE TYPE later.reading AS (one extensions.citext, two text);
            CREATE DOMAIN later.words AS extensions.citext[];
            ALTER TABLE person ADD reading later.reading, ADD words later.words, ADD letter "char", ADD padded char(4),
                ADD sure bool, ADD said json""")
    mailing.source.sql(r"""
        INSERT INTO person (email, reading, words, letter, padded, sure, said) VALUES
        ('a@example.org', ROW('x', NULL), '{A,NULL}', 'c', 'ab', true, '{"a": "\u0000"}'),
        ('b@example.org', ROW(NULL, NULL), '{}', NULL, '', false, 'null'), ('c@example.org', NULL, NULL, '', NULL, NULL, NULL)""")
    mailing.source.sql("UPDATE person SET reading = ROW(NULL, 'y'), padded = 'b' WHERE email = 'b@example.org'")
    mailing.restart()
    mailing.ship()
    assert held(mailing) == []
    rows = "SELECT p::text FROM (SELECT email, reading, words, letter, padded, sure, said FROM person) p ORDER BY email"
    assert mailing.upstream.sql(rows) == mailing.source.sql(rows)
    assert len(mailing.source.sql(rows)) == 3


@ONE_MIXTURE
def test_the_catalog_tells_which_schemas_a_column_needs(mailing: Pipeline) -> None:
    with mailing.source.connect() as connection:
        catalog = inspect(connection)
    needed = {
        f"{table.name.name}.{column.name}": column.schemas
        for table in catalog.tables.values()
        for column in table.columns
        if column.schemas
    }
    assert needed == {
        "account.email": ("extensions",), "login.email": ("extensions",), "person.email": ("extensions",),
        "message.colour": ("kinds",), "message.pair": ("kinds",), "message.span": ("kinds",), "message.mails": ("kinds",),
    }  # fmt: skip


CLOSED = """
CREATE SCHEMA extensions;
CREATE EXTENSION citext SCHEMA extensions;
ALTER TABLE subject ADD mail extensions.citext UNIQUE;
"""


@pytest.fixture
def closed(pair: Pair, tmp_path: Path) -> Place:
    """Give a place one of whose columns is of a type in a schema that PUBLIC may not look into."""
    here = place(tmp_path, pair.source, pair.upstream)
    for database in (pair.source, pair.upstream):
        database.script(CLOSED)
    here.configure('[[tables]]\nname = "subject"\nkey = ["identifier"]\n\n[[tables]]\nname = "visit"\n')
    return here


@ONE_MIXTURE
def test_who_may_not_let_capture_use_a_type_is_told_what_to_paste_and_then_it_works(
    closed: Place, tmp_path: Path
) -> None:
    closed.must("install-upstream")
    closed.must("install-triggers")
    closed.must("uninstall-triggers")
    closed.source.script("""
        REVOKE ALL ON SCHEMA extensions FROM dbsync_capture; REVOKE ALL ON subject, visit FROM dbsync_capture
    """)
    with login(closed.source, "dba", "dbsync") as dba:
        owner = sql.Identifier(dba)
        for table in ("subject", "visit", "extra"):
            closed.source.sql(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), owner))
        mine = folder_as(closed, tmp_path / "mine", dba, closed.upstream.value("SELECT current_user"))
        found = [one for one in mine.run("check", "--json").json["findings"] if one["code"] == "privilege_lookup"]
        assert [one["what"] for one in found] == [
            "types are in schema extensions, and you cannot let the role dbsync_capture use them"
        ]
        refused = mine.run("install-triggers")
        assert (refused.code, parts(refused)["why"]) == (78, "you are no owner of schema extensions, and cannot let it")
        assert parts(refused)["try"] == f"as their owner: {found[0]['remedy'].partition(': ')[2]}".replace(
            '"dbsync_capture"', "dbsync_capture"
        )
        assert "GRANT USAGE ON SCHEMA" in mine.must("install-triggers", "--sql").out
        closed.source.sql(sql.SQL(found[0]["remedy"].partition(": ")[2]))
        mine.must("install-triggers")
        assert "privilege_lookup" not in mine.run("check", "--json").codes()
        closed.source.sql("INSERT INTO subject (identifier, mail) VALUES ('S-1', 'a@example.org')")


@ONE_MIXTURE
def test_a_right_to_a_types_schema_that_capture_lost_is_told_and_mended(closed: Place) -> None:
    closed.install()
    closed.source.sql("REVOKE USAGE ON SCHEMA extensions FROM dbsync_capture")
    done = closed.run("check", "--json")
    assert (done.code, done.codes()) == (1, ["privilege_capture"])
    (lost,) = [one for one in done.json["findings"] if one["code"] == "privilege_capture"]
    closed.source.sql(sql.SQL(lost["remedy"].partition(": ")[2]))
    assert closed.must("check", "--json").codes() == []


@ONE_MIXTURE
def test_the_service_applies_such_types_with_no_right_but_dbsync_replicator(closed: Place, tmp_path: Path) -> None:
    closed.install()
    closed.source.sql("INSERT INTO subject (identifier, mail) VALUES ('S-1', 'a@example.org')")
    with (
        login(closed.source, "service", "dbsync_replicator") as here,
        login(closed.upstream, "service", "dbsync_replicator") as there,
    ):
        service = folder_as(closed, tmp_path / "service", here, there)
        service.must("check")
        service.must("run", "--once")
        assert closed.upstream.value("SELECT count(*) FROM subject") == 1
        closed.upstream.sql("REVOKE USAGE ON SCHEMA extensions FROM dbsync_replicator")
        (lost,) = [one for one in service.run("check", "--json").json["findings"] if one["code"] == "privilege_usage"]
        closed.upstream.sql(sql.SQL(lost["remedy"]))
        service.must("check")
