"""A server runs out of disk, connections or memory, or its DBA sets timeouts: status says what, and it ends equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors

from tests.acceptance.places import TABLES, Place, parts, place
from tests.support.databases import Database, Databases
from tests.support.servers import own_cluster
from tests.support.service import ServiceProcess, until
from tests.support.shortage import MEGABYTE, files_limited, small_disk

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SLOWLY: LiteralString = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2.5); RETURN NULL; END $$
"""
LARGE = """
WITH made AS (INSERT INTO subject (identifier) SELECT {0} || '-' || g FROM generate_series(1, {1}) g RETURNING id)
INSERT INTO visit (subject_id, code, note) SELECT id, 1, repeat(md5(id::text), 30) FROM made
"""


@contextmanager
def own(version: int, max_connections: int = 100, locks: int = 64) -> Iterator[Database]:
    """Give a database in a cluster of its own."""
    with own_cluster(version, max_connections=str(max_connections), max_locks_per_transaction=str(locks)) as cluster:
        cluster.create_database("clinic")
        yield Database(cluster=cluster, name="clinic")


def write(there: Place, name: int, rows: int) -> None:
    """Commit so many subjects, each with a visit of a kilobyte."""
    there.source.sql(LARGE.format(name, rows).encode())


def installed(folder: Path, source: Database, upstream: Database, tables: str = TABLES) -> Place:
    """Give a laptop with dbsync installed at both ends."""
    made = place(folder, source, upstream, tables=tables)
    made.install()
    return made


def hold_that_it_is_told(there: Place, service: ServiceProcess, *words: str) -> None:
    """Wait until status says that the link is unreachable and why; the service goes on."""

    def told() -> bool:
        link = there.status()["link"]
        return link["state"] == "unreachable" and all(word in (link["reason"] or "") for word in words)

    until(told, f"status does not say {words}")
    assert service.runs
    assert there.status()["pending"] > 0
    shown = there.must("status").out
    assert all(word in shown for word in words), shown
    assert "changes wait safely in the source" in shown


def hold_that_it_ends_equal(there: Place) -> None:
    """Wait until all is shipped, and hold that each change was applied once."""
    try:
        until(lambda: there.status()["pending"] == 0, "it does not drain", patience=150)
    except AssertionError as error:
        raise AssertionError(there.status(), (there.folder / "service.log").read_text()[-3000:]) from error
    until(lambda: there.status()["link"]["state"] == "streaming", "not streaming")
    there.must("verify")
    receipts = there.upstream.sql("SELECT number, hash, changes FROM dbsync.receipt ORDER BY number")
    assert receipts == there.source.sql("SELECT number, hash, changes FROM dbsync.sent ORDER BY number")
    assert sum(row[2] for row in receipts) == there.source.value("SELECT count(*) FROM dbsync.change")
    assert there.upstream.sql("SELECT conflict, reason FROM dbsync.quarantine") == []
    assert there.upstream.sql("SELECT conflict FROM dbsync.conflict") == []


