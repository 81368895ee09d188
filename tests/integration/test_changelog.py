"""Nothing committed is missed, nothing is shipped twice, and a batch is the same however often it is read."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from dbsync.changelog import ahead, window
from dbsync.changelog.purge import Purge
from dbsync.changelog.reader import Reader
from dbsync.errors import IdentityConflict
from dbsync.model.batch import Batch, Cut
from dbsync.postgres import connect
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, piped
from tests.support.servers import own_cluster
from tests.support.service import until
from tests.support.trips import round_trips


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def sites(database: Database) -> list[str]:
    return [code for (code,) in database.sql("SELECT code FROM site ORDER BY code")]


def insert(session: psycopg.Connection[tuple[object, ...]], *codes: str) -> None:
    for code in codes:
        session.execute("INSERT INTO site (code) VALUES (%s)", (code,))


def read(batch: Batch) -> bytes:
    return b"".join(batch.payload)


def purge(pipeline: Pipeline) -> int:
    with connect(pipeline.source.dsn, name="source") as connection:
        return Purge(connection, keep=0).purge()


def is_idle_after(reader: Reader, act: Callable[[], object]) -> bool:
    """Look, let somebody act, and say whether the reader is idle; autovacuum may end a transaction meanwhile."""
    assert reader.next_cut(100) is None
    act()
    return reader.is_idle()


def cuts(pipeline: Pipeline, max_changes: int) -> list[Cut]:
    """Ship everything and give the cuts it was shipped in."""
    found = []
    while (cut := pipeline.reader.next_cut(max_changes)) is not None:
        pipeline.reader.acknowledge(cut, pipeline.apply(pipeline.reader.batch(cut)))
        found.append(cut)
    return found


def test_a_transaction_that_commits_late_is_not_missed(clinic: Pipeline) -> None:
    with clinic.source.connect() as slow, clinic.source.connect() as fast:
        with slow.transaction():
            insert(slow, "late")
            insert(fast, "early")
            clinic.ship()
            assert sites(clinic.upstream) == ["early"]
            insert(fast, "between")
            clinic.ship()
            assert sites(clinic.upstream) == ["between", "early"]
        clinic.agree()
        assert sites(clinic.upstream) == ["between", "early", "late"]


@ONE_MIXTURE
def test_an_idle_look_asks_once_and_sees_whatever_commits(clinic: Pipeline) -> None:
    reader = clinic.reader
    assert not reader.is_idle()
    with clinic.source.connect() as slow:
        with slow.transaction():
            insert(slow, "late")
            until(lambda: is_idle_after(reader, lambda: None), "idle beside a transaction that has not ended")
            assert round_trips(reader.connection, reader.is_idle) == 1
        assert not reader.is_idle()
        clinic.agree()
        assert not reader.is_idle()
        until(lambda: is_idle_after(reader, lambda: sites(clinic.source)), "idle after somebody has read")
        slow.execute("UPDATE dbsync.node SET paused_since = now()")
        assert not reader.is_idle()


@ONE_MIXTURE
def test_a_transaction_without_a_change_yet_holds_nothing_up_and_is_not_missed(clinic: Pipeline) -> None:
    with clinic.source.connect() as idle, idle.transaction():
        idle.execute("SELECT pg_current_xact_id()")
        for number in range(5):
            clinic.source.sql("INSERT INTO site (code) VALUES (%s)", (f"n{number}",))
            assert clinic.ship() == 1
        insert(idle, "at last")
        clinic.source.sql("INSERT INTO site (code) VALUES ('n5')")
        assert clinic.ship() == 1
    clinic.agree()
    assert "at last" in sites(clinic.upstream)


@ONE_MIXTURE
@pytest.mark.parametrize("few", [window.FEW, 1])
def test_several_that_commit_out_of_order_over_many_windows_all_arrive(
    clinic: Pipeline, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(window, "FEW", few)
    with ExitStack() as stack:
        sessions = [stack.enter_context(clinic.source.connect()) for _ in range(6)]
        for session in sessions:
            session.autocommit = False
        for number, session in enumerate(sessions):
            insert(session, f"a{number}")
        for number in (3, 0, 5, 1, 4, 2):
            insert(sessions[number], f"b{number}")
            sessions[number].rollback() if number == 5 else sessions[number].commit()
            clinic.agree()
            assert f"b{number}" in sites(clinic.upstream) or number == 5
    assert len(sites(clinic.upstream)) == 10


@ONE_MIXTURE
def test_a_look_where_nothing_is_new_asks_where_the_link_is_what_is_visible_and_what_came(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO site (code) VALUES ('a')")
    clinic.agree()
    assert round_trips(clinic.reader.connection, lambda: clinic.reader.next_cut(100)) == 3


@ONE_MIXTURE
def test_what_was_rolled_back_is_never_shipped(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        with session.transaction(force_rollback=True):
            insert(session, "never")
        insert(session, "kept")
    clinic.agree()
    assert sites(clinic.upstream) == ["kept"]
    assert clinic.reader.next_cut(10) is None


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 4, 7, 1000])
def test_a_batch_holds_whole_transactions(clinic: Pipeline, max_changes: int) -> None:
    sizes = [3, 5, 1, 2, 8, 1, 1]
    with clinic.source.connect() as session:
        for size in sizes:
            with session.transaction():
                insert(session, *(f"{size}-{random.random()}" for _ in range(size)))
    shipped = cuts(clinic, max_changes)
    assert sum(cut.changes for cut in shipped) == sum(sizes)
    assert sum(cut.transactions for cut in shipped) == len(sizes)
    left = list(sizes)
    for cut in shipped:
        assert cut.changes == sum(left[: cut.transactions])
        assert cut.changes - left[cut.transactions - 1] < max_changes
        del left[: cut.transactions]
    assert [cut.number for cut in shipped] == list(range(1, len(shipped) + 1))
    clinic.agree()


@ONE_MIXTURE
def test_a_transaction_comes_after_the_one_it_depends_on(clinic: Pipeline) -> None:
    """The second begins to write before the first, and refers to what the first one commits."""
    with clinic.source.connect() as first, clinic.source.connect() as second, second.transaction():
        second.execute("INSERT INTO person (id, name) VALUES (1, 'begun early')")
        first.execute("INSERT INTO subject (id, identifier) VALUES (1, 'S')")
        second.execute("INSERT INTO visit (subject_id, code) VALUES (1, '1000')")
    shipped = cuts(clinic, 1)
    assert [cut.changes for cut in shipped] == [1, 2]
    clinic.agree()


@ONE_MIXTURE
def test_the_same_cut_gives_the_same_bytes_again(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO visit (id, subject_id, code) VALUES (1, 1, 'before its parent');
        INSERT INTO subject (id, identifier, site_id) VALUES (1, 'S', 100); INSERT INTO site (id, code) VALUES (100, 'G')
    """)
    clinic.source.script("UPDATE subject SET age = 7; DELETE FROM subject")
    with clinic.source.connect() as late, late.transaction():
        insert(late, "late")
        clinic.source.sql("INSERT INTO site (code) VALUES ('after')")
        cut = clinic.reader.next_cut(1000)
        assert cut is not None
        batch = clinic.reader.batch(cut)
        first = read(batch)
    clinic.source.sql("INSERT INTO site (code) VALUES ('later')")
    assert read(clinic.reader.batch(cut)) == first
    for _ in range(2):
        clinic.restart()
        again = clinic.reader.unfinished()
        assert again == cut
        repeated = clinic.reader.batch(again)
        assert repeated.header == batch.header
        assert read(repeated) == first
    clinic.reader.acknowledge(cut, clinic.apply(clinic.reader.batch(cut)))
    clinic.agree()


