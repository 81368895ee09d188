"""What is acknowledged stays as long as it is wanted, then goes; what is not never goes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from dbsync.changelog import purge as purging
from dbsync.changelog.purge import Purge
from dbsync.changelog.reader import Reader
from dbsync.model.batch import Batch, Receipt
from dbsync.postgres import connect
from dbsync.service.backlog import backlog
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.history import SEEDS, write_history
from tests.support.pipeline import LINK, Pipeline, piped

WEEK = 7 * 86_400.0
PENDING = """
SELECT l.name, c.seq FROM dbsync.link l CROSS JOIN dbsync.change c
WHERE (l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor))
  AND NOT (l.window_seq > 0 AND pg_visible_in_snapshot(c.xid, l.window_end)
           AND (SELECT max(m.seq) FROM dbsync.change m WHERE m.xid = c.xid) <= l.window_seq)
ORDER BY l.name, c.seq
"""
READABLE = """
SELECT count(*) FROM (
    SELECT s.link, s.place, s.changes, (
        SELECT count(*) FROM (
            SELECT c.xid, max(c.seq) AS last_seq, count(*) AS changes FROM dbsync.change c
            WHERE pg_visible_in_snapshot(c.xid, s.window_end)
              AND NOT coalesce(pg_visible_in_snapshot(c.xid, s.window_start), false)
            GROUP BY c.xid
        ) t JOIN dbsync.change c ON c.xid = t.xid WHERE t.last_seq > s.after_seq AND t.last_seq <= s.last_seq) AS found
    FROM dbsync.sent s
    WHERE s.joint IS NULL AND s.place > (SELECT min(o.place) FROM dbsync.sent o WHERE o.link = s.link)
) r
WHERE r.found <> r.changes
"""
"""Batches on record whose changes are not all there; the oldest may be the newest, which stays whatever became of them."""


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def purge(database: Database, *, keep: float = 0, max_size: int | None = None) -> int:
    with connect(database.dsn, name="source") as connection:
        return Purge(connection, keep=keep, max_size=max_size).purge()


def site(database: Database, code: str) -> None:
    database.sql("INSERT INTO site (code) VALUES (%s)", [code])


def logged(database: Database) -> int:
    return int(database.value("SELECT count(*) FROM dbsync.change"))


def age(database: Database, days: int) -> None:
    """Let days pass since all receipts."""
    database.sql("UPDATE dbsync.sent SET acknowledged_at = acknowledged_at - make_interval(days => %s)", [days])


@ONE_MIXTURE
class TestHowLongChangesStay:
    def test_acknowledged_changes_stay_for_a_week_and_then_go(self, clinic: Pipeline) -> None:
        site(clinic.source, "old")
        clinic.ship()
        age(clinic.source, 8)
        site(clinic.source, "young")
        clinic.ship()
        site(clinic.source, "waiting")
        assert purge(clinic.source, keep=WEEK) == 1
        assert logged(clinic.source) == 2
        age(clinic.source, 8)
        assert purge(clinic.source, keep=WEEK) == 1
        clinic.agree()

    def test_the_newest_batch_stays_on_record(self, clinic: Pipeline) -> None:
        for code in "abc":
            site(clinic.source, code)
            clinic.ship()
        assert purge(clinic.source) == 3
        assert clinic.source.sql("SELECT number FROM dbsync.sent") == [(3,)]

    def test_changes_without_a_receipt_stay_for_ever(self, clinic: Pipeline) -> None:
        site(clinic.source, "a")
        cut = clinic.reader.next_cut(10)
        assert cut is not None
        clinic.reader.batch(cut)
        clinic.source.sql("UPDATE dbsync.sent SET sent_at = now() - interval '1 year'")
        assert purge(clinic.source, max_size=1) == 0
        clinic.restart()
        again = clinic.reader.unfinished()
        assert again is not None
        clinic.reader.acknowledge(again, clinic.apply(clinic.reader.batch(again)))
        clinic.agree()

    def test_a_link_that_never_shipped_keeps_everything(self, clinic: Pipeline) -> None:
        site(clinic.source, "a")
        clinic.ship()
        clinic.source.sql("INSERT INTO dbsync.link (name) VALUES ('another')")
        assert purge(clinic.source) == 0
        assert clinic.source.value("SELECT count(*) FROM dbsync.sent") == 1

    def test_a_link_that_was_taken_back_keeps_what_it_reads_again(self, clinic: Pipeline) -> None:
        for code in "abcd":
            site(clinic.source, code)
            clinic.ship()
        clinic.source.sql(
            "UPDATE dbsync.link l SET cursor = s.window_start, last_number = 1"
            " FROM dbsync.sent s WHERE s.link = l.name AND s.number = 2"
        )
        assert purge(clinic.source) == 1
        assert clinic.source.value(f"SELECT count(*) FROM ({PENDING}) p".encode()) == 3

    def test_over_its_size_the_oldest_go_though_they_are_young(self, clinic: Pipeline) -> None:
        for _ in range(4):
            clinic.source.sql("INSERT INTO note (text) SELECT repeat('x', 400) FROM generate_series(1, 500)")
            clinic.ship()
        clinic.source.sql("INSERT INTO note (text) SELECT 'waits' FROM generate_series(1, 500)")
        assert purge(clinic.source, keep=WEEK, max_size=10_000_000) == 0
        assert 500 <= purge(clinic.source, keep=WEEK, max_size=800_000) <= 1_500
        assert purge(clinic.source, keep=WEEK, max_size=1) > 0
        assert logged(clinic.source) == 500
        clinic.agree()

    def test_the_keys_of_rows_without_a_natural_key_stay(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO note (text) VALUES ('a'), ('b')")
        clinic.ship()
        assert purge(clinic.source) == 2
        assert clinic.source.value("SELECT count(*) FROM dbsync.row_key WHERE relation = 'public.note'") == 2
        clinic.source.sql("UPDATE note SET text = text || '!'")
        clinic.agree()
        assert clinic.upstream.value("SELECT count(*) FROM note") == 2


@ONE_MIXTURE
class TestWhatNobodyMayHoldUp:
    def test_a_transaction_that_stays_open_keeps_its_own_changes_only(self, clinic: Pipeline) -> None:
        with (
            clinic.source.connect() as idle,
            connect(clinic.source.dsn, name="source") as connection,
            idle.transaction(),
        ):
            idle.execute("INSERT INTO site (code) VALUES ('idle')")
            service = Purge(connection, keep=0)
            for number in range(10):
                site(clinic.source, f"s{number}")
                clinic.ship()
                assert service.purge() == 1
            assert logged(clinic.source) == 0
        clinic.ship()
        assert service_after(clinic) == 1
        clinic.agree()

    def test_its_changes_go_too_when_it_has_ended(self, clinic: Pipeline) -> None:
        with connect(clinic.source.dsn, name="source") as connection:
            service = Purge(connection, keep=0)
            with clinic.source.connect() as idle, idle.transaction():
                idle.execute("INSERT INTO site (code) VALUES ('idle')")
                site(clinic.source, "beside")
                clinic.ship()
                assert service.purge() == 1
            assert service.purge() == 0
            clinic.ship()
            assert service.purge() == 1
        assert logged(clinic.source) == 0

    def test_a_turn_that_ends_what_an_earlier_one_began_says_that_there_may_be_more(self, clinic: Pipeline) -> None:
        with connect(clinic.source.dsn, name="source") as connection:
            service = Purge(connection, keep=0)
            site(clinic.source, "a")
            clinic.ship()
            assert service.run(1)
            site(clinic.source, "b")
            clinic.ship()
            assert service.run(5)
            assert not service.run(5)
        assert logged(clinic.source) == 0


def service_after(pipeline: Pipeline) -> int:
    """Purge as a service that has just begun."""
    return purge(pipeline.source)


@ONE_MIXTURE
@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_nothing_goes_that_anybody_needs(
    clinic: Pipeline, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Histories, shipping over two links in small batches, links taken back, an open transaction; purged at any point."""
    monkeypatch.setattr(purging, "BITE", 7)
    pick = random.Random(seed)
    clinic.source.script(SEEDS)
    with ExitStack() as stack:
        connection = stack.enter_context(connect(clinic.source.dsn, name="source"))
        services = [Purge(connection, keep=0), Purge(connection, keep=3_600)]
        second = _second(clinic, stack)
        slow = stack.enter_context(clinic.source.connect())
        for turn in range(15):
            _turn(clinic, second, slow, pick, seed * 1_000 + turn)
            before = clinic.source.sql(PENDING)
            for service in services:
                service.run(pick.choice([1, 3, 1_000]))
            assert clinic.source.sql(PENDING) == before
            assert clinic.source.value(READABLE) == 0
        slow.execute("ROLLBACK")
    clinic.agree()