class TestADiskThatIsFull:
    def test_upstream_is_waited_for(self, databases: Databases, tmp_path: Path) -> None:
        with own(18) as upstream, small_disk(upstream.cluster) as disk:
            here = installed(tmp_path, databases.create(15, name="source"), upstream)
            disk.hold(upstream, "subject", "visit")
            write(here, 1, 100)
            with here.service() as service:
                here.see("visit", 100)
                disk.fill()
                write(here, 2, 1_000)
                hold_that_it_is_told(here, service, "no room on its disk")
                once = here.run("run", "--once")
                assert once.code == 69
                assert upstream.value("SELECT count(*) FROM visit") == 100
                disk.free()
                hold_that_it_ends_equal(here)
                assert service.terminate() == 0

    def test_upstream_in_the_middle_of_staging_is_waited_for(self, databases: Databases, tmp_path: Path) -> None:
        with own(18) as upstream, small_disk(upstream.cluster) as disk:
            here = installed(tmp_path, databases.create(15, name="source"), upstream)
            upstream.sql("ALTER ROLE postgres SET temp_tablespaces = 'small'")
            disk.fill()
            write(here, 1, 1_000)
            with here.service() as service:
                hold_that_it_is_told(here, service, "no room on its disk")
                disk.free()
                hold_that_it_ends_equal(here)
                assert service.terminate() == 0

    def test_at_the_source_refuses_the_application_and_holds_up_the_service_until_there_is_room(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        """What was committed before is safe; what could not be captured was not committed either."""
        with own(15) as source, small_disk(source.cluster) as disk:
            here = installed(tmp_path, source, databases.create(18, name="upstream"))
            disk.hold(source, "dbsync.change", "dbsync.sent")
            write(here, 1, 50)
            disk.fill()
            with pytest.raises(errors.DiskFull):
                write(here, 2, 1_000)
            with here.service() as service:
                hold_that_it_is_told(here, service, "the source has no room on its disk")
                disk.free()
                write(here, 3, 50)
                hold_that_it_ends_equal(here)
                assert service.terminate() == 0
            assert source.value("SELECT count(*) FROM visit") == 100

    def test_as_the_operating_system_may_say_otherwise_puts_no_row_aside(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        """A quota, or here a limit on the size of files: to PostgreSQL an internal error, and no fault of a row."""
        with own(18) as upstream:
            here = installed(tmp_path, databases.create(15, name="source"), upstream)
            upstream.sql("ALTER TABLE visit ALTER note SET STORAGE PLAIN")
            upstream.cluster.stop()
            with files_limited(17 * MEGABYTE):
                upstream.cluster.start()
            write(here, 1, 20_000)
            with here.service() as service:
                hold_that_it_is_told(here, service, "could not extend file")
                upstream.cluster.stop()
                upstream.cluster.start()
                hold_that_it_ends_equal(here)
                assert service.terminate() == 0


@contextmanager
def no_connection_left(database: Database) -> Iterator[None]:
    """Hold all the connections that a server gives, begun when nobody else has one that could come free."""
    with ExitStack() as stack:
        first = stack.enter_context(database.connect())
        others = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        until(lambda: first.execute(others).fetchone() is None, "somebody else stays connected")
        with pytest.raises(psycopg.OperationalError, match="clients"):
            while True:
                stack.enter_context(database.connect())
        yield


class TestAServerThatHasNoConnectionLeft:
    def test_upstream_is_waited_for(self, databases: Databases, tmp_path: Path) -> None:
        with own(18, max_connections=12) as upstream:
            here = installed(tmp_path, databases.create(15, name="source"), upstream)
            write(here, 1, 5)
            with no_connection_left(upstream), here.service() as service:
                hold_that_it_is_told(here, service, "too many clients already")
                assert here.run("run", "--once").code == 69
            with here.service() as service:
                hold_that_it_ends_equal(here)
                assert service.terminate() == 0

    def test_at_the_source_is_told_by_every_command_and_waited_for(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, max_connections=12) as source:
            here = installed(tmp_path, source, databases.create(18, name="upstream"))
            write(here, 1, 5)
            with ExitStack() as later:
                with no_connection_left(source):
                    service = later.enter_context(here.service())
                    for command in (("status",), ("run", "--once")):
                        done = here.run(*command)
                        assert done.code == 69
                        assert "too many clients already" in parts(done)["why"]
                    assert service.runs
                hold_that_it_ends_equal(here)
                assert service.terminate() == 0


@pytest.mark.parametrize("end", ["source", "upstream"])
def test_timeouts_that_a_dba_sets_do_not_stop_the_service(databases: Databases, tmp_path: Path, end: str) -> None:
    with own(18) as small:
        other = databases.create(15, name="other")
        here = installed(tmp_path, *((small, other) if end == "source" else (other, small)))
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
            small.sql(f"ALTER DATABASE clinic SET {name} = '1s'".encode())
        small.sql("ALTER ROLE postgres SET idle_session_timeout = '1s'")
        table = "dbsync.sent" if end == "source" else "subject"
        small.script(SLOWLY)
        small.sql(
            f"CREATE TRIGGER slowly AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION slowly()".encode()
        )
        with here.service() as service:
            service.wait_for("link_connected")
            write(here, 1, 5)
            hold_that_it_ends_equal(here)
            assert service.said("link_unreachable") == []
            assert service.terminate() == 0


@contextmanager
def no_lock_left(database: Database) -> Iterator[None]:
    """Hold all the locks that a server has room for, as an application may that uses thousands of partitions."""
    with database.connect() as session:
        with pytest.raises(errors.OutOfMemory):
            for number in range(1_000):
                session.execute("SELECT count(pg_advisory_lock(%s, g)) FROM generate_series(1, 1000) g", [number])
        yield


def test_an_upstream_without_room_for_locks_says_so_and_is_waited_for(databases: Databases, tmp_path: Path) -> None:
    with own(18, locks=10) as upstream:
        here = installed(tmp_path, databases.create(15, name="source"), upstream)
        write(here, 1, 5)
        with here.service() as service:
            here.see("visit", 5)
            with no_lock_left(upstream):
                write(here, 2, 5)
                hold_that_it_is_told(here, service, "max_locks_per_transaction")
            hold_that_it_ends_equal(here)
            assert service.terminate() == 0
