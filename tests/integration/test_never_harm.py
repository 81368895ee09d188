"""No row upstream is deleted, overwritten or re-pointed that the source did not name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, LiteralString

import pytest
from psycopg.conninfo import make_conninfo

from dbsync.apply.applier import Applier
from dbsync.postgres import connect
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared
from tests.support.service import until

pytestmark = ONE_MIXTURE

WAITING_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

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
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
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
        ("INSERT INTO visit (subject_id, code) SELECT id, 'theirs' FROM subject WHERE name = 'A'", "visit"),
        ("INSERT INTO letter (name, subject_id) SELECT 'theirs', id FROM subject WHERE name = 'A'", "letter"),
        ("INSERT INTO letter (name, deputy_id) SELECT 'theirs', id FROM subject WHERE name = 'A'", "letter"),
        (
            "INSERT INTO note (visit_id) SELECT v.id FROM visit v JOIN subject s ON s.id = subject_id WHERE s.name = 'A'",
            "note",
        ),
    ],
)
def test_a_deleted_row_takes_no_row_along_that_only_the_upstream_has(
    clinic: Pipeline, theirs: LiteralString, table: LiteralString
) -> None:
    clinic.upstream.sql(theirs)
    one = "FROM " + table + " WHERE id = (SELECT max(id) FROM " + table + ")"
    before = clinic.upstream.sql("SELECT * " + one)
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    clinic.source.sql("INSERT INTO subject (name) VALUES ('C')")
    clinic.ship()
    assert clinic.upstream.sql("SELECT name FROM subject ORDER BY 1") == [("A",), ("B",), ("C",)]
    assert clinic.upstream.sql("SELECT * " + one) == before
    held = [row for row in waiting(clinic) if row[3] != "waits"]
    assert [row[2:4] for row in held] == [("D", "still_referenced")] * len(held) != []
    assert any(f"rows of {table} that the source did not delete refer to it" in row[4] for row in held)
    clinic.upstream.sql("DELETE " + one)
    clinic.applier.release()
    clinic.agree()
    assert waiting(clinic) == []


def test_nor_one_of_a_partition_that_alone_has_the_constraint(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        CREATE TABLE lab (id serial, kind text NOT NULL, subject_id int NOT NULL, PRIMARY KEY (id, kind))
            PARTITION BY LIST (kind);
        CREATE TABLE lab_blood (gone int, subject_id int NOT NULL, kind text NOT NULL, id int NOT NULL);
        ALTER TABLE lab_blood DROP COLUMN gone;
        ALTER TABLE lab ATTACH PARTITION lab_blood FOR VALUES IN ('blood');
        CREATE TABLE lab_urine PARTITION OF lab FOR VALUES IN ('urine');
        ALTER TABLE lab_blood ADD FOREIGN KEY (subject_id) REFERENCES subject ON DELETE CASCADE;
        ALTER TABLE lab_urine ADD FOREIGN KEY (subject_id) REFERENCES subject ON DELETE CASCADE;
        INSERT INTO lab (kind, subject_id) SELECT 'blood', id FROM subject""")
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM lab") == 2
    assert waiting(clinic)[0][3:] == (
        "still_referenced",
        "rows of lab that the source did not delete refer to it (lab_blood_subject_id_fkey)",
    )
    clinic.upstream.sql("DELETE FROM lab")
    clinic.applier.release()
    clinic.agree()


def test_a_table_that_cannot_be_looked_into_is_not_deleted_from_either(clinic: Pipeline) -> None:
    clinic.upstream.script("INSERT INTO note (visit_id) SELECT id FROM visit")
    with no_superuser(clinic) as applier:
        clinic.source.sql("DELETE FROM visit")
        clinic.applier = applier
        clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM note") == 2
    assert "cannot be seen" in waiting(clinic)[0][4]


@contextmanager
def no_superuser(clinic: Pipeline) -> Iterator[Applier]:
    """Give an applier that may do with the registered tables what it needs, and nothing with the others."""
    role = "blind_" + clinic.upstream.name
    with clinic.upstream.connect() as session:
        session.execute(
            f"""
            CREATE ROLE {role} LOGIN IN ROLE dbsync_replicator;
            GRANT SELECT, INSERT, UPDATE, DELETE ON subject, visit, letter TO {role}""".encode()
        )
        try:
            with closing(connect(make_conninfo(clinic.upstream.dsn, user=role), name="upstream")) as connection:
                yield Applier(connection, clinic.policies)
        finally:
            session.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_a_row_that_is_made_while_its_parent_is_deleted_is_not_taken_along(clinic: Pipeline) -> None:
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    with clinic.upstream.connect() as session:
        with session.transaction():
            session.execute("INSERT INTO visit (subject_id, code) SELECT id, 'theirs' FROM subject WHERE name = 'A'")
            shipping = threading.Thread(target=clinic.ship)
            shipping.start()
            until(lambda: clinic.upstream.value(WAITING_SESSIONS) > 0, "nobody waits")
        shipping.join(30)
    assert ("theirs",) in clinic.upstream.sql("SELECT code FROM visit")
    assert "still_referenced" in [row[3] for row in waiting(clinic)]


def test_of_a_row_and_one_of_its_key_in_a_table_that_inherits_neither_is_taken_for_the_other(
    databases: Databases, pair: Pair
) -> None:
    both = prepared(
        databases,
        pair,
        """
        CREATE TABLE paper (id serial PRIMARY KEY, code text NOT NULL UNIQUE, note text);
        CREATE TABLE signed (PRIMARY KEY (id), UNIQUE (code), day date) INHERITS (paper)""",
    )
    with Pipeline(both.source, both.upstream, '[[tables]]\nname = "*"\n') as pipeline:
        pipeline.source.script("""
            INSERT INTO paper (code) VALUES ('a'), ('b'), ('c'); INSERT INTO signed (code, day) VALUES ('a', '2020-01-01'), ('d', NULL)""")
        pipeline.ship()
        pipeline.source.sql("UPDATE ONLY paper SET note = 'x'")
        pipeline.source.sql("DELETE FROM ONLY paper WHERE code IN ('a', 'b')")
        pipeline.source.sql("DELETE FROM paper WHERE code = 'd'")
        pipeline.ship()
        assert pipeline.upstream.sql("SELECT code, note FROM signed") == [("a", None)]
        assert pipeline.upstream.sql("SELECT code, note FROM ONLY paper ORDER BY 1") == [("a", None), ("c", "x")]
        assert pipeline.upstream.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'") == 2
