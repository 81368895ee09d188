"""A row that the upstream refuses in words which sound like a server in trouble goes aside, and the link goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE contact (id serial PRIMARY KEY, name text NOT NULL UNIQUE, note text, first boolean NOT NULL DEFAULT false);
"""
TABLES = """
[[tables]]
name = "*"
"""
LONG: LiteralString = "(SELECT string_agg(md5(h::text), '') FROM generate_series(1, 120) h)"
"""More than an index takes, and nothing that could be compressed."""


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give two empty databases."""
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def waiting(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.upstream.sql("""
        SELECT array_to_string(key, ' '), op::text, conflict, reason FROM dbsync.quarantine
        WHERE state = 'waiting' ORDER BY arrival, tx, seq""")


@pytest.mark.parametrize("others", [3, 1200])
def test_a_value_too_long_for_an_index_upstream_waits_alone(clinic: Pipeline, others: int) -> None:
    clinic.upstream.sql("CREATE INDEX by_note ON contact (note)")
    clinic.source.sql(
        "INSERT INTO contact (name, note) SELECT 'c' || g, CASE g WHEN 2 THEN "
        + LONG
        + " ELSE 'x' END FROM generate_series(1, %s) g",
        [others],
    )
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM contact") == others - 1
    ((key, op, conflict, reason),) = waiting(clinic)
    assert (key, op, conflict) == ("c2", "I", "refused")
    assert "by_note" in reason
    clinic.upstream.sql("DROP INDEX by_note")
    clinic.applier.release()
    clinic.agree()


def test_a_text_too_long_to_be_searched_upstream_waits_alone(clinic: Pipeline) -> None:
    clinic.upstream.sql("CREATE INDEX by_word ON contact USING gin (to_tsvector('simple', note))")
    clinic.source.sql("""
        INSERT INTO contact (name, note) VALUES ('c1', 'x'), ('c3', 'y'),
            ('c2', (SELECT string_agg(md5(h::text), ' ') FROM generate_series(1, 40000) h))""")
    clinic.ship()
    assert clinic.upstream.sql("SELECT name FROM contact ORDER BY 1") == [("c1",), ("c3",)]
    ((key, op, conflict, reason),) = waiting(clinic)
    assert (key, op, conflict) == ("c2", "I", "refused")
    assert "tsvector" in reason


def test_rows_that_a_trigger_changes_beside_each_other_go_in_one_by_one(clinic: Pipeline) -> None:
    """Each alone is no trouble; in one statement PostgreSQL refuses the row that was changed on the way."""
    clinic.source.sql("INSERT INTO contact (name) VALUES ('c1'), ('c2'), ('c3')")
    clinic.agree()
    clinic.upstream.script("""
        CREATE FUNCTION only_one() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE contact SET first = false WHERE first AND id <> NEW.id;
            RETURN NEW;
        END $$;
        CREATE TRIGGER only_one BEFORE UPDATE OF first ON contact FOR EACH ROW WHEN (NEW.first) EXECUTE FUNCTION only_one()""")
    clinic.source.sql("UPDATE contact SET first = true WHERE name = 'c2'")
    clinic.agree()
    clinic.source.sql("UPDATE contact SET first = false, note = 'no more' WHERE name = 'c2'")
    clinic.source.sql("UPDATE contact SET first = true WHERE name = 'c1'")
    clinic.source.sql("UPDATE contact SET note = 'x' WHERE name = 'c3'")
    clinic.agree()
    assert waiting(clinic) == []
