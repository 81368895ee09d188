"""A node or its upstream is restored, copied, reloaded or upgraded: nothing lost, nothing doubled, and the person told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.service.run import Service
from dbsync.service.status import status
from tests.acceptance.places import SCHEMA, TABLES, Place, place
from tests.fault.forks import Forks
from tests.support.databases import Database, Databases
from tests.support.lives import back_up, copied, dump_and_reload, restore, upgrade
from tests.support.servers import own_cluster
from tests.support.service import until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SMALL = "[batch]\nmax_changes = 2\n"


@contextmanager
def own(version: int, name: str) -> Iterator[Database]:
    """Give a database in a cluster of its own."""
    with own_cluster(version) as cluster:
        cluster.create_database(name)
        yield Database(cluster=cluster, name=name)


def laptop(folder: Path, source: Database, upstream: Database, *, tables: str = SMALL + TABLES) -> Place:
    """Give a laptop with dbsync installed at both ends."""
    made = place(folder, source, upstream, tables=tables)
    made.install()
    return made


def at(there: Place, source: Database, folder: Path, *, tables: str = SMALL + TABLES) -> Place:
    """Give the same laptop as another database of its own has it."""
    folder.mkdir()
    found = Place(folder=folder, source=source, upstream=there.upstream)
    found.configure(tables)
    return found


@contextmanager
def as_service(there: Place) -> Iterator[None]:
    """Log in to the source with no more rights than a service needs."""
    file = there.folder / "dbsync.toml"
    text = file.read_text()
    assert "user=postgres" in text.partition("[upstream]")[0]
    file.write_text(text.replace("user=postgres", "user=service", 1))
    yield
    file.write_text(text)


def add(database: Database, *names: str) -> None:
    """Add subjects, a transaction each."""
    with database.connect() as session:
        for name in names:
            session.execute("INSERT INTO subject (identifier, initials) VALUES (%s, 'AA')", (name,))


def edit(database: Database, name: str, initials: str) -> None:
    database.sql("UPDATE subject SET initials = %s WHERE identifier = %s", (initials, name))


def subjects(database: Database) -> dict[str, str]:
    return dict(database.sql("SELECT identifier, initials FROM subject ORDER BY identifier"))


def config(there: Place) -> Config:
    """Read the place's dbsync.toml."""
    return load(there.folder / "dbsync.toml", {})


def ship(there: Place) -> int:
    """Do what ``dbsync run --once`` does, without the time it takes to start the program."""
    return Service(config=config(there)).run_once()


def kinds(there: Place) -> list[str]:
    """Give what status says has happened."""
    return [event.kind.value for event in status(config(there)).events]


def told(there: Place) -> str:
    """Give what status tells a person, and hold that it tells all that has happened."""
    shown = there.must("status").out
    events = there.status()["events"]
    assert [event["kind"] for event in events] == kinds(there)
    assert all(event["what"] in shown and event["hint"] in shown for event in events)
    return shown


def applied(upstream: Database) -> int:
    """Count the changes that were applied: what came again was dropped."""
    return int(upstream.value("SELECT coalesce(sum(changes - dropped), 0) FROM dbsync.receipt"))


def hold_calm(upstream: Database) -> None:
    """Hold that applying met nothing unexpected: no conflict, nothing in quarantine."""
    assert upstream.sql("SELECT conflict, relation, key FROM dbsync.conflict") == []
    assert upstream.sql("SELECT conflict, reason FROM dbsync.quarantine") == []


def incarnations(upstream: Database) -> dict[Any, int]:
    return dict(upstream.sql("SELECT incarnation, count(*) FROM dbsync.receipt GROUP BY incarnation"))