def _second(pipeline: Pipeline, stack: ExitStack) -> Reader:
    session = stack.enter_context(connect(pipeline.source.dsn, name="source"))
    node = pipeline.node
    return Reader(session, node=node.name, lineage=node.lineage, incarnation=node.incarnation, link="another")


def _turn(
    pipeline: Pipeline, second: Reader, slow: psycopg.Connection[tuple[object, ...]], pick: random.Random, seed: int
) -> None:
    write_history(pipeline.source, seed, 15)
    what = pick.random()
    if what < 0.2:
        slow.execute("ROLLBACK")
        slow.execute("BEGIN")
        slow.execute("INSERT INTO erased (code) VALUES (%s)", [f"slow {seed}"])
    elif what < 0.3:
        slow.execute("COMMIT")
    elif what < 0.4:
        pipeline.source.sql("UPDATE dbsync.sent SET acknowledged_at = acknowledged_at - interval '2 hours'")
    for reader in pick.choice([[pipeline.reader], [pipeline.reader, second], [second], []]):
        for _ in range(pick.randint(1, 4)):
            _ship_one(pipeline, reader, pick, elsewhere=reader is second)


def _ship_one(pipeline: Pipeline, reader: Reader, pick: random.Random, *, elsewhere: bool) -> None:
    """Ship a batch, or lose it on its way; the second link leads to somebody who only says yes."""
    cut = reader.unfinished() or reader.next_cut(pick.choice([1, 5, 50]))
    if cut is None:
        return
    batch = reader.batch(cut)
    if pick.random() < 0.1:
        return
    reader.acknowledge(cut, _receipt(batch) if elsewhere else pipeline.apply(batch))


