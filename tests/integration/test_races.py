"""What others may do between any two statements of the replicator, and what a crash between any two leaves behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import psycopg
import pytest

from dbsync.apply.applier import Applier
from dbsync.changelog.purge import Purge
from dbsync.changelog.reader import Reader
from dbsync.errors import Interrupted
from dbsync.model.batch import Cut
from dbsync.postgres import connect
from dbsync.service.link import Link
from dbsync.transport.direct import Direct
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import LINK, Pipeline, piped, prepared
from tests.support.servers import own_cluster

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE subject (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, n int NOT NULL DEFAULT 0);
CREATE TABLE visit (
    id bigserial PRIMARY KEY, subject_id bigint NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED,
    code int NOT NULL, n int NOT NULL DEFAULT 0, UNIQUE (subject_id, code));
"""
TABLES = """
[[tables]]
name = "subject"
[[tables]]
name = "visit"
"""
NOTES = """
CREATE TABLE note (
    id bigserial PRIMARY KEY, code int NOT NULL UNIQUE,
    subject_id bigint NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED);
"""
NOTE_TABLE = """
[[tables]]
name = "note"
"""
FORMS = """
CREATE TABLE form (
    id bigserial PRIMARY KEY, visit_id bigint NOT NULL UNIQUE REFERENCES visit DEFERRABLE INITIALLY DEFERRED,
    n int NOT NULL DEFAULT 0);
"""
FORM_TABLE = """
[[tables]]
name = "form"
"""


