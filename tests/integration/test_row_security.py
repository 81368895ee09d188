"""Row-level security upstream: a row that a policy refuses goes aside like any other, and no hidden row is harmed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, LiteralString

import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from dbsync.apply.applier import Applier
from dbsync.postgres import connect
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE, age int);
CREATE TABLE visit (
    id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject ON DELETE CASCADE, code text NOT NULL,
    UNIQUE (subject_id, code));
CREATE TABLE note (id serial PRIMARY KEY, text text);
CREATE TABLE audit (id serial PRIMARY KEY, name text, age int);
"""
TABLES = """
[[tables]]
name = "subject"
[[tables]]
name = "visit"
[[tables]]
name = "note"
key = "row_id"
[[tables]]
name = "audit"
skip = true
"""


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give a source and an upstream into which a login writes that policies hold for; both have A and B."""
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        pipeline.source.script("INSERT INTO subject (name, age) VALUES ('A', 1), ('B', 2)")
        pipeline.agree()
        role = "ruled_" + both.upstream.name
        with both.upstream.connect() as session:
            session.execute(
                f"""
                CREATE ROLE {role} LOGIN IN ROLE dbsync_replicator;
                GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
                GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}""".encode()
            )
            try:
                with closing(connect(make_conninfo(both.upstream.dsn, user=role), name="upstream")) as connection:
                    pipeline.applier = Applier(connection, pipeline.policies)
                    yield pipeline
            finally:
                session.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def waiting(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.upstream.sql("""
        SELECT regexp_replace(relation, '^public.', ''), array_to_string(key, ' '), op::text, conflict, reason
        FROM dbsync.quarantine WHERE state = 'waiting' ORDER BY arrival, tx, seq""")


def subjects(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.upstream.sql("SELECT name, age FROM subject ORDER BY name")


YOUNG = """
    ALTER TABLE subject ENABLE ROW LEVEL SECURITY;
    CREATE POLICY seen ON subject USING (true) WITH CHECK (age < 100)"""
REFUSED = 'new row violates row-level security policy for table "subject"'


@pytest.mark.parametrize("others", [2, 1200])
def test_a_row_that_a_policy_refuses_goes_aside_and_the_others_flow(clinic: Pipeline, others: int) -> None:
    clinic.upstream.script(YOUNG)
    clinic.source.sql(
        "INSERT INTO subject (name, age) SELECT 's' || g, CASE g WHEN 2 THEN 100 ELSE 3 END FROM generate_series(1, %s) g",
        [others],
    )
    clinic.source.sql("INSERT INTO visit (subject_id, code) SELECT id, '1' FROM subject WHERE name IN ('s1', 's2')")
    clinic.source.sql("UPDATE subject SET age = age * 60 WHERE name IN ('A', 'B')")
    clinic.ship()
    assert waiting(clinic) == [
        ("subject", "s2", "I", "refused", REFUSED),
        ("visit", "s2 1", "I", "waits", waiting(clinic)[1][4]),
        ("subject", "B", "U", "refused", REFUSED),
    ]
    assert subjects(clinic)[:3] == [("A", 60), ("B", 2), ("s1", 3)]
    assert clinic.upstream.value("SELECT count(*) FROM subject") == others + 1
    clinic.upstream.script("DROP POLICY seen ON subject; CREATE POLICY seen ON subject USING (true)")
    clinic.applier.release()
    clinic.agree()


def test_so_does_one_that_a_policy_lets_nobody_change(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        ALTER TABLE subject ENABLE ROW LEVEL SECURITY;
        CREATE POLICY seen ON subject FOR SELECT USING (true);
        CREATE POLICY made ON subject FOR INSERT WITH CHECK (true);
        CREATE POLICY edited ON subject FOR UPDATE USING (name <> 'A');
        CREATE POLICY deleted ON subject FOR DELETE USING (name <> 'B')""")
    clinic.source.sql("UPDATE subject SET age = age + 1")
    clinic.source.sql("INSERT INTO subject (name) VALUES ('C')")
    clinic.source.sql("DELETE FROM subject WHERE name = 'B'")
    clinic.ship()
    assert subjects(clinic) == [("A", 1), ("B", 3), ("C", None)]
    assert [row[:4] for row in waiting(clinic)] == [("subject", "A", "U", "refused"), ("subject", "B", "D", "refused")]
    assert "policy upstream" in waiting(clinic)[0][4]


