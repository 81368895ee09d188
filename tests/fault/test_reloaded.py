"""A laptop's database is dumped and reloaded, or upgraded in place: it lives in another cluster then, and nothing is lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.places import TABLES
from tests.fault.forks import Forks
from tests.fault.laptops import (
    add,
    applied,
    as_service,
    at,
    edit,
    hold_calm,
    kinds,
    laptop,
    own,
    ship,
    subjects,
    told,
)
from tests.support.databases import Database, Databases
from tests.support.lives import dump_and_reload, upgrade
from tests.support.servers import own_cluster
from tests.support.service import until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


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
                while (
                    len(left) < 5 and 0 not in left
                ):  # a crash right after the last would take back what came meanwhile
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
    all_of_them = 300
    return left == 0 or (left > 0 and (before if before >= 0 else all_of_them) - left >= 100)


def _transactions_to_go(database: Database) -> int:
    """Count what has no id of this cluster yet; -1 as long as nobody has looked at it."""
    if database.value("SELECT n.system_identifier <> c.system_identifier FROM dbsync.node n, pg_control_system() c"):
        return -1
    return int(database.value("SELECT count(*) FROM dbsync.restamp"))
