"""Connections that dbsync makes, whatever the database's defaults are."""

from __future__ import annotations

import psycopg
import pytest

from dbsync.postgres import connect
from dbsync.service.lending import Lending
from tests.support.databases import Database, Databases


@pytest.fixture
def database(databases: Databases) -> Database:
    return databases.create(15)


def by_default(database: Database, value: str) -> None:
    """Let a database have a default for when a commit is told of."""
    database.sql(
        psycopg.sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(
            psycopg.sql.Identifier(database.name), psycopg.sql.Literal(value)
        )
    )


def shown(connection: psycopg.Connection) -> tuple[str, str]:
    """Say when a commit is told of, and one of the settings that how values are written depends on."""
    row = connection.execute(
        "SELECT current_setting('synchronous_commit'), current_setting('intervalstyle')"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


@pytest.mark.parametrize(("default", "expected"), [("off", "on"), ("remote_apply", "remote_apply")])
def test_what_dbsync_confirms_survives_a_crash_whatever_the_databases_default(
    database: Database, default: str, expected: str
) -> None:
    by_default(database, default)
    with connect(database.dsn, name="upstream") as typed:
        assert shown(typed) == (expected, "postgres")
    lending = Lending(database.dsn, where="upstream", application="dbsync serve", most=1, silence=10.0)
    lending.open()
    try:
        with lending.one() as lent:
            assert shown(lent) == (expected, "postgres")
    finally:
        lending.close()
