"""A node and an upstream of the released schema go on with their batches after the upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbsync import schema
from dbsync.statements import folder, statement
from tests.acceptance.places import SCHEMA, TABLES, Place
from tests.support.databases import ONE_MIXTURE, Database, Pair


def released(database: Database) -> None:
    """Make the schema as the first release made it."""
    with database.connect() as connection, connection.transaction():
        for name in ("owner", "schema", "as_owner"):
            connection.execute(statement("install", name))
        connection.execute((folder() / "migrations" / "0001_initial.sql").read_bytes())
        connection.execute("CREATE TABLE dbsync.alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY)")
        connection.execute("INSERT INTO dbsync.alembic_version VALUES ('0001')")


@pytest.fixture
def pair_of_the_release(pair: Pair) -> Pair:
    """Give a source with an acknowledged batch and an open one, and the upstream that applied the first."""
    for database in (pair.source, pair.upstream):
        database.script(SCHEMA)
        released(database)
    pair.source.script(r"""
        INSERT INTO dbsync.node (name, incarnation, system_identifier)
        SELECT 'field-07', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', system_identifier FROM pg_control_system();
        INSERT INTO dbsync.link (name, cursor, last_number, last_hash) VALUES ('community', pg_current_snapshot(), 1, '\x01');
        INSERT INTO dbsync.sent (link, number, window_start, window_end, after_seq, last_seq, transactions, changes, counts,
                                 hash, first_captured, last_captured, acknowledged_at)
        SELECT 'community', 1, NULL, pg_current_snapshot(), 0, 7, 1, 1, '[]', '\x01', now(), now(), now()
    """)
    pair.upstream.script(r"""
        INSERT INTO dbsync.receipt (node, incarnation, number, hash, changes, first_captured, last_captured)
        VALUES ('field-07', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1, '\x01', 1, now(), now())
    """)
    return pair


@ONE_MIXTURE
def test_batches_go_on_with_the_next_number(pair_of_the_release: Pair, tmp_path: Path) -> None:
    pair = pair_of_the_release
    here = Place(folder=tmp_path, source=pair.source, upstream=pair.upstream)
    here.configure(TABLES)
    here.install()
    assert schema.head() == pair.source.value("SELECT version_num FROM dbsync.alembic_version")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.must("run", "--once")
    here.must("verify")
    assert here.upstream.sql("SELECT number, link FROM dbsync.receipt ORDER BY number") == [(1, ""), (2, "community")]
    assert here.source.sql("SELECT number, place FROM dbsync.sent ORDER BY number") == [(1, 1), (2, 2)]
    assert here.source.sql("SELECT lineage = incarnation, count(*) FROM dbsync.node GROUP BY 1") == [(True, 1)]
    assert here.source.value("SELECT reached_seq FROM dbsync.link") >= 7
    assert here.status()["events"] == []
