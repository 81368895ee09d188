"""A transaction that began before a migration and writes after it: it sees the catalogs as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest

from tests.integration.clinic_schema import held
from tests.support.pipeline import Pipeline

VISIT: LiteralString = "INSERT INTO visit (subject_id, code) VALUES (3, %s)"


@contextmanager
def begun_before(clinic: Pipeline, migration: LiteralString, *, planned: bool) -> Iterator[psycopg.Connection]:
    """Give a session in a transaction whose snapshot is older than a migration, its triggers planned before or not yet."""
    with psycopg.connect(clinic.source.dsn) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        if planned:
            session.execute(VISIT, ["before"])
            session.commit()
        session.execute("SELECT FROM site")
        clinic.source.script(migration)
        yield session


@pytest.mark.parametrize("planned", [True, False])
def test_a_column_that_is_new_is_captured_in_the_transaction_and_after_it(clinic: Pipeline, planned: bool) -> None:
    adding: LiteralString = "ALTER TABLE visit ADD COLUMN colour text"
    with begun_before(clinic, adding, planned=planned) as session:
        session.execute("INSERT INTO visit (subject_id, code, colour) VALUES (3, '8', 'red')")
        session.execute("UPDATE visit SET colour = 'green' WHERE code = '8'")
        session.commit()
        session.execute("INSERT INTO visit (subject_id, code, colour) VALUES (3, '9', 'blue')")
        session.commit()
    clinic.upstream.script(adding)
    clinic.agree()
    assert held(clinic) == []


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    "migration",
    [
        "ALTER TABLE visit DROP COLUMN note",
        "ALTER TABLE visit RENAME COLUMN note TO remark",
        "ALTER TABLE visit RENAME COLUMN subject_id TO person_id",
        "ALTER TABLE visit DROP COLUMN note; ALTER TABLE visit ADD COLUMN note int",
        "ALTER TABLE visit ALTER COLUMN note TYPE varchar(10)",
        "ALTER TABLE subject RENAME COLUMN identifier TO number",
        "ALTER TABLE subject RENAME TO participant",
        "ALTER TABLE visit SET SCHEMA archive",
        "ALTER TABLE visit RENAME TO meeting",
    ],
)
def test_the_application_goes_on_whatever_was_altered(
    clinic: Pipeline, migration: LiteralString, planned: bool
) -> None:
    clinic.source.sql("CREATE SCHEMA archive")
    with begun_before(clinic, migration, planned=planned) as session:
        table = "archive.visit" if "archive" in migration else "meeting" if "meeting" in migration else "visit"
        parent = "person_id" if "person_id" in migration else "subject_id"
        before = clinic.source.value("SELECT count(*) FROM dbsync.change")
        for code in ("'8'", "'9'"):
            session.execute(f"INSERT INTO {table} ({parent}, code) VALUES (3, {code})".encode())
            session.execute(f"UPDATE {table} SET code = code || 'x' WHERE code = {code}".encode())
            session.execute(f"DELETE FROM {table} WHERE code = {code} || 'x'".encode())
            session.commit()
    assert clinic.source.value("SELECT count(*) FROM dbsync.change") == before + 6
