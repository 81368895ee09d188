"""Row-level security at the source: what policies hide from capture breaks no statement and is never passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from dbsync.capture.backfill import backfill
from dbsync.errors import Refusal
from dbsync.postgres import connect
from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE site (id int PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE, site_id int REFERENCES site);
"""
TABLES = """
[[tables]]
name = "*"
truncate = "capture"
"""
SEEN_BY_ALL = "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON {0} USING (true)"
SOME_HIDDEN = "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON {0} USING (id < 10)"


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    """Give two sites and a subject that are upstream already."""
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        pipeline.source.script(
            "INSERT INTO site VALUES (1, 'G'), (11, 'M'); INSERT INTO subject (name, site_id) VALUES ('A', 1)"
        )
        pipeline.agree()
        yield pipeline


def test_data_can_be_restored_as_pg_restore_does_it(clinic: Pipeline) -> None:
    clinic.source.script(SEEN_BY_ALL.format("site"))
    clinic.source.script("""
        SET row_security = off;
        INSERT INTO subject (name, site_id) VALUES ('B', 11);
        UPDATE subject SET site_id = 11 WHERE name = 'A';
        ALTER TABLE subject ADD age int;
        UPDATE subject SET age = 5, site_id = 1
    """)
    clinic.upstream.sql("ALTER TABLE subject ADD age int")
    clinic.agree()
    assert held(clinic) == []


def test_truncate_is_refused_where_rows_are_hidden_from_capture(clinic: Pipeline) -> None:
    clinic.source.script(SOME_HIDDEN.format("site"))
    with pytest.raises(psycopg.errors.RaiseException, match="row-level security hides rows"):
        clinic.source.sql("TRUNCATE site CASCADE")
    clinic.source.sql("CREATE POLICY dbsync ON site TO dbsync_capture USING (true)")
    clinic.source.sql("TRUNCATE site CASCADE")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM site") == 0


@pytest.fixture
def login(clinic: Pipeline) -> Iterator[psycopg.Connection]:
    """Give a session at the source of a login that policies hold for."""
    role = f"ruled_{clinic.source.name}"
    with clinic.source.connect() as session:
        session.execute(
            f"""
            CREATE ROLE {role} LOGIN IN ROLE dbsync;
            GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}""".encode()
        )
        try:
            with closing(connect(make_conninfo(clinic.source.dsn, user=role), name="source")) as connection:
                yield connection
        finally:
            session.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.parametrize("policy", [SOME_HIDDEN, SEEN_BY_ALL.replace("USING", "FOR SELECT USING")])
def test_a_backfill_is_refused_where_rows_are_hidden_from_its_login(
    clinic: Pipeline, login: psycopg.Connection, policy: LiteralString
) -> None:
    names = [table.name for table in clinic.registry.shipped()]

    def logged() -> int:
        return backfill(login, clinic.registry, clinic.catalog, names, lambda *_: None)

    clinic.source.script(policy.format("site"))
    with pytest.raises(Refusal) as refused:
        logged()
    assert "may be hidden" in refused.value.what
    clinic.source.sql(refused.value.hint.partition(": ")[2].encode())
    assert logged() == 3
