"""Faults of a server itself: its disk, its write-ahead log, its vacuum. They need a server that is the test's alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from dbsync.demo.server import Cluster
from tests.support.databases import Database
from tests.support.servers import own_cluster
from tests.support.service import until
from tests.support.shortage import small_disk
from tests.support.ward import Ward, own_ward, recognises

YOUNG = 100_000
"""The smallest age at which PostgreSQL lets a vacuum against wraparound come."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a server that archives, keeps little of its log, and vacuums early against wraparound."""
    with own_cluster(
        18,
        max_wal_size="32MB",
        min_wal_size="32MB",
        archive_mode="on",
        archive_command="/bin/true",
        autovacuum_freeze_max_age=str(YOUNG),
        autovacuum_naptime="1h",
    ) as started:
        yield started


@pytest.fixture(scope="module", name="ward")
def a_ward(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """Give a source and an upstream on it; each test leaves them healthy."""
    return own_ward(cluster, tmp_path_factory.mktemp("ward"))


def change(database: Database, setting: str, value: str) -> None:
    """Change a setting of the server."""
    with database.connect() as session:
        session.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.SQL(setting), sql.Literal(value)))
        session.execute("SELECT pg_reload_conf()")
    until(lambda: database.value("SELECT current_setting(%s)", [setting]) == value, "the setting is not there")


def on_both(ward: Ward, code: str) -> str:
    """Find a fault of the server on both sides, for both are on it; give the remedy."""
    found = ward.check()
    assert [(one.code, one.where) for one in found] == [(code, "source"), (code, "upstream")], found
    return found[0].remedy


@recognises("autovacuum_off")
def test_autovacuum_that_is_off_is_told(ward: Ward) -> None:
    assert ward.check() == []
    change(ward.source, "autovacuum", "off")
    ward.do(on_both(ward, "autovacuum_off"), ward.source)
    until(lambda: ward.check() == [], "it is still told")


@recognises("wal_kept")
def test_a_slot_that_nobody_reads_is_told(ward: Ward) -> None:
    ward.source.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    for _ in range(4):
        ward.source.script("SELECT pg_switch_wal(); CREATE TABLE some_wal (id int); DROP TABLE some_wal")
    ward.source.sql("CHECKPOINT")
    ward.do(on_both(ward, "wal_kept"), ward.source)
    assert ward.check() == []


@recognises("wal_archiving_fails")
def test_an_archive_that_takes_nothing_is_told(ward: Ward) -> None:
    change(ward.source, "archive_command", "/bin/false")
    ward.source.script("CREATE TABLE some_wal (id int); DROP TABLE some_wal; SELECT pg_switch_wal()")
    until(lambda: {one.code for one in ward.check()} == {"wal_archiving_fails"}, "it is not told")
    change(ward.source, "archive_command", "/bin/true")
    until(lambda: ward.check() == [], "it is still told")


@recognises("wraparound_near")
def test_transaction_ids_that_come_to_their_end_are_told(ward: Ward) -> None:
    with ward.source.connect() as session:
        session.execute("""
            CREATE PROCEDURE spend(turns int) LANGUAGE plpgsql AS $$
            BEGIN FOR turn IN 1..turns LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
        """)
        session.execute(sql.SQL("CALL spend({})").format(sql.Literal(2 * YOUNG + 1000)))
    ward.do(on_both(ward, "wraparound_near"), ward.source)
    ward.do("VACUUM (FREEZE)", ward.upstream)
    assert ward.check() == []


@recognises("disk_low")
def test_a_disk_without_room_is_told(ward: Ward) -> None:
    """The last one: the server's end is the disk's."""
    with small_disk(ward.source.cluster) as small:
        small.hold(ward.source, "ward_scan")
        assert "tablespace" in ward.only("disk_low").what
        ward.source.sql("ALTER TABLE ward_scan SET TABLESPACE pg_default")
        ward.source.sql("ALTER INDEX ward_scan_pkey SET TABLESPACE pg_default")
        assert ward.check() == []