def _receipt(batch: Batch) -> Receipt:
    return Receipt(
        node=batch.header.node,
        incarnation=batch.header.incarnation,
        number=batch.header.number,
        hash=bytes(32),
        applied_at=datetime.now(UTC),
    )


CONFIG = """
[node]
name = "field-01"
source = "{source}"
[upstream]
url = "{upstream}"
name = "{link}"
[retention]
keep = "{keep}"
{more}
"""


def configured(pipeline: Pipeline, folder: Path, *, keep: str = "7d", more: str = "") -> Path:
    """Write the pipeline's configuration into a folder."""
    text = CONFIG.format(source=pipeline.source.dsn, upstream=pipeline.upstream.dsn, link=LINK, keep=keep, more=more)
    (folder / "dbsync.toml").write_text(text + TABLES, encoding="utf-8")
    return folder


@ONE_MIXTURE
class TestStatus:
    def test_it_says_what_the_log_takes_and_what_becomes_of_it(self, clinic: Pipeline, tmp_path: Path) -> None:
        folder = configured(clinic, tmp_path, more='max_size = "2GB"\ncompact_over = "1GB"')
        site(clinic.source, "shipped")
        clinic.ship()
        site(clinic.source, "waits")
        shown = dbsync(folder, "status")
        assert "1 acknowledged, kept for 7d up to 2GB   compacted over 1GB" in shown.out, shown
        found = dbsync(folder, "status", "--json").json
        assert (found["pending"], found["exact"], found["log"]["kept"]) == (1, True, 1)
        assert found["log"]["bytes"] > found["log"]["waiting_bytes"] > 0

    def test_what_went_today_is_counted_though_it_is_purged(self, clinic: Pipeline, tmp_path: Path) -> None:
        folder = configured(clinic, tmp_path, keep="0")
        for code in "abc":
            site(clinic.source, code)
            assert dbsync(folder, "run", "--once").code == 0
        assert logged(clinic.source) == 0
        today = {table["table"]: table["today"] for table in dbsync(folder, "status", "--json").json["tables"]}
        assert today["site"] == 3

    def test_a_backlog_too_large_to_count_is_estimated(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO note (text) SELECT 'x' FROM generate_series(1, 3000)")
        clinic.source.sql("INSERT INTO site (code) SELECT 'c' || g FROM generate_series(1, 1000) g")
        with connect(clinic.source.dsn, name="source") as connection:
            exact, about = backlog(connection, LINK), backlog(connection, LINK, enough=100)
        assert (exact.exact, about.exact) == (True, False)
        assert {name: table.changes for name, table in exact.tables.items()} == {
            "public.note": 3000,
            "public.site": 1000,
        }
        assert about.tables == exact.tables

    def test_what_waits_behind_much_that_is_acknowledged_is_told(self, clinic: Pipeline) -> None:
        for number in range(12):
            site(clinic.source, f"s{number}")
        for _ in range(4):
            clinic.ship_one(2)
        with connect(clinic.source.dsn, name="source") as connection:
            exact, about = backlog(connection, LINK), backlog(connection, LINK, enough=3)
        assert {name: table.changes for name, table in exact.tables.items()} == {"public.site": 4}
        assert about.tables == exact.tables

    def test_the_last_of_a_long_window_is_told_whatever_pages_a_sample_has(self, clinic: Pipeline) -> None:
        for number in range(3):
            clinic.source.sql(f"INSERT INTO note (text) SELECT '{number}' FROM generate_series(1, 2000) g".encode())
        site(clinic.source, "last")
        for _ in range(3):
            clinic.ship_one(2000)
        with connect(clinic.source.dsn, name="source") as connection:
            for _ in range(20):
                assert set(backlog(connection, LINK, enough=100, pages=1).tables) == {"public.site"}
