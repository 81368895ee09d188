"""No row upstream is deleted, overwritten or re-pointed that the source did not name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from dbsync.apply.applier import Released
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE, age int);
CREATE TABLE visit (
    id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject ON DELETE CASCADE, code text NOT NULL,
    UNIQUE (subject_id, code));
CREATE TABLE letter (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, subject_id int REFERENCES subject ON DELETE SET NULL,
    deputy_id int REFERENCES subject ON DELETE SET DEFAULT);
CREATE TABLE note (id serial PRIMARY KEY, visit_id int NOT NULL REFERENCES visit ON DELETE CASCADE);
"""
TABLES = """
[[tables]]
name = "subject"
[[tables]]
name = "visit"
[[tables]]
name = "letter"
[[tables]]
name = "note"
skip = true
"""


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give a source and an upstream that both have A and B, each with a visit."""
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        pipeline.source.script("""
            INSERT INTO subject (name) VALUES ('A'), ('B');
            INSERT INTO visit (subject_id, code) VALUES (1, '1'), (2, '1');
            INSERT INTO letter (name, subject_id, deputy_id) VALUES ('to A', 1, 2)""")
        pipeline.agree()
        yield pipeline


def waiting(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.upstream.sql("""
        SELECT regexp_replace(relation, '^public.', ''), array_to_string(key, ' '), op::text, conflict, reason
        FROM dbsync.quarantine WHERE state = 'waiting' ORDER BY arrival, tx, seq""")


def test_a_cascade_of_the_source_goes_through(clinic: Pipeline) -> None:
    clinic.source.script("DELETE FROM subject")
    clinic.agree()
    assert waiting(clinic) == []


@pytest.mark.parametrize(
    ("theirs", "table"),
    [
        ("INSERT INTO visit (subject_id, code) SELECT id, '2' FROM subject WHERE name = 'A'", "visit"),
        ("INSERT INTO letter (name, subject_id) SELECT 'theirs', id FROM subject WHERE name = 'A'", "letter"),
        ("INSERT INTO letter (name, deputy_id) SELECT 'theirs', id FROM subject WHERE name = 'A'", "letter"),
    ],
)
def test_a_deleted_row_takes_no_row_along_that_only_the_upstream_has(
    clinic: Pipeline, theirs: LiteralString, table: LiteralString
) -> None:
    clinic.upstream.sql(theirs)
    before = clinic.upstream.sql("SELECT * FROM " + table + " WHERE id = (SELECT max(id) FROM " + table + ")")
    clinic.source.sql("DELETE FROM subject")
    clinic.ship()
    assert clinic.upstream.sql("SELECT name FROM subject") == [("A",)]
    assert set(before) <= set(clinic.upstream.sql("SELECT * FROM " + table))
    ((relation, key, op, conflict, reason),) = waiting(clinic)
    assert (relation, key, op, conflict) == ("subject", "A", "D", "still_referenced")
    assert table in reason
    clinic.upstream.sql("DELETE FROM " + table + " WHERE subject_id IS NOT NULL OR deputy_id IS NOT NULL"
                        if table == "letter" else "DELETE FROM visit")  # fmt: skip
    assert clinic.applier.release() == Released(released=1)
    assert clinic.upstream.sql("SELECT name FROM subject") == []


def test_a_cascade_over_two_tables_takes_no_row_along_either(clinic: Pipeline) -> None:
    clinic.upstream.sql("INSERT INTO note (visit_id) SELECT id FROM visit")
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM note") == 2
    assert clinic.upstream.value("SELECT count(*) FROM visit") == 2
    assert [row[:4] for row in waiting(clinic)] == [
        ("visit", "A 1", "D", "still_referenced"),
        ("subject", "A", "D", "still_referenced"),
    ]


def test_a_row_that_is_made_while_its_parent_is_deleted_is_not_taken_along(clinic: Pipeline) -> None:
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    with clinic.upstream.connect() as session:
        with session.transaction():
            session.execute("INSERT INTO visit (subject_id, code) SELECT id, '2' FROM subject WHERE name = 'A'")
            shipping = threading.Thread(target=clinic.ship)
            shipping.start()
            _until_somebody_waits(clinic)
        shipping.join(30)
    assert clinic.upstream.sql("SELECT code FROM visit v JOIN subject s ON s.id = subject_id WHERE name = 'A'") == [("2",)]
    assert [row[3] for row in waiting(clinic)] == ["still_referenced"]


def _until_somebody_waits(pipeline: Pipeline) -> None:
    from tests.support.service import until

    until(
        lambda: pipeline.upstream.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        > 0,
        "nobody waits",
    )