@pytest.fixture
def pipeline(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a pipeline over two empty tables."""
    with piped(databases, pair, SCHEMA, TABLES) as made:
        yield made


def link(pipeline: Pipeline, max_changes: int = 20_000) -> Link:
    """Give the link of a service that has just begun on the pipeline's databases."""
    pipeline.restart()
    pipeline.applier = Applier(pipeline._open(pipeline.upstream, "upstream"))
    return Link(
        node=pipeline.node,
        name=LINK,
        reader=pipeline.reader,
        transport=Direct(pipeline.applier),
        max_changes=max_changes,
    )


def ship(pipeline: Pipeline, max_changes: int = 20_000) -> int:
    """Ship everything as a service that has just begun."""
    service = link(pipeline, max_changes)
    service.settle()
    return service.ship(lambda: False)


def subjects(database: Database, *names: str) -> None:
    """Add subjects, each in a transaction of its own."""
    for name in names:
        database.sql("INSERT INTO subject (name) VALUES (%s)", [name])


def names(database: Database) -> list[str]:
    """List the subjects."""
    return [name for (name,) in database.sql("SELECT name FROM subject ORDER BY name")]


def receipts(database: Database) -> list[int]:
    """List the numbers of the batches that were applied."""
    return [number for (number,) in database.sql("SELECT number FROM dbsync.receipt ORDER BY number")]


def deliver(pipeline: Pipeline, reader: Reader, cut: Cut) -> None:
    """Send a batch and take its receipt."""
    reader.acknowledge(cut, pipeline.applier.apply(reader.batch(cut)))


def some(cut: Cut | None) -> Cut:
    """Hold that something was pending."""
    assert cut is not None
    return cut


class TestTwoServicesOfOneNode:
    def test_a_receipt_that_comes_twice_does_not_move_the_cursor_back(self, pipeline: Pipeline) -> None:
        subjects(pipeline.source, "a")
        late = link(pipeline).reader
        slow = some(late.next_cut(10))
        slow_receipt = pipeline.applier.apply(late.batch(slow))
        prompt = link(pipeline).reader
        deliver(pipeline, prompt, some(prompt.unfinished()))
        subjects(pipeline.source, "b", "c")
        deliver(pipeline, prompt, some(prompt.next_cut(1)))
        before = prompt.position()

        with pytest.raises(Interrupted):
            late.acknowledge(slow, slow_receipt)

        assert prompt.position() == before
        ship(pipeline)
        assert names(pipeline.upstream) == ["a", "b", "c"]
        assert pipeline.upstream.value("SELECT sum(changes) FROM dbsync.receipt") == 3

    def test_a_cut_made_before_another_service_went_on_is_not_sent(self, pipeline: Pipeline) -> None:
        subjects(pipeline.source, "a")
        late, prompt = link(pipeline).reader, link(pipeline).reader
        stale = some(late.next_cut(10))
        subjects(pipeline.source, "b")
        deliver(pipeline, prompt, some(prompt.next_cut(10)))
        before = prompt.position()

        with pytest.raises(Interrupted):
            late.batch(stale)

        assert prompt.position() == before
        subjects(pipeline.source, "c")
        ship(pipeline)
        assert names(pipeline.upstream) == ["a", "b", "c"]
        assert receipts(pipeline.upstream) == [1, 2]

    def test_the_second_waits_until_the_first_is_gone(self, pipeline: Pipeline) -> None:
        with closing(connect(pipeline.source.dsn, name="source")) as first:
            holder = pipeline.reads(first)
            holder.claim(patience=0.1)
            second = link(pipeline).reader
            with pytest.raises(Interrupted, match="another dbsync"):
                second.claim(patience=0.1)
        second.claim(patience=5)

    def test_links_to_different_upstreams_run_side_by_side(self, pipeline: Pipeline) -> None:
        pipeline.reader.claim(patience=0.1)
        with closing(connect(pipeline.source.dsn, name="source")) as connection:
            other = pipeline.reads(connection, "central")
            other.claim(patience=0.1)


class TestABatchIsSentAgainAsItWas:
    def test_a_batch_that_the_upstream_commits_only_now_is_met_with_the_same_bytes(self, pipeline: Pipeline) -> None:
        """The upstream had the COMMIT but had not finished it when the service died and another one began."""
        subjects(pipeline.source, "a", "b", "c")
        first = link(pipeline).reader
        batch = first.batch(some(first.next_cut(2)))
        before = pipeline.applier
        with before._connection.transaction():
            before._apply(batch.header, batch.payload)  # holds its turn, not committed
            again = link(pipeline, max_changes=1)  # restarted with another configuration
            again.settle()
            shipping = Thread(target=again.ship, args=(lambda: False,))
            shipping.start()
            _until_waiting(pipeline.upstream)
        shipping.join(20)
        assert names(pipeline.upstream) == ["a", "b", "c"]
        assert receipts(pipeline.upstream) == [1, 2]
        assert pipeline.source.value("SELECT last_number FROM dbsync.link") == 2

    def test_a_crash_after_a_batch_was_recorded_sends_that_batch_whatever_the_size_is_now(
        self, pipeline: Pipeline
    ) -> None:
        subjects(pipeline.source, "a", "b", "c", "d")
        first = link(pipeline).reader
        first.batch(some(first.next_cut(3)))
        ship(pipeline, max_changes=1)
        assert pipeline.upstream.sql("SELECT changes FROM dbsync.receipt ORDER BY number") == [(3,), (1,)]

    def test_a_crash_while_a_window_was_reopened_loses_nothing(self, pipeline: Pipeline) -> None:
        subjects(pipeline.source, "a", "b")
        first = link(pipeline).reader
        first.batch(some(first.next_cut(10)))
        subjects(pipeline.source, "c")
        pipeline.source.sql("UPDATE dbsync.link SET window_end = NULL")
        ship(pipeline)
        assert names(pipeline.upstream) == ["a", "b", "c"]
        assert receipts(pipeline.upstream) == [1, 2]

    def test_a_window_in_which_nothing_is_left_does_not_stop_the_link(self, pipeline: Pipeline) -> None:
        subjects(pipeline.source, "a")
        ship(pipeline)
        pipeline.source.sql("UPDATE dbsync.link SET window_end = cursor")
        subjects(pipeline.source, "b")
        ship(pipeline)
        assert names(pipeline.upstream) == ["a", "b"]


class TestWhileAWindowIsRead:
    def test_a_transaction_that_commits_between_snapshot_and_reading_waits_for_the_next_window(
        self, pipeline: Pipeline
    ) -> None:
        with pipeline.source.connect() as slow, slow.transaction():
            slow.execute("INSERT INTO subject (name) VALUES ('slow')")
            subjects(pipeline.source, "quick")
            cut = some(pipeline.reader.next_cut(10))
        deliver(pipeline, pipeline.reader, cut)
        assert names(pipeline.upstream) == ["quick"]
        pipeline.agree()

    def test_an_idle_transaction_holds_back_nobody_elses_changes(self, pipeline: Pipeline) -> None:
        with pipeline.source.connect() as idle, idle.transaction():
            idle.execute("INSERT INTO subject (name) VALUES ('idle')")
            for i in range(20):
                subjects(pipeline.source, f"s{i}")
                pipeline.ship(max_changes=1)
                Purge(pipeline.reader._connection, keep=0).purge()
            assert len(names(pipeline.upstream)) == 20
            idle.execute("SAVEPOINT s; INSERT INTO subject (name) VALUES ('undone'); ROLLBACK TO SAVEPOINT s")
        pipeline.agree()

    def test_a_prepared_transaction_travels_when_it_is_committed(self, pipeline: Pipeline) -> None:
        with pipeline.source.connect() as session:
            for gid in ("kept", "dropped"):
                session.execute("BEGIN")
                session.execute("SAVEPOINT s")
                session.execute("INSERT INTO subject (name) VALUES (%s)", [gid])
                session.execute("RELEASE s")
                session.execute(f"PREPARE TRANSACTION '{pipeline.source.name} {gid}'")
            subjects(pipeline.source, "later")
            pipeline.ship(max_changes=1)
            assert names(pipeline.upstream) == ["later"]
            session.execute(f"COMMIT PREPARED '{pipeline.source.name} kept'")
            session.execute(f"ROLLBACK PREPARED '{pipeline.source.name} dropped'")
        pipeline.agree()
        assert names(pipeline.upstream) == ["kept", "later"]

    def test_purge_leaves_what_an_unfinished_batch_still_needs(self, pipeline: Pipeline) -> None:
        subjects(pipeline.source, "a")
        ship(pipeline)
        subjects(pipeline.source, "b", "c")
        first = link(pipeline).reader
        first.batch(some(first.next_cut(1)))
        Purge(pipeline.reader._connection, keep=0).purge()
        ship(pipeline, max_changes=1)
        assert names(pipeline.upstream) == ["a", "b", "c"]


class TestTransactionsThatDependOnEachOther:
    def test_a_parent_deleted_while_the_delete_of_its_child_was_not_committed(
        self, databases: Databases, pair: Pair
    ) -> None:
        """The foreign key is checked at commit, so the parent's transaction ends with the lower number."""
        ready = prepared(databases, pair, SCHEMA + NOTES)
        with Pipeline(ready.source, ready.upstream, TABLES + NOTE_TABLE) as pipeline:
            subjects(pipeline.source, "a")
            pipeline.source.sql("INSERT INTO note (code, subject_id) SELECT 1, id FROM subject")
            ship(pipeline)
            with pipeline.source.connect() as child, pipeline.source.connect() as parent:
                child.execute("BEGIN; DELETE FROM note")
                parent.execute("SET lock_timeout = '5s'; BEGIN; DELETE FROM subject")
                child.execute("INSERT INTO subject (name) VALUES ('other'); COMMIT")
                parent.execute("COMMIT")
            ship(pipeline, max_changes=1)
            assert names(pipeline.upstream) == ["other"]

    def test_a_backfilled_parent_in_a_later_window_frees_the_last_batch_of_an_earlier_one(
        self, pipeline: Pipeline
    ) -> None:
        """A row of before the triggers: its child's change is captured before the backfill comes to it."""
        pipeline.source.sql("INSERT INTO subject (name) VALUES ('old')")
        pipeline.forget()
        subjects(pipeline.source, "a", "b")
        pipeline.source.sql("INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject WHERE name = 'old'")
        service = link(pipeline, max_changes=1)
        deliver(pipeline, service.reader, some(service.reader.next_cut(2)))
        pipeline.source.sql("UPDATE subject SET n = 1 WHERE name = 'old'")  # logs the whole row, as a backfill does
        service = link(pipeline, max_changes=1)
        service.settle()
        service.ship(lambda: False)
        pipeline.agree()

    @pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
    def test_a_child_captured_under_a_key_that_another_transaction_renames_meanwhile(
        self, pipeline: Pipeline, taken: bool
    ) -> None:
        """Were the rename not held up, the child would be shipped behind it, under the old key."""
        subjects(pipeline.source, "a")
        ship(pipeline)
        with pipeline.source.connect() as child, pipeline.source.connect() as parent:
            child.execute("SET lock_timeout = '5s'; BEGIN")
            child.execute("INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject WHERE name = 'a'")
            parent.execute("SET lock_timeout = '1s'; BEGIN")
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                parent.execute("UPDATE subject SET name = 'b' WHERE name = 'a'")
                if taken:
                    parent.execute("INSERT INTO subject (name) VALUES ('a')")
            parent.execute("COMMIT")
            child.execute("INSERT INTO subject (name) VALUES ('other'); COMMIT")
        ship(pipeline)
        pipeline.agree()

    def test_a_grandchild_captured_while_its_parent_moves_to_another_subject(
        self, databases: Databases, pair: Pair
    ) -> None:
        """The key is looked up behind the mover's lock, and must be looked up along the new path then."""
        ready = prepared(databases, pair, SCHEMA + FORMS)
        with Pipeline(ready.source, ready.upstream, TABLES + FORM_TABLE) as pipeline:
            subjects(pipeline.source, "a", "b")
            pipeline.source.sql("INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject WHERE name = 'a'")
            pipeline.source.sql("INSERT INTO form (visit_id) SELECT id FROM visit")
            ship(pipeline)
            with pipeline.source.connect() as mover:
                mover.execute("BEGIN; UPDATE visit SET subject_id = (SELECT id FROM subject WHERE name = 'b')")
                writing = Thread(target=pipeline.source.sql, args=("UPDATE form SET n = 1",))
                writing.start()
                _until_waiting(pipeline.source)
                mover.execute("COMMIT")
                writing.join(20)
            ship(pipeline)
            pipeline.agree()


class TestServersThatPromiseLess:
    @pytest.mark.parametrize("end", ["source", "upstream"])
    def test_a_receipt_survives_the_crash_of_a_server_that_commits_lazily(self, pair: Pair, end: str) -> None:
        with own_cluster(18, durable=True, synchronous_commit="off", wal_writer_delay="10s") as lazy:
            lazy.create_database("lazy")
            there = Database(cluster=lazy, name="lazy")
            source, upstream = (there, pair.upstream) if end == "source" else (pair.source, there)
            for database in (source, upstream):
                database.script(SCHEMA)
            with Pipeline(source, upstream, TABLES) as pipeline:
                there.sql("CHECKPOINT")
                subjects(source, "a")
                pipeline.ship()
                kept = pipeline.reader.position()
                lazy.kill()
                lazy.start()
            with Pipeline(source, upstream, TABLES) as pipeline:
                assert names(upstream) == ["a"]
                assert pipeline.reader.position() == kept
                assert receipts(upstream) == [1]
                ship(pipeline)

    def test_an_upstream_that_repeats_reads_by_default_still_sees_the_receipt_it_waited_for(
        self, pipeline: Pipeline
    ) -> None:
        pipeline.upstream.sql(
            psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'").format(
                psycopg.sql.Identifier(pipeline.upstream.name)
            )
        )
        subjects(pipeline.source, "a")
        first = link(pipeline)
        batch = first.reader.batch(some(first.reader.next_cut(2)))
        before = pipeline.applier
        with before._connection.transaction():
            before._apply(batch.header, batch.payload)
            again = link(pipeline)
            again.settle()
            shipping = Thread(target=again.ship, args=(lambda: False,))
            shipping.start()
            _until_waiting(pipeline.upstream)
        shipping.join(20)
        assert receipts(pipeline.upstream) == [1]
        assert pipeline.source.value("SELECT last_number FROM dbsync.link") == 1


def _until_waiting(database: Database) -> None:
    """Wait until some session waits for a lock."""
    for _ in range(200):
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        if database.value(waiting, [database.name]):
            return
        time.sleep(0.02)
    raise AssertionError("nobody waits")
