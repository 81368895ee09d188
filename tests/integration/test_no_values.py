"""What stands in rows stays in rows: no log, no message and no status ever shows it."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from dbsync.postgres import primary
from tests.acceptance.places import Place
from tests.support.databases import ONE_MIXTURE, Database, Pair

VALUE = "Zebedee-7731"
NUMBER = "77317731"
PIECES = ("Zebedee", "zebedee", "7731")
"""No part of it may be seen."""
BEFORE: LiteralString = """
    CREATE TABLE person (id serial PRIMARY KEY, code text NOT NULL UNIQUE, name text, number text, extra text);
    CREATE TABLE act (id serial PRIMARY KEY, code text NOT NULL UNIQUE, name text, person text);
"""
RAISING: LiteralString = """
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
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
        CREATE FUNCTION told(text) RETURNS integer LANGUAGE sql AS 'SELECT $1::integer';
        ALTER TABLE person ADD CHECK (told(name) > 0)
    """,
}

STOPPING = {"RAISE as a missing right", "RAISE as a server that goes down"}
"""No fault of a row, says PostgreSQL: nothing is shipped until somebody mends it."""


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Place:
    """Give a small schema on both sides, dbsync installed."""
    for database in (pair.source, pair.upstream):
        database.script(BEFORE)
    place = Place(folder=tmp_path, source=pair.source, upstream=pair.upstream)
    place.configure('[[tables]]\nname = "person"\n[[tables]]\nname = "act"\n')
    place.install()
    return place


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
                psycopg.sql.SQL("SELECT coalesce(string_agg({}::text, ' '), '') FROM dbsync.{}").format(
                    psycopg.sql.Identifier(column), psycopg.sql.Identifier(table)
                )
            ).fetchone()
            for table, column in columns
            if (table, column) not in {("change", "seq"), ("change", "xid")}
        ]
    return "\n".join(str(row[0]) for row in rows if row)


@pytest.mark.parametrize("breach", UPSTREAM)
@ONE_MIXTURE
def test_a_row_that_cannot_be_applied_is_told_without_its_values(here: Place, breach: str) -> None:
    here.upstream.script(UPSTREAM[breach])
    here.source.sql("INSERT INTO person (code, name, number) VALUES ('P-1', %s, %s)", [VALUE, NUMBER])
    here.source.sql("INSERT INTO act (code, name) VALUES ('A-1', 'harmless')")
    commands = (
        ("run", "--once"), ("status",), ("status", "--json"), ("check",), ("quarantine", "list"),
        ("quarantine", "list", "--json"), ("quarantine", "show", "1"), ("quarantine", "retry", "--all"),
        ("conflicts", "list"), ("verify",), ("tables",),
    )  # fmt: skip
    said = []
    for words in commands:
        done = here.run(*words)
        assert done.code != 70, (words, done.err)
        see_nothing(" ".join(words), done.out + done.err)
        said.append(done.out + done.err)
    for database in (here.source, here.upstream):
        see_nothing(database.name, told(database))
    assert here.upstream.value("SELECT count(*) FROM person WHERE code = 'P-1'") == 0
    assert breach in STOPPING or any("P-1" in text for text in said), "its key is told"


@ONE_MIXTURE
def test_the_services_log_shows_no_values(here: Place) -> None:
    here.upstream.script(UPSTREAM["RAISE"])
    with here.service() as service:
        here.source.sql("INSERT INTO person (code, name) VALUES ('P-1', %s)", [VALUE])
        here.source.sql("INSERT INTO act (code, name, person) VALUES ('A-1', %s, %s)", [VALUE, VALUE])
        here.see("act", 1)
        service.terminate()
    see_nothing("log", service.log.read_text())


@pytest.mark.parametrize("breach", UPSTREAM)
def test_every_error_of_postgresql_is_said_without_the_value(pair: Pair, breach: str) -> None:
    """Said by a server in another language too, where there is one."""
    pair.upstream.script(BEFORE)
    pair.upstream.script(UPSTREAM[breach])
    with pair.upstream.connect() as session, pytest.raises(psycopg.Error) as caught:
        session.execute("SET search_path = pg_catalog, public")
        with session.transaction():
            session.execute(f"INSERT INTO person (code, name) VALUES ('P-1', '{VALUE}')")
            session.execute(f"UPDATE person SET number = '{NUMBER}'")
            session.execute("SET CONSTRAINTS ALL IMMEDIATE")
    words = primary(caught.value)
    see_nothing(breach, words)
    assert len(words) > len("an error")


def test_the_words_say_where_and_what(pair: Pair) -> None:
    pair.upstream.script(BEFORE)

    def of(statement: LiteralString) -> str:
        with pair.upstream.connect() as session, pytest.raises(psycopg.Error) as caught:
            session.execute(statement)
        return primary(caught.value)

    assert of("SELECT 'Zebedee'::integer") == "a value cannot be read for type integer"
    assert of("SELECT '99999'::smallint") == "a number is out of range for type smallint"
    assert of("SELECT '2020-02-31'::date") == "a date or time is out of range"
    assert of("INSERT INTO person (name) VALUES ('Zebedee')") == (
        'null value in column "code" of relation "person" violates not-null constraint'
    )
    pair.upstream.script(UPSTREAM["RAISE"])
    assert of("INSERT INTO person (code, name) VALUES ('P-1', 'Zebedee')") == (
        "the function look() raised: raise exception (SQLSTATE P0001; the server's log has its words)"
    )
