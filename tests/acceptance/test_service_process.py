"""``dbsync run`` as systemd and a person meet it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import conninfo

from tests.acceptance.places import EXTRA, TABLES, Place, parts, place
from tests.support.databases import Database, Databases
from tests.support.servers import own_cluster
from tests.support.service import NotifySocket, until


@pytest.fixture
def here(databases: Databases, tmp_path: Path) -> Place:
    """Give a laptop and its server, dbsync installed on both."""
    found = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    found.install()
    return found


@pytest.fixture
def lonely(databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """Give a laptop whose upstream is a server of its own, to be killed and started."""
    with own_cluster(18) as cluster:
        cluster.create_database("community")
        upstream = Database(cluster=cluster, name="community")
        found = place(tmp_path, databases.create(15, name="source"), upstream)
        found.install()
        yield found


def insert(place: Place, *identifiers: str) -> None:
    place.source.sql("INSERT INTO subject (identifier) SELECT unnest(%s::text[])", (list(identifiers),))


def test_service_ships_what_comes_and_ends_with_0_on_sigterm(here: Place) -> None:
    insert(here, "S-0")
    with here.service() as service:
        here.see("subject", 1)
        insert(here, "S-1", "S-2")
        here.source.sql("INSERT INTO visit (subject_id, code, note) VALUES (1, 1000, 'the patient said so')")
        here.see("visit", 1)
        until(lambda: here.status()["pending"] == 0, "changes are pending")
        found = here.status()
        assert found["link"]["state"] == "streaming"
        assert service.terminate() == 0
    assert found["node"]["name"] == "field-07"
    assert found["lag"] is None
    assert {table["table"]: (table["pending"], table["today"], table["trigger"]) for table in found["tables"]} == {
        "subject": (0, 3, "installed"),
        "visit": (0, 1, "installed"),
    }
    assert here.status()["link"]["state"] == "stopped"
    assert here.must("verify").code == 0


def test_no_row_value_is_in_the_logs(here: Place) -> None:
    here.upstream.sql("ALTER TABLE visit ADD CHECK (note <> 'secret two')")
    with here.service() as service:
        here.source.script("""
            INSERT INTO subject (identifier, initials) VALUES ('S-1', 'secret one');
            INSERT INTO visit (subject_id, code, note) VALUES (1, 1000, 'secret two');
        """)
        service.wait_for("changes_held")
        assert service.terminate() == 0
    assert "secret" not in service.log.read_text()
    assert "secret" not in here.must("status").out
    assert "secret" not in here.must("quarantine", "list").out


def test_systemd_hears_when_the_service_is_ready_and_when_it_stops(here: Place, tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as systemd, here.service(systemd.environ) as service:
        assert systemd.receive() == "READY=1"
        assert service.terminate() == 0
        assert systemd.receive() == "STOPPING=1"


def test_systemds_watchdog_hears_that_the_service_is_alive(here: Place, tmp_path: Path) -> None:
    with (
        NotifySocket(tmp_path / "notify") as systemd,
        here.service({**systemd.environ, "WATCHDOG_USEC": "200000"}) as service,
    ):
        heard = [systemd.receive() for _ in range(5)]
        assert heard.count("WATCHDOG=1") >= 3
        assert set(heard) == {"WATCHDOG=1", "READY=1"}
        assert service.terminate() == 0


def test_a_table_added_to_the_file_is_captured_after_sighup(here: Place) -> None:
    with here.service() as service:
        service.wait_for("link_connected")
        here.configure(TABLES + EXTRA)
        service.reload()
        service.wait_for("configuration_reloaded")
        here.source.sql("INSERT INTO extra (code) VALUES ('E-1')")
        here.see("extra", 1)
        assert service.terminate() == 0


def test_a_file_that_is_wrong_leaves_the_service_as_it_was(here: Place) -> None:
    good = (here.folder / "dbsync.toml").read_text()
    with here.service() as service:
        service.wait_for("link_connected")
        (here.folder / "dbsync.toml").write_text(good + '[[tables]]\nnam = "extra"\n')
        service.reload()
        service.wait_for("configuration_refused")
        insert(here, "S-1")
        here.see("subject", 1)
        assert service.terminate() == 0


def test_an_upstream_that_gets_another_name_is_told_of_by_that(here: Place) -> None:
    file = here.folder / "dbsync.toml"
    with here.service() as service:
        insert(here, "S-0")
        here.see("subject", 1)
        until(lambda: here.status()["link"]["state"] == "streaming", "not streaming")
        file.write_text(file.read_text().replace('name = "community"', 'name = "commune"'))
        service.reload()
        service.wait_for("configuration_reloaded")
        insert(here, "S-1")
        here.see("subject", 2)
        until(lambda: here.status()["link"]["state"] == "streaming", "it is told as new")
        assert here.status()["link"]["name"] == "commune"
        assert here.source.value("SELECT state FROM dbsync.link WHERE name = 'community'") == "stopped"
        assert service.terminate() == 0


def test_a_service_that_was_killed_is_not_told_as_streaming(here: Place) -> None:
    with here.service() as service:
        insert(here, "S-0")
        here.see("subject", 1)
        until(lambda: here.status()["link"]["state"] == "streaming", "not streaming")
        service.kill()
    insert(here, "S-1")
    until(lambda: here.status()["link"]["state"] == "stopped", "what is dead streams")
    shown = here.must("status").out
    assert "it ended without a word" in shown
    assert "1 change waits safely in the source" in shown
    watched = here.run("status", "--nagios")
    assert (watched.code, "does not run: it ended without a word" in watched.out) == (1, True), watched.out
    here.must("run", "--once")
    assert "it ended without a word" not in here.must("status").out


def test_upstream_away_is_said_once_and_what_waited_drains_on_its_return(lonely: Place) -> None:
    lonely.upstream.cluster.kill()
    insert(lonely, "S-1", "S-2")
    with lonely.service() as service:
        service.wait_for("link_unreachable")
        insert(lonely, "S-3")
        until(lambda: lonely.status()["link"]["state"] == "unreachable", "not unreachable")
        found = lonely.status()
        assert (found["pending"], found["link"]["last_batch"]) == (3, 0)
        assert "out of reach" in found["link"]["reason"]
        shown = lonely.must("status").out
        assert "unreachable" in shown
        assert "3 changes wait safely in the source" in shown
        lonely.upstream.cluster.start()
        lonely.see("subject", 3)
        until(lambda: lonely.status()["link"]["state"] == "streaming", "not streaming")
        lonely.upstream.cluster.kill()
        insert(lonely, "S-4")
        service.wait_for("link_unreachable", times=2)
        lonely.upstream.cluster.start()
        lonely.see("subject", 4)
        assert service.terminate() == 0
    assert len(service.said("link_unreachable")) == 2
    assert len(service.said("link_connected")) == 2


def test_service_stopped_while_the_upstream_is_away_ends_with_0_and_status_still_says_why(lonely: Place) -> None:
    lonely.upstream.cluster.kill()
    insert(lonely, "S-1")
    with lonely.service() as service:
        service.wait_for("link_unreachable")
        assert service.terminate() == 0
    found = lonely.status()
    assert (found["link"]["state"], found["pending"]) == ("stopped", 1)
    assert "out of reach" in found["link"]["reason"]
    assert "out of reach" in lonely.must("status").out


def test_a_table_added_while_the_upstream_is_away_is_captured_at_once(lonely: Place) -> None:
    lonely.upstream.cluster.kill()
    with lonely.service() as service:
        service.wait_for("link_unreachable")
        lonely.configure(TABLES + EXTRA)
        service.reload()
        service.wait_for("configuration_reloaded")
        lonely.source.sql("INSERT INTO extra (code) VALUES ('E-1')")
        assert lonely.status()["pending"] == 1
        lonely.upstream.cluster.start()
        lonely.see("extra", 1)
        assert service.terminate() == 0


def test_run_once_exits_0_when_all_is_shipped_and_when_nothing_was_pending(here: Place) -> None:
    insert(here, "S-1")
    assert here.status()["pending"] == 1
    assert here.must("run", "--once").out == "1 change shipped to community\n"
    assert here.must("run", "--once").out == "nothing was pending\n"


def test_run_once_exits_69_when_there_is_no_route(lonely: Place) -> None:
    lonely.upstream.cluster.kill()
    insert(lonely, "S-1")
    done = lonely.run("run", "--once")
    assert done.code == 69
    assert parts(done)["where"] == "upstream"
    assert "changes wait safely in the source" in parts(done)["try"]
    assert lonely.status()["link"]["state"] == "unreachable"


def test_run_once_exits_78_when_the_configuration_is_wrong_or_nothing_is_installed(
    databases: Databases, tmp_path: Path
) -> None:
    fresh = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    assert fresh.run("run", "--once", "--config", "nowhere.toml").code == 78
    done = fresh.run("run", "--once")
    assert (done.code, parts(done)["try"]) == (78, "dbsync install-triggers")
    fresh.must("install-triggers")
    done = fresh.run("run", "--once")
    assert (done.code, parts(done)["try"]) == (78, "dbsync install-upstream")
    fresh.configure("[[table]]\n")
    assert fresh.run("run", "--once").code == 78


def test_words_that_the_command_does_not_know_exit_2(here: Place) -> None:
    assert here.run("run", "--twice").code == 2
    assert here.run("capture", "sideways").code == 2


def test_paused_shipping_keeps_what_is_captured_until_it_is_resumed(here: Place) -> None:
    with here.service() as service:
        service.wait_for("link_connected")
        assert here.must("pause").out.startswith("shipping is paused since ")
        until(lambda: here.status()["link"]["state"] == "paused", "not paused")
        insert(here, "S-1")
        assert here.status()["node"]["paused_since"] is not None
        assert "1 change waits safely in the source" in here.must("status").out
        assert service.terminate() == 0
    refused = here.run("run", "--once")
    assert (refused.code, parts(refused)["try"]) == (1, "dbsync resume")
    with here.service() as service:
        service.wait_for("link_connected")
        until(lambda: here.status()["link"]["state"] == "paused", "not paused after a new start")
        assert here.upstream.value("SELECT count(*) FROM subject") == 0
        here.must("resume")
        here.see("subject", 1)
        assert service.terminate() == 0


def test_a_pause_is_shown_whatever_the_state_and_whether_or_not_a_service_runs(lonely: Place) -> None:
    lonely.must("run", "--once")
    lonely.must("pause")
    shown = lonely.must("status").out
    assert ("   stopped   " in shown, "shipping is paused since 2" in shown, "dbsync resume" in shown) == (True,) * 3
    told = lonely.run("status", "--nagios")
    assert told.code == 1
    assert told.out.startswith("DBSYNC WARNING: shipping from field-07 to community is paused since 2")
    lonely.upstream.cluster.kill()
    with lonely.service() as service:
        service.wait_for("link_unreachable")
        shown = lonely.must("status").out
        assert ("   unreachable   " in shown, "shipping is paused since 2" in shown) == (True, True)
        assert service.terminate() == 0
    lonely.must("resume")
    assert "paused" not in lonely.must("status").out
    assert "paused" not in lonely.run("status", "--nagios").out


def test_capture_switched_off_loses_what_is_written_and_status_says_since_when(here: Place) -> None:
    assert here.must("capture", "off").out.startswith("capture is OFF since ")
    insert(here, "S-1")
    assert here.status()["node"]["capture_off_since"] is not None
    assert re.search(r"capture is OFF since [-0-9: ]+ UTC: ", here.must("status").out)
    assert here.must("capture", "on").out == "capture is on\n"
    insert(here, "S-2")
    found = here.status()
    assert (found["pending"], found["node"]["capture_off_since"]) == (1, None)
    here.must("run", "--once")
    assert [row[0] for row in here.upstream.sql("SELECT identifier FROM subject")] == ["S-2"]
    assert here.run("verify").code == 1
    here.must("backfill")
    here.must("run", "--once")
    here.must("verify")


def test_a_change_that_cannot_be_applied_waits_alone_and_status_says_so(here: Place) -> None:
    here.upstream.sql("ALTER TABLE visit ADD CONSTRAINT plausible CHECK (code < 2000)")
    insert(here, "S-1")
    with here.service() as service:
        here.source.sql("INSERT INTO visit (subject_id, code) VALUES (1, 9000)")
        service.wait_for("changes_held")
        insert(here, "S-2")
        here.see("subject", 2)
        until(lambda: here.status()["quarantined"] == 1, "status does not know")
        assert "1 row needs you: dbsync quarantine list" in here.must("status").out
        here.upstream.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
        here.must("quarantine", "retry", "--all")
        until(lambda: here.status()["quarantined"] == 0, "status does not know")
        assert service.terminate() == 0
    here.must("verify")


def test_where_nothing_may_go_aside_the_link_halts_until_the_cause_is_mended(here: Place) -> None:
    here.configure(TABLES + 'on_error = "stop"\n')
    here.upstream.sql("ALTER TABLE visit ADD CONSTRAINT plausible CHECK (code < 2000)")
    insert(here, "S-1")
    here.must("run", "--once")
    with here.service() as service:
        service.wait_for("link_connected")
        here.source.sql("INSERT INTO visit (subject_id, code) VALUES (1, 9000)")
        service.wait_for("link_halted")
        insert(here, "S-2")
        until(lambda: here.status()["pending"] == 2, "the later change is not pending")
        found = here.status()["link"]
        assert found["state"] == "halted"
        for words in ("batch 2", "visit (S-1, 9000)", "plausible"):
            assert words in found["reason"]
        assert "halted" in here.must("status").out
        refused = here.run("run", "--once")
        assert refused.code == 1
        assert "batch 2" in parts(refused)["what"]
        assert "plausible" in parts(refused)["why"]
        assert here.upstream.value("SELECT count(*) FROM subject") == 1
        here.upstream.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
        here.see("subject", 2)
        here.see("visit", 1)
        until(lambda: here.status()["link"]["state"] == "streaming", "not streaming")
        assert here.status()["link"]["reason"] is None
        assert service.terminate() == 0
    here.must("verify")


@pytest.mark.parametrize(
    ("taken", "given", "words"),
    [
        (
            "REVOKE INSERT ON subject FROM dbsync_replicator",
            "GRANT INSERT ON subject TO dbsync_replicator",
            "permission denied for table subject",
        ),
        ("ALTER SCHEMA dbsync RENAME TO away", "ALTER SCHEMA away RENAME TO dbsync", "dbsync is not installed"),
    ],
    ids=["a right", "the schema"],
)
def test_what_is_missing_upstream_halts_the_link_and_the_service_goes_on_when_it_is_there(
    here: Place, taken: LiteralString, given: LiteralString, words: str
) -> None:
    as_the_service = conninfo.make_conninfo(here.upstream.dsn, options="-c role=dbsync_replicator")
    file = here.folder / "dbsync.toml"
    file.write_text(file.read_text().replace(here.upstream.dsn, as_the_service))
    with here.service() as service:
        service.wait_for("link_connected")
        here.upstream.sql(taken)
        insert(here, "S-1")
        service.wait_for("link_halted")
        found = here.status()["link"]
        assert (found["state"], words in found["reason"]) == ("halted", True)
        here.upstream.sql(given)
        here.see("subject", 1)
        until(lambda: here.status()["link"]["state"] == "streaming", "not streaming")
        assert service.terminate() == 0
    here.must("verify")


def test_a_service_that_starts_before_its_upstream_can_be_written_goes_on_when_it_can(lonely: Place) -> None:
    """A standby that is about to be promoted, or a server that went read-only for want of space."""
    admin = Database(cluster=lonely.upstream.cluster, name="postgres")
    admin.sql("ALTER DATABASE community SET default_transaction_read_only = on")
    insert(lonely, "S-1")
    with lonely.service() as service:
        service.wait_for("link_halted")
        assert "nothing can be written" in lonely.status()["link"]["reason"]
        admin.sql("ALTER DATABASE community RESET default_transaction_read_only")
        lonely.see("subject", 1)
        assert service.terminate() == 0
    lonely.must("verify")


def test_a_service_whose_node_has_another_name_does_not_start(here: Place) -> None:
    here.configure(node="field-08")
    with here.service() as service:
        assert service.wait() == 78
    assert "field-07" in service.log.read_text()


def test_tables_that_were_there_before_are_pending_after_backfill(databases: Databases, tmp_path: Path) -> None:
    fresh = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    insert(fresh, "S-1", "S-2")
    fresh.install()
    assert fresh.status()["pending"] == 0
    assert fresh.must("backfill").out == "2 rows of 2 tables are in the change log\n"
    assert fresh.status()["pending"] == 2
    assert fresh.must("backfill").out == "nothing to do: all done before\n"