@pytest.mark.parametrize(
    ("guarded", "words"),
    [
        (
            "ALTER TABLE audit ENABLE ROW LEVEL SECURITY; CREATE POLICY made ON audit USING (true) WITH CHECK (age < 100)",
            'new row violates row-level security policy for table "audit", in the function note_it()',
        ),
        (
            """ALTER TABLE audit RENAME TO audited; GRANT ALL ON audited TO PUBLIC;
            CREATE VIEW audit AS SELECT name, age FROM audited WHERE age < 100 WITH CHECK OPTION;
            GRANT INSERT ON audit TO PUBLIC""",
            'new row violates check option for view "audit", in the function note_it()',
        ),
    ],
    ids=["policy", "view"],
)
def test_so_does_one_that_a_trigger_writes_elsewhere_in_vain(
    clinic: Pipeline, guarded: LiteralString, words: str
) -> None:
    clinic.upstream.script(guarded)
    clinic.upstream.script("""
        CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.audit (name, age) VALUES (new.name, new.age); RETURN new; END $$;
        CREATE TRIGGER noting AFTER INSERT ON subject FOR EACH ROW EXECUTE FUNCTION note_it()""")
    clinic.source.sql("INSERT INTO subject (name, age) VALUES ('C', 3), ('old', 100), ('D', 4)")
    clinic.ship()
    assert waiting(clinic) == [("subject", "old", "I", "refused", words)]
    assert [name for name, _ in subjects(clinic)] == ["A", "B", "C", "D"]


def test_a_missing_privilege_halts_the_link_and_puts_nothing_aside(clinic: Pipeline) -> None:
    clinic.upstream.script(YOUNG)
    clinic.upstream.sql(f"REVOKE INSERT ON subject FROM ruled_{clinic.upstream.name}".encode())
    clinic.source.sql("INSERT INTO subject (name) VALUES ('C')")
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table subject"):
        clinic.ship()
    assert waiting(clinic) == []


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        (
            "ALTER TABLE visit ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON visit USING (code <> 'theirs')",
            "whether rows of visit refer to it cannot be seen: this role may not read that table, or not all of it",
        ),
        (
            """ALTER TABLE subject ENABLE ROW LEVEL SECURITY;
            CREATE POLICY seen ON subject FOR SELECT USING (true);
            CREATE POLICY made ON subject FOR DELETE USING (true);
            CREATE POLICY edited ON subject FOR UPDATE USING (name <> 'A')""",
            "rows of visit that the source did not delete refer to it (visit_subject_id_fkey)",
        ),
    ],
    ids=["hidden child", "parent that may be deleted and not locked"],
)
def test_a_deleted_row_takes_none_along_that_a_policy_hides(
    clinic: Pipeline, policies: LiteralString, reason: str
) -> None:
    clinic.upstream.sql("INSERT INTO visit (subject_id, code) SELECT id, 'theirs' FROM subject")
    clinic.upstream.script(policies)
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM visit") == 2
    assert waiting(clinic) == [("subject", "A", "D", "still_referenced", reason)]


def test_where_a_policy_shows_every_row_deletes_go_in(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        ALTER TABLE visit ENABLE ROW LEVEL SECURITY;
        CREATE POLICY dbsync ON visit USING (true) WITH CHECK (true);
        CREATE POLICY other ON visit AS RESTRICTIVE FOR UPDATE USING (code <> 'theirs')""")
    clinic.source.sql("DELETE FROM subject WHERE name = 'A'")
    clinic.agree()
    assert waiting(clinic) == []
