"""A row that a trigger of the upstream's application keeps out is not lost: it waits, and the others flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE, mother_id int REFERENCES subject);
CREATE TABLE note (id serial PRIMARY KEY, name text);
CREATE TABLE visit (id serial PRIMARY KEY, name text NOT NULL UNIQUE, age int);
"""
TABLES = """
[[tables]]
name = "*"
[[tables]]
name = "note"
key = "row_id"
"""
KEEP_OUT = """
CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.name = 's2' THEN RETURN NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_out BEFORE INSERT ON subject FOR EACH ROW EXECUTE FUNCTION keep_out();
CREATE TRIGGER keep_out BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION keep_out();
CREATE TRIGGER keep_out BEFORE INSERT ON visit FOR EACH ROW EXECUTE FUNCTION keep_out()"""
LET_IN = "DROP FUNCTION keep_out CASCADE"


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give two empty databases."""
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def waiting(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.upstream.sql(
        "SELECT op::text, conflict, reason FROM dbsync.quarantine WHERE state = 'waiting' ORDER BY arrival, tx, seq"
    )


@pytest.mark.parametrize("table", ["subject", "note", "visit"])
@pytest.mark.parametrize("others", [3, 1200])
def test_a_row_that_a_trigger_keeps_out_waits_and_the_others_flow(
    clinic: Pipeline, table: LiteralString, others: int
) -> None:
    clinic.upstream.script(KEEP_OUT)
    clinic.source.sql("INSERT INTO " + table + " (name) SELECT 's' || g FROM generate_series(1, %s) g", [others])
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM " + table) == others - 1
    assert waiting(clinic) == [("I", "refused", "a trigger upstream kept the row out, or gave it another id")]
    clinic.upstream.sql(LET_IN)
    clinic.applier.release()
    clinic.agree()


def test_a_row_that_a_trigger_puts_into_another_table_below_is_there(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        CREATE TABLE visit_old (CHECK (age > 50)) INHERITS (visit);
        CREATE FUNCTION put_below() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.age <= 50 THEN RETURN NEW; END IF;
            INSERT INTO visit_old SELECT NEW.*;
            RETURN NULL;
        END $$;
        CREATE TRIGGER put_below BEFORE INSERT ON visit FOR EACH ROW EXECUTE FUNCTION put_below()""")
    clinic.source.sql("INSERT INTO visit (name, age) VALUES ('s1', 10), ('s2', 90)")
    clinic.ship()
    assert waiting(clinic) == []
    assert clinic.upstream.sql("SELECT name, tableoid::regclass::text FROM visit ORDER BY 1") == [
        ("s1", "visit"),
        ("s2", "visit_old"),
    ]


def test_a_row_that_is_known_by_its_id_and_gets_another_one_from_a_trigger_waits(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.id := nextval('note_id_seq');
            RETURN NEW;
        END $$;
        CREATE TRIGGER number BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION number();
        CREATE TRIGGER number BEFORE INSERT ON visit FOR EACH ROW EXECUTE FUNCTION number()""")
    clinic.source.script("INSERT INTO note (name) VALUES ('a'); INSERT INTO visit (name) VALUES ('v')")
    clinic.ship()
    clinic.source.script("UPDATE note SET name = 'b'; UPDATE visit SET age = 5")
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM note") == 0
    assert [conflict for _, conflict, _ in waiting(clinic)] == ["refused", "waits"]
    clinic.upstream.sql("DROP TRIGGER number ON note")
    clinic.applier.release()
    clinic.agree()
    assert clinic.upstream.sql("SELECT name FROM note") == [("b",)]
