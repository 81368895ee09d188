"""What stands in rows stays in rows: no log, no message and no status ever shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from dbsync.postgres import primary
from tests.acceptance.places import Place
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.service import until

VALUE = "Zebedee-7731"
NUMBER = "77317731"
PIECES = ("Zebedee", "zebedee", NUMBER)
"""None of it may be seen; four digits of it stand in many a hash by accident."""
BEFORE: LiteralString = """
    CREATE TABLE person (id serial PRIMARY KEY, code text NOT NULL UNIQUE, name text, number text, extra text);
    CREATE TABLE act (id serial PRIMARY KEY, code text NOT NULL UNIQUE, name text, person text);
"""
RAISING: LiteralString = """
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN {} END $$;
    CREATE TRIGGER look BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION look()
"""


def raising(body: LiteralString) -> LiteralString:
    return RAISING.replace("{}", body)


UPSTREAM: dict[str, LiteralString] = {
    "no integer": "ALTER TABLE person ALTER name TYPE integer USING NULL",
    "no number": "ALTER TABLE person ALTER name TYPE numeric USING NULL",
    "no date": "ALTER TABLE person ALTER name TYPE date USING NULL",
    "no moment": "ALTER TABLE person ALTER name TYPE timestamptz USING NULL",
    "no uuid": "ALTER TABLE person ALTER name TYPE uuid USING NULL",
    "no array": "ALTER TABLE person ALTER name TYPE text[] USING NULL",
    "no json": "ALTER TABLE person ALTER name TYPE jsonb USING NULL",
    "no boolean": "ALTER TABLE person ALTER name TYPE boolean USING NULL",
    "no address": "ALTER TABLE person ALTER name TYPE inet USING NULL",
    "no interval": "ALTER TABLE person ALTER name TYPE interval USING NULL",
    "no range": "ALTER TABLE person ALTER name TYPE int4range USING NULL",
    "no word of an enum": "CREATE TYPE word AS ENUM ('a'); ALTER TABLE person ALTER name TYPE word USING NULL",
    "no bytes": "ALTER TABLE person ALTER name TYPE bytea USING NULL; ALTER TABLE person ALTER number TYPE smallint USING NULL",
    "too large": "ALTER TABLE person ALTER number TYPE smallint USING NULL",
    "too precise": "ALTER TABLE person ALTER number TYPE numeric(3,1) USING NULL",
    "too long": "ALTER TABLE person ALTER name TYPE varchar(3)",
    "a check": "ALTER TABLE person ADD CHECK (name <> 'Zebedee-7731')",
    "a domain's check": """
        CREATE DOMAIN known AS text CHECK (VALUE <> 'Zebedee-7731'); ALTER TABLE person ALTER name TYPE known
    """,
    "not null": "ALTER TABLE person ALTER extra SET NOT NULL",
    "unique": "ALTER TABLE person ADD UNIQUE (name); INSERT INTO person (code, name) VALUES ('other', 'Zebedee-7731')",
    "an exclusion": """
        ALTER TABLE person ADD EXCLUDE USING btree (name WITH =);
        INSERT INTO person (code, name) VALUES ('other', 'Zebedee-7731')
    """,
    "a foreign key": """
        CREATE TABLE named (name text PRIMARY KEY); ALTER TABLE person ADD FOREIGN KEY (name) REFERENCES named
    """,
    "a deferred foreign key": """
        CREATE TABLE named (name text PRIMARY KEY);
        ALTER TABLE person ADD FOREIGN KEY (name) REFERENCES named DEFERRABLE INITIALLY DEFERRED
    """,
    "RAISE": raising("RAISE EXCEPTION 'I do not like %', NEW.name;"),
    "RAISE with detail": raising("""
        RAISE EXCEPTION USING MESSAGE = NEW.name, DETAIL = NEW.name, HINT = NEW.name, ERRCODE = 'check_violation';
    """),
    "RAISE as a missing right": raising("RAISE insufficient_privilege USING MESSAGE = NEW.name;"),
    "RAISE as a server that goes down": raising("RAISE EXCEPTION USING MESSAGE = NEW.name, ERRCODE = '57P01';"),
    "a cast in a trigger": raising("NEW.extra := NEW.name::integer; RETURN NEW;"),
    "a column that is not there, in a trigger": raising("EXECUTE 'SELECT \"' || NEW.name || '\"'; RETURN NEW;"),
    "syntax in a trigger": raising("EXECUTE 'SELECT x ' || quote_literal(NEW.name) || ' y'; RETURN NEW;"),
    "a table that is not there, in a trigger": raising("EXECUTE format('DELETE FROM %I', NEW.name); RETURN NEW;"),
    "an assertion": raising("ASSERT NEW.name IS NULL, NEW.name; RETURN NEW;"),
    "a constraint in a trigger": "CREATE TABLE one (name text UNIQUE); INSERT INTO one VALUES ('Zebedee-7731');"
    + raising("INSERT INTO one VALUES (NEW.name); RETURN NEW;"),
    "a table with a trigger's function in SQL": """
        CREATE FUNCTION told(text) RETURNS integer LANGUAGE sql SET search_path FROM CURRENT AS 'SELECT $1::integer';
        ALTER TABLE person ADD CHECK (told(name) > 0)
    """,
}

STOPPING = {"RAISE as a missing right", "RAISE as a server that goes down"}
"""They borrow the SQLSTATE of something that is no fault of a row; the row goes aside all the same."""


def schema_of(breach: str) -> str:
    """Name the schema in which a breach has its tables."""
    return f"breach{[*UPSTREAM].index(breach)}"


def prepare(database: Database, breaches: Iterable[str], *, broken: bool) -> None:
    """Make the small schema once for each breach."""
    with database.connect() as session:
        for breach in breaches:
            name = sql.Identifier(schema_of(breach))
            session.execute(sql.SQL("CREATE SCHEMA {0}; SET search_path = {0}").format(name))
            session.execute(BEFORE)
            if broken:
                session.execute(UPSTREAM[breach])


def prepared(pair: Pair, folder: Path, *breaches: str) -> Place:
    """Give both sides with dbsync, and a row for each breach in the source."""
    prepare(pair.source, breaches, broken=False)
    prepare(pair.upstream, breaches, broken=True)
    place = Place(folder=folder, source=pair.source, upstream=pair.upstream)
    place.configure("".join(f'[[tables]]\nname = "{schema_of(breach)}.person"\n' for breach in breaches))
    place.install()
    for breach in breaches:
        pair.source.sql(
            sql.SQL("INSERT INTO {}.person (code, name, number) VALUES (%s, %s, %s)").format(
                sql.Identifier(schema_of(breach))
            ),
            [code(breach), VALUE, NUMBER],
        )
    return place


def code(breach: str) -> str:
    """Give the key of the row of a breach."""
    return f"P-{[*UPSTREAM].index(breach)}-X"


def see_nothing(where: str, text: str) -> None:
    """Hold that no part of the value is in a text."""
    assert not [piece for piece in PIECES if piece in text], f"{where}: {text}"


def told(database: Database) -> str:
    """Give everything that dbsync's own tables tell a watcher, and the reasons of all cases."""
    columns = database.sql("""
        SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'dbsync'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
          AND has_column_privilege('dbsync_reader', c.oid, a.attnum, 'SELECT')
    """)
    with database.connect() as session:
        rows = [
            session.execute(
                sql.SQL("SELECT coalesce(string_agg({}::text, ' '), '') FROM dbsync.{}").format(
                    sql.Identifier(column), sql.Identifier(table)
                )
            ).fetchone()
            for table, column in columns
            if (table, column) not in {("change", "seq"), ("change", "xid")}
        ]
    return "\n".join(str(row[0]) for row in rows if row)