class TestARestoredLaptop:
    def test_goes_on_and_what_was_pending_arrives_once(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            here.must("run", "--once")
            add(source, "pending 1", "pending 2", "pending 3")
            edit(source, "pending 1", "BB")
            saved = back_up(source.cluster)
            add(source, "lost")
            edit(source, "shipped", "lost")
            here.must("run", "--once")
            here.upstream.sql("UPDATE subject SET initials = 'upstream' WHERE identifier = 'pending 2'")
            restore(source.cluster, saved)
            add(source, "after")

            here.must("run", "--once")

            assert subjects(here.upstream) == {
                "after": "AA", "lost": "AA", "pending 1": "BB", "pending 2": "upstream", "pending 3": "AA",
                "shipped": "lost",
            }  # fmt: skip
            assert applied(here.upstream) == 8
            hold_calm(here.upstream)
            assert kinds(here) == ["restored"]
            assert "dbsync verify" in told(here)
            verified = here.run("verify")
            assert verified.code == 1
            assert "lost" in verified.out
            add(source, "later")
            here.must("run", "--once")
            assert "later" in subjects(here.upstream)
            assert kinds(here) == ["restored"]
            assert len(incarnations(here.upstream)) == 2

    def test_is_noticed_by_a_batch_of_the_same_number_with_other_content(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        """As far as numbers go both remember the same: the batch that is open arrived as another one."""
        with own(15, "clinic") as source:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(here)
            saved = back_up(source.cluster)
            add(source, "lost")
            ship(here)
            restore(source.cluster, saved)
            add(source, "instead")
            upstream = here.upstream.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number DESC LIMIT 1")
            assert upstream[0][0] == 2
            ship(here)
            assert set(subjects(here.upstream)) == {"shipped", "lost", "instead"}
            assert kinds(here) == ["restored"]
            hold_calm(here.upstream)

    def test_that_lost_nothing_is_not_spoken_of(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "a", "b", "c")
            ship(here)
            saved = back_up(source.cluster)
            add(source, "never shipped")
            restore(source.cluster, saved)
            add(source, "d")
            ship(here)
            assert set(subjects(here.upstream)) == {"a", "b", "c", "d"}
            assert kinds(here) == []
            assert len(incarnations(here.upstream)) == 1
            here.must("verify")


class TestACopyOfALaptop:
    @pytest.mark.parametrize("first", ["original", "copy"])
    def test_and_the_original_both_ship_what_was_pending_once(
        self, databases: Databases, tmp_path: Path, first: str
    ) -> None:
        with own(15, "clinic") as source:
            one = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(one)
            add(source, "pending 1", "pending 2", "pending 3")
            edit(source, "pending 1", "BB")
            with copied(source.cluster, back_up(source.cluster)) as twin:
                two = at(one, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                places = [one, two] if first == "original" else [two, one]
                for there in places:
                    add(there.source, f"only {places.index(there)}")
                    ship(there)
                    there.upstream.sql("UPDATE subject SET initials = 'upstream' WHERE identifier = 'pending 2'")
                for turn in range(2):
                    for there in places:
                        add(there.source, f"turn {turn} of {places.index(there)}")
                        ship(there)
                assert subjects(one.upstream) == {
                    "only 0": "AA", "only 1": "AA", "pending 1": "BB", "pending 2": "upstream", "pending 3": "AA",
                    "shipped": "AA", "turn 0 of 0": "AA", "turn 0 of 1": "AA", "turn 1 of 0": "AA", "turn 1 of 1": "AA",
                }  # fmt: skip
                assert applied(one.upstream) == 11
                hold_calm(one.upstream)
                assert [kinds(there) for there in places] == [[], ["restored"]]

    def test_that_begins_to_send_in_the_middle_of_a_session_is_found_out(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        with own(15, "clinic") as source:
            one = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(one)
            add(source, "pending")
            with copied(source.cluster, back_up(source.cluster)) as twin:
                two = at(one, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                services = [Service(config=config(there)) for there in (one, two)]
                with services[0]._link() as first, services[1]._link() as second:
                    for turn in range(2):
                        for there, link in ((one, first), (two, second)):
                            add(there.source, f"{there.folder.name} {turn}")
                            link.ship(lambda: False)
                assert applied(one.upstream) == 6
                assert len(subjects(one.upstream)) == 6
                hold_calm(one.upstream)
                assert (kinds(one), kinds(two)) == ([], ["copied"])
                assert "stop one of them" in told(two)

    def test_and_the_original_ship_at_the_same_time(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source:
            one = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(one)
            add(source, *(f"pending {i}" for i in range(100)))
            with copied(source.cluster, back_up(source.cluster)) as twin:
                two = at(one, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                with one.service() as first, two.service() as second:
                    for service in (first, second):
                        service.wait_for("batch_applied")
                    writers = [
                        threading.Thread(target=add, args=(there.source, *(f"{name} {i}" for i in range(60))))
                        for there, name in ((one, "one"), (two, "two"))
                    ]
                    for writer in writers:
                        writer.start()
                    for writer in writers:
                        writer.join()
                    one.see("subject", 221)
                    assert first.terminate() == 0
                    assert second.terminate() == 0
                assert applied(one.upstream) == 221
                hold_calm(one.upstream)
                assert len(incarnations(one.upstream)) == 2
                assert Counter(kinds(one) + kinds(two)) in (Counter(["copied"]), Counter(["restored"]))


class TestAReloadedLaptop:
    @pytest.mark.parametrize("style", ["custom", "inserts"])
    def test_sends_what_was_pending_and_what_was_captured_since(
        self, databases: Databases, tmp_path: Path, style: str
    ) -> None:
        """Transaction ids of both clusters are the same numbers here, and mean different transactions."""
        with own(15, "clinic") as source, own_cluster(18) as new:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, *(f"shipped {i}" for i in range(5)))
            here.must("run", "--once")
            source.script("CREATE ROLE service LOGIN; GRANT dbsync_replicator TO service")
            _burn_ids(source, 2_500)
            source.sql(
                "INSERT INTO visit (subject_id, code) SELECT id, 1000 FROM subject WHERE identifier = 'shipped 2'"
            )
            add(source, *(f"pending {i}" for i in range(400)))
            edit(source, "shipped 1", "BB")
            reloaded = dump_and_reload(source, new, tmp_path, style=style)
            _burn_ids(reloaded, _first_pending(source) + 20)
            add(reloaded, *(f"since {i}" for i in range(50)))
            with reloaded.connect() as session:  # with savepoints: rows are written under ids of their own
                for name in ("saved 1", "saved 2"):
                    with session.transaction(), session.transaction():
                        session.execute("INSERT INTO subject (identifier) VALUES (%s)", (name,))
            reloaded.sql(
                "INSERT INTO visit (subject_id, code) SELECT id, 2000 FROM subject WHERE identifier = 'since 1'"
            )
            pending = _ids(reloaded)
            assert len(pending) > len(set(pending)), "the test wants ids that were given in both clusters"
            there = at(here, reloaded, tmp_path / "reloaded")
            assert "another PostgreSQL cluster" in there.must("status").out

            with as_service(there):
                there.must("run", "--once")

            there.must("verify")
            assert applied(there.upstream) == 5 + 1 + 400 + 1 + 50 + 2 + 1
            assert there.upstream.value("SELECT sum(dropped) FROM dbsync.receipt") == 0
            hold_calm(there.upstream)
            assert kinds(there) == ["reloaded"]
            assert "455 pending changes" in told(there)
            assert not there.status()["node"]["reloaded"]
            add(reloaded, "later")
            there.must("run", "--once")
            there.must("verify")

    def test_is_taken_over_though_service_and_server_are_killed_again_and_again(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        with own(15, "clinic") as source, own_cluster(15) as new:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"), tables=TABLES)
            add(source, "shipped")
            ship(here)
            _burn_ids(source, 3_000)
            add(source, *(f"pending {i}" for i in range(300)))
            reloaded = dump_and_reload(source, new, tmp_path)
            reloaded.script("""
                CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END $$;
                CREATE TRIGGER slow BEFORE DELETE ON dbsync.restamp FOR EACH ROW EXECUTE FUNCTION slowly()
            """)
            there = at(here, reloaded, tmp_path / "reloaded", tables=TABLES)
            left: list[int] = []
            with Forks(there.folder) as services:
                while len(left) < 5:
                    before = _transactions_to_go(reloaded)
                    service = services.start()
                    until(partial(_moves_on, before, reloaded), "nothing moves")
                    services.kill(service)
                    new.kill()
                    new.start()
                    left.append(_transactions_to_go(reloaded))
                    add(reloaded, f"meanwhile {len(left)}")
            print(f"\nkilled {len(left)} times, transactions to go: {left}")
            assert any(0 < here_left < 300 for here_left in left)
            ship(there)
            there.must("verify")
            assert applied(there.upstream) == 301 + len(left)
            hold_calm(there.upstream)
            assert kinds(there) == ["reloaded"]

    def test_and_the_one_it_was_dumped_from_both_ship_what_was_pending_once(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        with own(15, "clinic") as source, own_cluster(18) as new:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(here)
            add(source, "pending 1", "pending 2")
            reloaded = dump_and_reload(source, new, tmp_path)
            add(source, "old")
            add(reloaded, "new")
            there = at(here, reloaded, tmp_path / "reloaded")
            for one in (here, there, here, there):
                ship(one)
                here.upstream.sql("UPDATE subject SET initials = 'upstream' WHERE identifier LIKE 'pending%'")
            assert subjects(here.upstream) == {
                "new": "AA", "old": "AA", "pending 1": "upstream", "pending 2": "upstream", "shipped": "AA"
            }  # fmt: skip
            assert applied(here.upstream) == 5
            assert (kinds(here), kinds(there)) == ([], ["reloaded"])

    def test_that_was_upgraded_in_place_sends_what_was_pending(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source, own_cluster(18) as new:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped 1", "shipped 2", "shipped 3")
            ship(here)
            add(source, *(f"pending {i}" for i in range(20)))
            upgrade(source.cluster, new)
            upgraded = Database(cluster=new, name="clinic")
            there = at(here, upgraded, tmp_path / "upgraded")
            add(upgraded, "since")
            ship(there)
            there.must("verify")
            assert applied(there.upstream) == 24
            assert there.upstream.value("SELECT sum(dropped) FROM dbsync.receipt") == 0
            assert kinds(there) == ["reloaded"]


class TestAnUpstreamThatWentBackInTime:
    def test_gets_again_what_it_lost(self, databases: Databases, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream:
            here = laptop(tmp_path, databases.create(15, name="source"), upstream)
            with here.source.connect() as slow:
                add(here.source, "a", "b", "c", "d", "e")
                slow.execute("BEGIN; INSERT INTO subject (identifier, initials) VALUES ('slow', 'AA')")
                here.must("run", "--once")
                saved = back_up(upstream.cluster)
                add(here.source, "f", "g", "h", "i")
                edit(here.source, "a", "BB")
                here.must("run", "--once")
                slow.execute("COMMIT")
            add(here.source, "j")
            here.must("run", "--once")
            here.source.sql("DELETE FROM subject WHERE identifier = 'b'")
            batches = upstream.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number")
            restore(upstream.cluster, saved)

            here.must("run", "--once")

            again = upstream.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number")
            assert again[: len(batches)] == batches, "the very same batches come again"

            here.must("verify")
            assert subjects(upstream) == subjects(here.source)
            assert applied(upstream) == 13
            hold_calm(upstream)
            assert kinds(here) == ["upstream_restored"]
            assert "nothing is to be decided" in told(here)
            assert len(incarnations(upstream)) == 1

    def test_in_the_middle_of_a_window_gets_again_what_it_lost(self, databases: Databases, tmp_path: Path) -> None:
        """A backup from between two batches of what was pending together."""
        with own(18, "upstream") as upstream:
            here = laptop(tmp_path, databases.create(15, name="source"), upstream)
            add(here.source, "a", "b", "c", "d", "e", "f", "g")
            looks = iter([False, False, True])
            with Service(config=config(here))._link() as link:
                link.ship(lambda: next(looks))
            assert set(subjects(upstream)) == {"a", "b", "c", "d"}
            saved = back_up(upstream.cluster)
            ship(here)
            add(here.source, "h")
            ship(here)
            restore(upstream.cluster, saved)
            ship(here)
            here.must("verify")
            assert applied(upstream) == 8
            hold_calm(upstream)
            assert kinds(here) == ["upstream_restored"]

    def test_to_before_the_node_was_known_gets_everything_again(self, databases: Databases, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream:
            here = place(tmp_path, databases.create(15, name="source"), upstream, tables=SMALL + TABLES)
            here.must("install-upstream")
            saved = back_up(upstream.cluster)
            here.install()
            add(here.source, "a", "b", "c")
            ship(here)
            restore(upstream.cluster, saved)
            here.must("install-upstream")
            ship(here)
            here.must("verify")
            assert kinds(here) == ["upstream_restored"]

    def test_further_than_changes_are_held_is_mended_by_verify_repair(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        with own(18, "upstream") as upstream:
            tables = SMALL + '[retention]\nkeep = "0"\n' + TABLES
            here = laptop(tmp_path, databases.create(15, name="source"), upstream, tables=tables)
            add(here.source, "a")
            here.must("run", "--once")
            saved = back_up(upstream.cluster)
            add(here.source, "b", "c", "d")
            here.must("run", "--once")
            add(here.source, "e")
            here.must("run", "--once")
            restore(upstream.cluster, saved)
            add(here.source, "f")
            here.must("run", "--once")
            assert "f" in subjects(upstream)
            assert kinds(here) == ["upstream_restored"]
            assert "dbsync verify --repair" in told(here)
            assert here.run("verify", "--repair").code == 1
            here.must("run", "--once")
            here.must("verify")
            assert subjects(upstream) == subjects(here.source)

    def test_and_a_laptop_that_did_too_come_together(self, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream, own(15, "clinic") as source:
            here = laptop(tmp_path, source, upstream)
            add(source, "a")
            ship(here)
            add(source, "pending")
            older, laptops = back_up(upstream.cluster), back_up(source.cluster)
            add(source, "b", "c", "d")
            ship(here)
            restore(source.cluster, laptops)
            add(source, "e")
            ship(here)
            restore(upstream.cluster, older)
            add(source, "f")
            ship(here)
            here.must("verify")
            assert set(subjects(upstream)) == {"a", "pending", "e", "f"}
            hold_calm(upstream)
            assert kinds(here) == ["restored", "upstream_restored"]

    def test_to_a_past_in_which_a_copy_had_sent_instead(self, tmp_path: Path) -> None:
        """A number that both remember, with other content: they part before it."""
        with own(18, "upstream") as upstream, own(15, "clinic") as source:
            here = laptop(tmp_path, source, upstream)
            add(source, "a")
            ship(here)
            add(source, "pending 1", "pending 2", "pending 3")
            before = back_up(upstream.cluster, "before")
            with copied(source.cluster, back_up(source.cluster)) as twin:
                there = at(here, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                add(there.source, "of the copy")
                edit(there.source, "a", "CC")
                ship(there)
            with_copy = back_up(upstream.cluster, "with copy")
            restore(upstream.cluster, before)
            add(source, "b")
            with here.source.connect() as session, session.transaction():
                session.execute("UPDATE subject SET initials = 'BB' WHERE identifier LIKE 'pending%'")
                ship(here)
            for name in ("c", "d", "e"):
                add(source, name)
                ship(here)
            restore(upstream.cluster, with_copy)
            add(source, "f")
            ship(here)
            assert subjects(upstream) == subjects(source) | {"of the copy": "AA", "a": "CC"}
            assert applied(upstream) == 1 + 3 + 2 + 1 + 3 + 3 + 1
            hold_calm(upstream)
            assert kinds(here) == ["upstream_restored"]
            assert len(incarnations(upstream)) == 2


class TestTwoWays:
    def test_of_one_node_to_one_upstream_apply_its_changes_once(self, databases: Databases, tmp_path: Path) -> None:
        one = laptop(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
        two = at(one, one.source, tmp_path / "two")
        file = two.folder / "dbsync.toml"
        file.write_text(file.read_text().replace('name = "community"', 'name = "other"'))
        for turn, there in enumerate([one, two, one, two, two]):
            add(one.source, f"first {turn}", f"second {turn}", f"third {turn}")
            edit(one.source, "first 0", f"{turn}")
            ship(there)
            one.upstream.sql("UPDATE subject SET initials = 'up' WHERE identifier = 'second 0'")
        ship(one)
        assert subjects(one.upstream) == subjects(one.source) | {"second 0": "up"}
        assert applied(one.upstream) == 20
        assert one.upstream.value("SELECT sum(dropped) FROM dbsync.receipt") == 20
        hold_calm(one.upstream)
        assert (kinds(one), len(incarnations(one.upstream))) == ([], 1)


class TestAMiddleTier:
    def test_restored_from_a_backup_heals_towards_both_sides(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "community") as community:
            central = databases.create(18, name="central")
            field = laptop(tmp_path, databases.create(15, name="field"), community)
            (tmp_path / "community").mkdir()
            middle = Place(folder=tmp_path / "community", source=community, upstream=central)
            central.script(SCHEMA)
            middle.configure(SMALL + TABLES, node="community")
            middle.install()

            def ship_all() -> None:
                for there in (field, middle):
                    ship(there)

            add(field.source, "a", "b")
            ship_all()
            add(field.source, "pending in the middle")
            ship(field)
            saved = back_up(community.cluster)
            add(field.source, "c", "d")
            edit(field.source, "a", "BB")
            ship_all()
            restore(community.cluster, saved)
            add(field.source, "e")
            add(community, "of the community")
            ship_all()

            field.must("verify", "--ignore-extra")
            middle.must("verify")
            expected = subjects(field.source) | {"of the community": "AA"}
            assert subjects(community) == subjects(central) == expected
            assert kinds(field) == ["upstream_restored"]
            assert kinds(middle) == ["restored"]
            assert community.sql("SELECT state FROM dbsync.quarantine") == []
            assert central.sql("SELECT state FROM dbsync.quarantine") == []


def _burn_ids(database: Database, wanted: int) -> None:
    """Use up transaction ids until one is reached."""
    with database.connect() as session:
        while int(_one(session.execute("SELECT pg_current_xact_id()::text::bigint").fetchone())) < wanted:
            pass


def _first_pending(database: Database) -> int:
    """Give the id of the first transaction that was not shipped."""
    return int(
        database.value(
            "SELECT min(c.xid::text::bigint) FROM dbsync.change c, dbsync.link l"
            " WHERE NOT pg_visible_in_snapshot(c.xid, l.cursor)"
        )
    )


def _one(row: tuple[Any, ...] | None) -> Any:
    assert row is not None
    return row[0]


def _ids(database: Database) -> list[str]:
    """Give the ids of the log's transactions, once for each transaction that wrote it."""
    return [xid for (xid,) in database.sql("SELECT xid::text FROM dbsync.change WHERE op = 'I' GROUP BY xid, xmin")]


def _moves_on(before: int, database: Database) -> bool:
    """Say whether so much was done that a crash leaves some of it: the last moments before it are not durable."""
    left = _transactions_to_go(database)
    return left == 0 or (before < 0 <= left) or before - left >= 60


def _transactions_to_go(database: Database) -> int:
    """Count what has no id of this cluster yet; -1 as long as nobody has looked at it."""
    if database.value("SELECT n.system_identifier <> c.system_identifier FROM dbsync.node n, pg_control_system() c"):
        return -1
    return int(database.value("SELECT count(*) FROM dbsync.restamp"))
