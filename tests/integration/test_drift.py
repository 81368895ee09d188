"""Tables that change after the triggers were installed, here or upstream."""

from __future__ import annotations

import threading
import time
from typing import LiteralString

import psycopg
import pytest

from tests.integration.clinic_schema import TABLES, held
from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline


@ONE_MIXTURE
def test_a_column_added_later_is_captured_without_installing_again(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("INSERT INTO subject (identifier, age) VALUES ('before', 1)")
        session.execute("ALTER TABLE subject ADD COLUMN colour text DEFAULT 'red'")
        session.execute("INSERT INTO subject (identifier, colour) VALUES ('after', 'green')")
        session.execute("UPDATE subject SET colour = 'blue' WHERE identifier = 'A'")
        session.execute("DELETE FROM subject WHERE identifier = 'C'")
    clinic.upstream.sql("ALTER TABLE subject ADD COLUMN colour text DEFAULT 'red'")
    clinic.agree()
    assert clinic.upstream.sql("SELECT identifier, colour FROM subject ORDER BY 1") == [
        ("A", "blue"), ("B", "red"), ("after", "green"), ("before", "red")]  # fmt: skip
    clinic.reinstall(TABLES)
    clinic.source.sql("UPDATE subject SET colour = 'white'")
    clinic.agree()


@ONE_MIXTURE
def test_a_change_of_a_column_that_the_upstream_lacks_waits_until_it_is_there(clinic: Pipeline) -> None:
    clinic.source.script("ALTER TABLE subject ADD COLUMN colour text; UPDATE subject SET colour = 'red' WHERE id = 1")
    clinic.ship()
    assert held(clinic) == [("missing_column", "table subject has no column colour upstream")]
    clinic.upstream.sql("ALTER TABLE subject ADD COLUMN colour text")
    clinic.restart()
    clinic.applier.tend(clinic.node.lineage)
    clinic.agree()


@ONE_MIXTURE
def test_a_column_dropped_or_altered_later_does_not_break_the_application(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("UPDATE subject SET age = 31 WHERE id = 1")
        session.execute("ALTER TABLE subject DROP COLUMN initials")
        session.execute("UPDATE subject SET age = 32 WHERE id = 1")
        session.execute("ALTER TABLE subject ALTER COLUMN age TYPE text USING age || ' years'")
        session.execute("INSERT INTO subject (identifier, age) VALUES ('N', 'many')")
    clinic.upstream.script("""
        ALTER TABLE subject ALTER COLUMN age TYPE text USING age || ' years'
    """)
    clinic.ship()
    assert clinic.upstream.sql("SELECT identifier, age FROM subject WHERE identifier IN ('A', 'N') ORDER BY 1") == [
        ("A", "32"), ("N", "many")]  # fmt: skip


@ONE_MIXTURE
def test_a_parent_whose_key_column_is_renamed_does_not_break_the_application(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("ALTER TABLE subject RENAME COLUMN identifier TO number")
        session.execute("INSERT INTO visit (subject_id, code) VALUES (3, '9')")
        session.execute("UPDATE visit SET note = 'x' WHERE code = '9'")
        session.execute("DELETE FROM visit WHERE code = '2000'")
        session.execute("INSERT INTO subject (number) VALUES ('N')")
        session.execute("UPDATE subject SET age = 1 WHERE number = 'N'")
    assert sorted(clinic.changes()[-6:]) == [
        ("public.crf", "D", False), ("public.subject", "I", False), ("public.subject", "U", False),
        ("public.visit", "D", False), ("public.visit", "I", False), ("public.visit", "U", False)]  # fmt: skip
    clinic.ship()
    assert {conflict for conflict, _ in held(clinic)} == {"unkeyable", "missing_column"}


@ONE_MIXTURE
def test_migrations_that_rewrite_the_table_meet_no_obstacle(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("ALTER TABLE visit ALTER COLUMN code TYPE varchar(40)")
        session.execute("ALTER TABLE visit RENAME TO clinic_visit")
        session.execute("INSERT INTO clinic_visit (subject_id, code) VALUES (3, '9')")
        session.execute("ALTER TABLE clinic_visit RENAME TO visit")
        session.execute("INSERT INTO visit (subject_id, code) VALUES (3, '8')")
    clinic.agree()


@ONE_MIXTURE
def test_a_trigger_of_the_upstreams_application_finds_its_own_tables(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        CREATE TABLE audit (name text);
        CREATE FUNCTION write_audit() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO audit VALUES (NEW.identifier); RETURN NEW; END';
        CREATE TRIGGER audit BEFORE INSERT OR UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION write_audit()""")
    clinic.source.script(
        "INSERT INTO subject (identifier) VALUES ('N'); UPDATE subject SET age = 1 WHERE identifier = 'A'"
    )
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.sql("SELECT name FROM audit ORDER BY name") == [("A",), ("N",)]


@ONE_MIXTURE
@pytest.mark.parametrize(
    "renaming",
    ["ALTER TABLE subject RENAME COLUMN identifier TO number", "ALTER TABLE subject RENAME TO participant"],
)
def test_a_write_that_waits_while_its_parent_is_renamed_fails_once_and_loses_nothing(
    clinic: Pipeline, renaming: LiteralString
) -> None:
    """Told in docs/how-to/migrate-the-application.md, as a reason to migrate while the application is stopped."""
    write: LiteralString = "INSERT INTO visit (subject_id, code) VALUES (3, '9')"
    failed: list[type[psycopg.Error]] = []
    with clinic.source.connect() as migration, clinic.source.connect() as application:
        application.execute("INSERT INTO visit (subject_id, code) VALUES (3, '8')")
        migration.execute("BEGIN")
        migration.execute(renaming)

        def writing() -> None:
            try:
                application.execute(write)
            except psycopg.Error as error:
                failed.append(type(error))

        waiting = threading.Thread(target=writing)
        waiting.start()
        time.sleep(0.5)
        assert waiting.is_alive()
        migration.execute("COMMIT")
        waiting.join(20)
        assert failed in ([psycopg.errors.UndefinedColumn], [psycopg.errors.UndefinedTable])
        assert clinic.source.value("SELECT count(*) FROM visit WHERE code = '9'") == 0
        application.execute(write)
    recorded = "SELECT count(*) FROM dbsync.change WHERE image @> ARRAY['9']"
    assert clinic.source.value(recorded) == clinic.source.value("SELECT count(*) FROM visit WHERE code = '9'") == 1