@ONE_MIXTURE
def test_rows_that_cannot_be_applied_are_told_without_their_values(pair: Pair, tmp_path: Path) -> None:
    breaches = [breach for breach in UPSTREAM if breach not in STOPPING]
    here = prepared(pair, tmp_path, *breaches)
    commands = (
        ("check",), ("run", "--once"), ("status", "--json"), ("quarantine", "list"), ("quarantine", "list", "--json"),
        ("quarantine", "show", "1"), ("quarantine", "retry", "--all"), ("conflicts", "list"), ("verify",),
    )  # fmt: skip
    said = {}
    for words in commands:
        done = here.run(*words)
        assert done.code != 70, (words, done.err)
        see_nothing(" ".join(words), done.out + done.err)
        said[words] = done.out
    for database in (here.source, here.upstream):
        see_nothing(database.name, told(database))
    assert [breach for breach in breaches if code(breach) not in said["quarantine", "list"]] == [], "keys are told"


@pytest.mark.parametrize("breach", sorted(STOPPING))
@ONE_MIXTURE
def test_the_services_log_shows_no_values(pair: Pair, tmp_path: Path, breach: str) -> None:
    here = prepared(pair, tmp_path, breach)
    with here.service() as service:
        until(
            lambda: here.upstream.value("SELECT count(*) FROM dbsync.quarantine") > 0,
            "nothing went aside",
        )
        service.terminate()
    see_nothing("log", service.log.read_text())
    see_nothing("source", told(here.source))


def test_every_error_of_postgresql_is_said_without_the_value(databases: Databases, version: int) -> None:
    database = databases.create(version)
    prepare(database, UPSTREAM, broken=True)
    with database.connect() as session:
        for breach in UPSTREAM:
            session.execute(sql.SQL("SET search_path = pg_catalog, {}").format(sql.Identifier(schema_of(breach))))
            with pytest.raises(psycopg.Error) as caught, session.transaction():
                session.execute(sql.SQL("INSERT INTO person (code, name) VALUES ('P', {})").format(VALUE))
                session.execute(sql.SQL("UPDATE person SET number = {}").format(NUMBER))
                session.execute("SET CONSTRAINTS ALL IMMEDIATE")
            see_nothing(breach, primary(caught.value))


@pytest.mark.parametrize("version", [18])
def test_the_words_say_where_and_what(databases: Databases, version: int) -> None:
    database = databases.create(version)
    database.script(BEFORE)

    def of(statement: LiteralString) -> str:
        with database.connect() as session, pytest.raises(psycopg.Error) as caught:
            session.execute(statement)
        return primary(caught.value)

    assert of("SELECT 'Zebedee'::integer") == "a value cannot be read for type integer"
    assert of("SELECT '99999'::smallint") == "a number is out of range for type smallint"
    assert of("SELECT '2020-02-31'::date") == "a date or time is out of range"
    assert of("INSERT INTO person (name) VALUES ('Zebedee')") == (
        'null value in column "code" of relation "person" violates not-null constraint'
    )
    database.script(UPSTREAM["RAISE"])
    assert of("INSERT INTO person (code, name) VALUES ('P-1', 'Zebedee')") == (
        "the function look() raised: raise exception (SQLSTATE P0001; the server's log has its words)"
    )