@ONE_MIXTURE
def test_a_batch_in_the_middle_of_a_window_is_the_same_after_a_crash(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        insert(session, *(f"s{number}" for number in range(10)))
    first = clinic.reader.next_cut(3)
    assert first is not None
    clinic.reader.acknowledge(first, clinic.apply(clinic.reader.batch(first)))
    second = clinic.reader.next_cut(3)
    assert second is not None
    before = read(clinic.reader.batch(second))
    clinic.source.sql("INSERT INTO site (code) VALUES ('later')")
    clinic.restart()
    again = clinic.reader.unfinished()
    assert again == second
    assert read(clinic.reader.batch(again)) == before
    clinic.reader.acknowledge(again, clinic.apply(clinic.reader.batch(again)))
    assert [cut.changes for cut in cuts(clinic, 3)] == [3, 1, 1]
    clinic.agree()


@pytest.fixture
def ten_sites(clinic: Pipeline) -> Pipeline:
    """Ten transactions of one change."""
    with clinic.source.connect() as session:
        insert(session, *(f"s{number}" for number in range(10)))
    return clinic


def first_while_reading_ahead(pipeline: Pipeline) -> Cut:
    """Ship a first batch of three."""
    cut = pipeline.reader.next_cut(3)
    assert cut is not None
    with pipeline.reader.sending(cut) as batch:
        receipt = pipeline.apply(batch)
    pipeline.reader.acknowledge(cut, receipt)
    return cut


@ONE_MIXTURE
def test_the_next_batch_is_read_while_one_is_applied_and_is_the_same(ten_sites: Pipeline) -> None:
    first_while_reading_ahead(ten_sites)
    ten_sites.source.sql("UPDATE dbsync.change SET origin = 'forged'")
    second = ten_sites.reader.next_cut(3)
    assert second is not None
    early = read(ten_sites.reader.batch(second))
    assert b"s3" in early
    assert b"forged" not in early
    forged = read(ten_sites.reader.batch(second))
    assert b"forged" in forged
    ten_sites.source.sql("UPDATE dbsync.change SET origin = NULL")
    assert read(ten_sites.reader.batch(second)) == early
    ten_sites.agree(3)


@ONE_MIXTURE
def test_another_cut_than_the_one_that_was_read_ahead_is_read_when_it_is_sent(ten_sites: Pipeline) -> None:
    first_while_reading_ahead(ten_sites)
    ten_sites.source.sql("UPDATE dbsync.change SET origin = 'new'")
    wider = ten_sites.reader.next_cut(5)
    assert wider is not None
    assert b"new" in read(ten_sites.reader.batch(wider))


@ONE_MIXTURE
def test_a_batch_too_large_to_be_held_is_read_when_it_is_sent(
    ten_sites: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MOST", 10)
    first_while_reading_ahead(ten_sites)
    ten_sites.source.sql("UPDATE dbsync.change SET origin = 'new'")
    second = ten_sites.reader.next_cut(3)
    assert second is not None
    assert b"new" in read(ten_sites.reader.batch(second))


@ONE_MIXTURE
def test_what_was_read_ahead_is_forgotten_when_the_batch_before_fails(ten_sites: Pipeline) -> None:
    cut = ten_sites.reader.next_cut(3)
    assert cut is not None
    with pytest.raises(ConnectionError), ten_sites.reader.sending(cut) as batch:
        read(batch)
        raise ConnectionError
    assert ten_sites.reader.unfinished() == cut
    ten_sites.agree(3)


@ONE_MIXTURE
@pytest.mark.timeout(60)
def test_a_batch_that_fails_while_it_is_read_lets_go_of_the_source(ten_sites: Pipeline) -> None:
    """The error holds on to whoever was reading; he must not hold on to the connection."""
    ten_sites.source.sql("INSERT INTO note (text) SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    cut = ten_sites.reader.next_cut(10_000)
    assert cut is not None
    with pytest.raises(ConnectionError) as failed, ten_sites.reader.sending(cut) as batch:
        for _ in batch.payload:
            raise ConnectionError
    assert ten_sites.reader.unfinished() == cut, failed
    ten_sites.agree()


@ONE_MIXTURE
def test_a_source_that_breaks_while_it_is_read_ahead_says_so_when_it_is_asked(ten_sites: Pipeline) -> None:
    cut = ten_sites.reader.next_cut(3)
    assert cut is not None
    with ten_sites.reader.sending(cut) as batch:
        receipt = ten_sites.apply(batch)
        ten_sites.source.sql("SELECT pg_terminate_backend(%s)", [ten_sites.reader.connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        ten_sites.reader.acknowledge(cut, receipt)
    ten_sites.restart()
    again = ten_sites.reader.unfinished()
    assert again == cut
    ten_sites.reader.acknowledge(again, receipt)
    ten_sites.agree(3)


@ONE_MIXTURE
def test_a_batch_whose_receipt_was_lost_is_not_applied_twice(clinic: Pipeline) -> None:
    clinic.source.script("INSERT INTO note (id, text) VALUES (1, 'once')")
    cut = clinic.reader.next_cut(10)
    assert cut is not None
    receipt = clinic.apply(clinic.reader.batch(cut))
    clinic.upstream.sql("UPDATE note SET text = 'edited since'")
    clinic.restart()
    again = clinic.reader.unfinished()
    assert again == cut
    assert clinic.apply(clinic.reader.batch(again)) == receipt
    assert clinic.upstream.sql("SELECT text FROM note") == [("edited since",)]
    clinic.reader.acknowledge(again, receipt)
    assert clinic.reader.unfinished() is None
    assert clinic.ship() == 0


@ONE_MIXTURE
def test_another_batch_under_the_same_number_is_found_out(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO site (code) VALUES ('mine')")
    cut = clinic.reader.next_cut(10)
    assert cut is not None
    clinic.apply(clinic.reader.batch(cut))
    clinic.source.sql("UPDATE dbsync.change SET image = array_replace(image, 'mine', 'theirs')")
    with pytest.raises(IdentityConflict, match="other content"):
        clinic.apply(clinic.reader.batch(cut))
    assert sites(clinic.upstream) == ["mine"]


@ONE_MIXTURE
def test_each_link_reads_from_its_own_beginning(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO site (code) VALUES ('a')")
    clinic.agree()
    clinic.source.sql("INSERT INTO site (code) VALUES ('b')")
    with connect(clinic.source.dsn, name="source") as connection:
        other = clinic.reads(connection, "other")
        cut = other.next_cut(10)
        assert cut is not None
        assert (cut.number, cut.changes) == (1, 2)
        assert purge(clinic) == 0
    clinic.agree()


@ONE_MIXTURE
def test_purge_forgets_what_is_acknowledged_and_nothing_else(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO site (code) VALUES ('done')")
    clinic.agree()
    with clinic.source.connect() as slow, slow.transaction():
        insert(slow, "slow")
        clinic.source.sql("INSERT INTO site (code) VALUES ('shipped beside it')")
        clinic.agree()
        clinic.source.sql("INSERT INTO site (code) VALUES ('waiting')")
        purge(clinic)
    assert clinic.source.value("SELECT count(*) FROM dbsync.change") >= 2
    clinic.agree()
    clinic.source.sql("INSERT INTO site (code) VALUES ('x')")
    clinic.agree()
    purge(clinic)
    assert clinic.source.value("SELECT count(*) FROM dbsync.change") <= 1


def test_a_prepared_transaction_is_shipped_when_it_commits(databases: Databases) -> None:
    with own_cluster(15, max_prepared_transactions="5") as cluster:
        for name in ("source", "upstream"):
            cluster.create_database(name)
        source, upstream = (Database(cluster=cluster, name=name) for name in ("source", "upstream"))
        for database in (source, upstream):
            database.script(SCHEMA)
        with Pipeline(source, upstream, TABLES) as clinic:
            with source.connect() as session:
                for name in ("one", "two"):
                    session.execute("BEGIN")
                    insert(session, f"prepared {name}")
                    session.execute(f"PREPARE TRANSACTION '{name}'")
                insert(session, "beside")
                clinic.ship()
                assert sites(upstream) == ["beside"]
                session.execute("COMMIT PREPARED 'two'")
                insert(session, "later")
                clinic.restart()
                clinic.ship()
                session.execute("ROLLBACK PREPARED 'one'")
            clinic.agree()
            assert sites(upstream) == ["beside", "later", "prepared two"]


def test_many_writers_at_once_lose_nothing(clinic: Pipeline) -> None:
    """Random commits, rollbacks and pauses, on rows that the writers share; the reader ships all the while."""
    clinic.source.script("INSERT INTO subject (identifier, age) SELECT 's' || g, 0 FROM generate_series(1, 8) g")
    failed: list[BaseException] = []

    def write(seed: int) -> None:
        pick = random.Random(seed)
        try:
            with clinic.source.connect() as session:
                for turn in range(25):
                    _transaction(session, pick, f"{seed}-{turn}")
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(5)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        clinic.ship(random.choice([1, 5, 100]))
        if random.random() < 0.1:
            clinic.restart()
    for writer in writers:
        writer.join()
    assert failed == []
    clinic.agree()


def _transaction(session: psycopg.Connection[tuple[object, ...]], pick: random.Random, name: str) -> None:
    with session.transaction(force_rollback=pick.random() < 0.2):
        subject = pick.randint(1, 8)
        session.execute("INSERT INTO site (code) VALUES (%s)", (name,))
        session.execute("UPDATE subject SET age = age + 1 WHERE id = %s", (subject,))
        if pick.random() < 0.5:
            session.execute("SELECT pg_sleep(%s)", (pick.random() / 50,))
        session.execute("INSERT INTO visit (subject_id, code) VALUES (%s, %s)", (subject, name))
        if pick.random() < 0.3:
            session.execute("DELETE FROM visit WHERE subject_id = %s AND code <> %s", (subject, name))
        if pick.random() < 0.2:
            session.execute("UPDATE subject SET identifier = %s WHERE id = %s", (f"{subject} {name}", subject))
