"""Triggers upstream that wait for a statement, or for a column: they run where the application's own statement would have run them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pytest

from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE trail (id serial PRIMARY KEY, code text NOT NULL UNIQUE, said text, of_id int REFERENCES trail);
CREATE TABLE line (id serial PRIMARY KEY, said text);
CREATE TABLE visit (id serial PRIMARY KEY, code text NOT NULL UNIQUE, status text, note text, trail_id int REFERENCES trail);
"""
TABLES = """
[[tables]]
name = "*"
on_conflict = "{0}"
[[tables]]
name = "line"
key = "row_id"
on_conflict = "{0}"
"""
FORBID: LiteralString = """
CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', tg_op; END $$;
"""
WATCH: LiteralString = """
CREATE TABLE seen (code text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (new.code); RETURN NULL; END $$;
CREATE TRIGGER see AFTER UPDATE OF {} ON visit FOR EACH ROW EXECUTE FUNCTION see()
"""


@pytest.fixture
def both(pair: Pair, databases: Databases) -> Pair:
    return prepared(databases, pair, SCHEMA)


@pytest.fixture
def clinic(both: Pair) -> Iterator[Pipeline]:
    """Give two databases with a visit."""
    with Pipeline(both.source, both.upstream, TABLES.format("source")) as pipeline:
        pipeline.source.script(
            "INSERT INTO trail (code) VALUES ('t'), ('u'); INSERT INTO visit (code, status) VALUES ('v', 'new')"
        )
        pipeline.agree()
        yield pipeline


@pytest.mark.parametrize("table", ["trail", "line"])
@pytest.mark.parametrize("many", [1, 1500])
def test_rows_arrive_in_a_table_whose_rows_may_not_be_changed(clinic: Pipeline, table: str, many: int) -> None:
    clinic.upstream.script(FORBID)
    clinic.upstream.sql(f"CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON {table} EXECUTE FUNCTION forbid()".encode())
    column = "code" if table == "trail" else "said"
    clinic.source.sql(f"INSERT INTO {table} ({column}) SELECT 'x' || g FROM generate_series(1, {many}) g".encode())
    clinic.agree()
    assert held(clinic) == []
    clinic.source.sql(f"UPDATE {table} SET said = 'y' WHERE {column} = 'x1'".encode())
    clinic.ship()
    assert [conflict for conflict, _ in held(clinic)] == ["refused"]


def test_rows_are_changed_in_a_table_that_takes_no_new_ones(clinic: Pipeline) -> None:
    clinic.upstream.script(FORBID + "CREATE TRIGGER keep BEFORE INSERT ON visit EXECUTE FUNCTION forbid()")
    clinic.source.sql("UPDATE visit SET note = 'x'")
    clinic.agree()
    assert held(clinic) == []
    clinic.source.sql("INSERT INTO visit (code) VALUES ('w')")
    clinic.ship()
    assert [conflict for conflict, _ in held(clinic)] == ["refused"]


def test_a_trigger_on_a_column_runs_where_that_one_changes(clinic: Pipeline) -> None:
    clinic.upstream.script(WATCH.format("status, trail_id"))
    for change in (
        "note = 'x'",
        "status = 'done'",
        "status = 'done', note = 'y'",
        "trail_id = 2",
        "note = 'z', code = 'w'",
    ):
        clinic.source.sql(f"UPDATE visit SET {change}".encode())
        clinic.agree()
    clinic.source.sql("INSERT INTO visit (code, status) VALUES ('x', 'new'), ('y', 'new')")
    clinic.source.script("UPDATE visit SET note = 'x'; UPDATE visit SET status = 'done' WHERE code = 'y'")
    clinic.agree()
    clinic.source.script(
        "UPDATE visit SET note = 'z' WHERE code <> 'y'; UPDATE visit SET status = 'seen' WHERE code = 'y'"
    )
    clinic.agree()
    assert clinic.upstream.sql("SELECT code FROM seen") == [("v",), ("v",), ("y",)]


@pytest.mark.parametrize("rule", ["source", "upstream", "quarantine"])
def test_a_conflict_about_such_a_column_is_in_the_ledger(both: Pair, rule: str) -> None:
    with Pipeline(both.source, both.upstream, TABLES.format(rule)) as clinic:
        clinic.source.sql("INSERT INTO visit (code, status) VALUES ('v', 'new')")
        clinic.agree()
        clinic.upstream.script(WATCH.format("status"))
        clinic.upstream.sql("ALTER TABLE visit DISABLE TRIGGER see")
        clinic.upstream.sql("UPDATE visit SET status = 'theirs'")
        clinic.upstream.sql("ALTER TABLE visit ENABLE TRIGGER see")
        clinic.source.sql("UPDATE visit SET status = 'mine', note = 'x'")
        clinic.ship()
        assert clinic.upstream.sql("SELECT conflict, columns FROM dbsync.conflict") == [
            ("update_origin_differs", ["status"])
        ]
        assert clinic.upstream.sql("SELECT code FROM seen") == [("v",)] * (rule == "source")
