"""A compacted backlog ends with the upstream that shipping everything ends with."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbsync.changelog.compact import Compacted, compact
from dbsync.errors import Interrupted
from dbsync.postgres import connect
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.integration.test_retention import configured
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.history import SEEDS, write_history
from tests.support.pipeline import LINK, Pipeline, piped
from tests.support.servers import own_cluster

SEED = int(os.environ.get("DBSYNC_SEED", "0"))
HISTORIES = int(os.environ.get("DBSYNC_HISTORIES", "4"))


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def compacted(pipeline: Pipeline, *, patience: float = 5, rehearse: bool = False) -> Compacted:
    with connect(pipeline.source.dsn, name="source") as connection:
        return compact(connection, LINK, patience=patience, rehearse=rehearse)


class TestWhatEndsTheSame:
    @pytest.mark.parametrize("history", range(HISTORIES))
    def test_any_history(self, clinic: Pipeline, history: int) -> None:
        seed = SEED + history
        pick = random.Random(seed)
        clinic.source.script(SEEDS)
        if pick.random() < 0.7:
            clinic.agree()
        write_history(clinic.source, seed, 250)
        done = compacted(clinic)
        assert done.changes_after == clinic.source.value(
            "SELECT count(*) FROM dbsync.change c LEFT JOIN dbsync.link l ON true"
            " WHERE l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor)"
        )
        if pick.random() < 0.5:
            write_history(clinic.source, seed + 1_000_000, 100)
            compacted(clinic)
        clinic.agree(max_changes=pick.choice([1, 20, 20_000]))


@ONE_MIXTURE
class TestWhatIsKept:
    def test_a_row_that_changed_a_hundred_times_is_one_change(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO subject (identifier, age) VALUES ('s', 0)")
        for _ in range(100):
            clinic.source.sql("UPDATE subject SET age = age + 1")
        done = compacted(clinic)
        assert (done.changes_before, done.changes_after, done.transactions_after) == (101, 1, 1)
        clinic.agree()

    def test_an_update_still_says_what_the_row_was_before_the_first_change(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO site (code, name) VALUES ('c', 'one')")
        clinic.agree()
        for name in ("two", "three", "four"):
            clinic.source.sql("UPDATE site SET name = %s", [name])
        compacted(clinic)
        assert clinic.source.sql("SELECT op::text, old_image, image FROM dbsync.change ORDER BY seq DESC LIMIT 1") == [
            ("U", ["c", "one"], ["c", "four"])
        ]
        clinic.agree()

    def test_a_row_that_came_and_went_and_was_never_pointed_to_leaves_nothing(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO erased (code) VALUES ('gone')")
        clinic.source.sql("INSERT INTO site (code) VALUES ('gone')")
        clinic.source.script("DELETE FROM erased; DELETE FROM site")
        compacted(clinic)
        assert [table for table, _, _ in clinic.changes()] == ["public.site", "public.site"]
        clinic.agree()

    def test_values_that_rows_hand_over_to_one_another_keep_their_steps(self, clinic: Pipeline) -> None:
        """A swap of two unique values goes by a third one; the upstream could not do it at once."""
        for database in (clinic.source, clinic.upstream):
            database.script("ALTER TABLE site ADD UNIQUE (name)")
        clinic.source.sql("INSERT INTO site (code, name) VALUES ('a', '1'), ('b', '2')")
        clinic.agree()
        for code, name in (("a", None), ("b", "1"), ("a", "2")):
            clinic.source.sql("UPDATE site SET name = %s WHERE code = %s", [name, code])
        assert compacted(clinic).gone == {}
        clinic.agree()

    def test_a_row_that_a_trigger_of_the_application_updates_ends_as_it_is(self, clinic: Pipeline) -> None:
        clinic.source.script("""
            CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN UPDATE public.site SET name = NEW.name || '!' WHERE id = NEW.id; RETURN NULL; END $$;
            CREATE TRIGGER stamp AFTER INSERT OR UPDATE ON site FOR EACH ROW
                WHEN (NEW.name NOT LIKE '%!') EXECUTE FUNCTION stamp()
        """)
        clinic.source.sql("INSERT INTO site (code, name) VALUES ('a', 'x')")
        for name in "yz":
            clinic.source.sql("UPDATE site SET name = %s", [name])
        compacted(clinic)
        clinic.agree()
        assert clinic.upstream.value("SELECT name FROM site") == "z!"

    def test_what_was_sent_without_a_receipt_is_read_again_byte_for_byte(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO site (code, name) VALUES ('a', '0')")
        clinic.source.sql("UPDATE site SET name = '1'")
        cut = clinic.reader.next_cut(1)
        assert cut is not None
        before = b"".join(clinic.reader.batch(cut).payload)
        for name in "234":
            clinic.source.sql("UPDATE site SET name = %s", [name])
        clinic.restart()
        assert compacted(clinic).gone == {"public.site": 2}
        again = clinic.reader.unfinished()
        assert again == cut
        assert b"".join(clinic.reader.batch(again).payload) == before
        clinic.reader.acknowledge(again, clinic.apply(clinic.reader.batch(again)))
        clinic.agree()

    def test_a_transaction_that_tells_more_is_not_taken_for_the_one_it_was(self, clinic: Pipeline) -> None:
        """An upstream knows what it has by a transaction's last number and that change's moment."""
        known = "SELECT DISTINCT ON (xid) seq, captured_at FROM dbsync.change ORDER BY xid, seq DESC"
        clinic.source.sql("INSERT INTO site (code, name) VALUES ('a', '0')")
        clinic.source.sql("INSERT INTO shelf (place) VALUES (1)")
        clinic.source.sql("UPDATE site SET name = '1'")
        before = set(clinic.source.sql(known))
        compacted(clinic)
        assert not before & set(clinic.source.sql(known))
        clinic.agree()

    def test_a_rehearsal_changes_nothing(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO site (code, name) VALUES ('a', '0')")
        clinic.source.sql("UPDATE site SET name = '1'")
        before = clinic.source.sql("SELECT * FROM dbsync.change ORDER BY seq")
        assert compacted(clinic, rehearse=True).changes_after == 1
        assert clinic.source.sql("SELECT * FROM dbsync.change ORDER BY seq") == before


@ONE_MIXTURE
class TestBesideOthers:
    def test_it_does_not_rewrite_what_somebody_ships(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO site (code) VALUES ('a')")
        clinic.reader.claim(1)
        with pytest.raises(Interrupted, match="another dbsync ships"):
            compacted(clinic, patience=0.1)
        clinic.restart()

    def test_it_waits_for_a_transaction_that_may_belong_before_the_others(self, clinic: Pipeline) -> None:
        """The parent is in a transaction that ends late, its child's numbers are lower than the parent's last change."""
        clinic.source.sql("INSERT INTO subject (identifier, age) VALUES ('s', 0)")
        with clinic.source.connect() as slow, slow.transaction():
            slow.execute("INSERT INTO visit (subject_id, code) SELECT id, '1' FROM subject")
            clinic.source.sql("UPDATE subject SET age = 1")
            with pytest.raises(Interrupted, match="have not ended"):
                compacted(clinic, patience=0.2)
        assert compacted(clinic).changes_after == 2
        clinic.agree(max_changes=1)

    def test_a_transaction_that_writes_later_does_not_hold_it_up(self, clinic: Pipeline) -> None:
        clinic.source.sql("INSERT INTO subject (identifier, age) VALUES ('s', 0)")
        clinic.source.sql("UPDATE subject SET age = 1")
        with clinic.source.connect() as idle, idle.transaction():
            idle.execute("SELECT pg_current_xact_id()")
            assert compacted(clinic, patience=0.5).changes_after == 1
            idle.execute("UPDATE subject SET age = 2")
        clinic.agree()


def test_a_prepared_transaction_is_waited_for() -> None:
    with own_cluster(15, max_prepared_transactions="2") as cluster:
        names = ("source", "upstream")
        for name in names:
            cluster.create_database(name)
        source, upstream = (Database(cluster=cluster, name=name) for name in names)
        for database in (source, upstream):
            database.script(SCHEMA)
        with Pipeline(source, upstream, TABLES) as clinic:
            source.sql("INSERT INTO subject (identifier, age) VALUES ('s', 0)")
            with source.connect() as session:
                session.execute("BEGIN; INSERT INTO visit (subject_id, code) SELECT id, '1' FROM subject")
                session.execute("PREPARE TRANSACTION 'one'")
                source.sql("UPDATE subject SET age = 1")
                with pytest.raises(Interrupted, match="prepared"):
                    compacted(clinic, patience=0.2)
                session.execute("COMMIT PREPARED 'one'")
            assert compacted(clinic).changes_after == 2
            clinic.agree(max_changes=1)


@ONE_MIXTURE
class TestTheCommand:
    def test_a_year_offline_is_shipped_as_the_last_state_of_each_row(self, clinic: Pipeline, tmp_path: Path) -> None:
        folder = configured(clinic, tmp_path)
        write_year(clinic.source, rows=200, rounds=20)
        before = dbsync(folder, "status", "--json").json
        rehearsed = dbsync(folder, "compact", "--dry-run", "--json").json
        shown = dbsync(folder, "compact")
        assert "4,200 changes reduced to 200, in 1 transactions instead of" in shown.out, shown
        after = dbsync(folder, "status", "--json").json
        assert (before["pending"], rehearsed["changes_after"], after["pending"]) == (4_200, 200, 200)
        assert after["log"]["waiting_bytes"] < before["log"]["waiting_bytes"] / 5
        assert dbsync(folder, "compact").out.startswith("nothing to do")
        assert dbsync(folder, "run", "--once").out == "200 changes shipped to community\n"
        clinic.agree()

    def test_only_the_tables_that_are_named(self, clinic: Pipeline, tmp_path: Path) -> None:
        folder = configured(clinic, tmp_path)
        clinic.source.sql("INSERT INTO site (code) VALUES ('a')")
        clinic.source.sql("INSERT INTO subject (identifier) VALUES ('s')")
        clinic.source.script("UPDATE site SET name = 'x'; UPDATE subject SET age = 1")
        assert dbsync(folder, "compact", "subj*", "--json").json["gone"] == {"public.subject": 1}
        assert dbsync(folder, "compact", "nothing").code == 2
        clinic.agree()

    def test_the_service_compacts_a_backlog_that_is_too_large_before_it_ships(
        self, clinic: Pipeline, tmp_path: Path
    ) -> None:
        folder = configured(clinic, tmp_path, more='compact_over = "100kB"')
        write_year(clinic.source, rows=50, rounds=20)
        assert dbsync(folder, "run", "--once").out == "50 changes shipped to community\n"
        clinic.agree()


def write_year(source: Database, *, rows: int, rounds: int) -> None:
    """Change the same rows again and again, each time in a few transactions."""
    source.sql("INSERT INTO subject (identifier, age) SELECT 's' || g, 0 FROM generate_series(1, %s) g", [rows])
    for number in range(rounds):
        for part in range(4):
            source.sql("UPDATE subject SET age = %s, initials = repeat('x', 20) WHERE id %% 4 = %s", [number + 1, part])
