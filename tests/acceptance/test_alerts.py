"""A node that tells somebody when it is not as it should be: by a program, by an address, and by its heartbeat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dbsync.alerts.hooks import HookFailed, run, trial
from dbsync.config.load import load_relay
from dbsync.relay.middleman import opened
from tests.acceptance.places import EXTRA, TABLES, Place, parts, place
from tests.integration.commands import dbsync
from tests.support.databases import Database, Databases
from tests.support.listening import Handler, listening_with
from tests.support.relayed import Relay
from tests.support.served import free_port
from tests.support.servers import own_cluster
from tests.support.service import until
from tests.unit.test_relay import UPSTREAM, handed_over

SECRET = "whoever-knows-this-may-post"
QUICK = 'settle = "0"\nunreachable = "0"\n'


class Heard:
    """What came at an address."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.beats = 0
        self.answer = 200


@contextmanager
def listening() -> Iterator[tuple[Heard, str]]:
    """Listen at an address whose path is a secret; give what is heard, and the address."""
    heard = Heard()

    class Ear(Handler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            heard.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer()

        def do_GET(self) -> None:  # noqa: N802
            heard.beats += 1
            self._answer()

        def _answer(self) -> None:
            self.send_response(heard.answer if SECRET in self.path else 404)
            self.end_headers()

    with listening_with(Ear) as address:
        yield heard, f"{address}/{SECRET}"


def script(
    folder: Path, does: str = 'cat >> told; printf "\\n%s %s" "$DBSYNC_ALERT_STATE" "$DBSYNC_ALERT_ALERT" >> told'
) -> str:
    """Write a program that is told; give the words of the command as they stand in dbsync.toml."""
    path = folder / "tell.sh"
    path.write_text(f"#!/bin/sh\ncd {folder}\n{does}\n")
    path.chmod(0o755)
    return f'command = ["{path}", "--to", "ops"]\n'


def add(here: Place, text: str) -> None:
    with (here.folder / "dbsync.toml").open("a") as file:
        file.write(f"[alerts]\n{text}")


@pytest.fixture
def lonely(databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """Give a laptop whose upstream is a server of its own, to be killed and started."""
    with own_cluster(18) as cluster:
        cluster.create_database("community")
        found = place(tmp_path, databases.create(15, name="source"), Database(cluster=cluster, name="community"))
        found.install()
        yield found


def test_somebody_is_told_that_the_upstream_is_away_and_that_it_is_back(lonely: Place) -> None:
    with listening() as (heard, url):
        add(lonely, f'webhook = "{url}"\nheartbeat = "{url}/beat"\n{QUICK}{script(lonely.folder)}')
        with lonely.service() as service:
            until(lambda: heard.beats == 1, "no heartbeat")
            lonely.upstream.cluster.kill()
            lonely.source.sql("INSERT INTO subject (identifier, initials) VALUES ('S-1', 'a patient''s own')")
            until(lambda: [one["state"] for one in heard.posted] == ["firing"], "nobody is told")
            lonely.upstream.cluster.start()
            until(lambda: [one["state"] for one in heard.posted] == ["firing", "over"], "it is not called off")
            until(lambda: lonely.status()["alerts"] == [], "it stands still")
            assert service.terminate() == 0
    told = heard.posted[0]
    assert (told["node"], told["alert"], told["subject"], told["severity"]) == (
        "field-07",
        "unreachable",
        "community",
        "warning",
    )
    assert told["what"].startswith("field-07 -> community is out of reach since ")
    by_program = (lonely.folder / "told").read_text()
    assert "firing unreachable" in by_program
    assert "over unreachable" in by_program
    for said in (json.dumps(heard.posted), by_program, service.log.read_text()):
        assert "patient" not in said
        assert "S-1" not in said
    assert SECRET not in service.log.read_text()


def test_a_restart_tells_nobody_twice_and_status_says_who_did_not_hear(databases: Databases, tmp_path: Path) -> None:
    here = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    here.install()
    with listening() as (heard, url):
        add(here, f'webhook = "{url}"\n{QUICK}{script(here.folder, "exit 3")}')
        here.must("capture", "off")
        with here.service() as service:
            service.wait_for("alert_not_told")
            until(lambda: len(here.status()["alerts"]) == 1, "it is not kept")
            assert service.terminate() == 0
        (standing,) = here.status()["alerts"]
        assert (standing["alert"], standing["trouble"]) == ("capture_off", "command: it ended with 3")
        assert standing["told_at"] is not None
        assert "command: it ended with 3): dbsync alerts test" in here.must("status").out
        with here.service() as service:
            service.wait_for("link_connected")
            here.must("capture", "on")
            until(lambda: [one["state"] for one in heard.posted] == ["firing", "over"], "it is not called off")
            assert service.terminate() == 0


def test_a_test_says_who_heard_it(databases: Databases, tmp_path: Path) -> None:
    here = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    nobody = here.run("alerts", "test")
    assert (nobody.code, parts(nobody)["what"]) == (78, "nobody is to be told")
    with listening() as (heard, url):
        add(here, f'webhook = "{url}"\nheartbeat = "{url}"\n{script(here.folder)}')
        assert here.must("alerts", "test").out == "command: told\nwebhook: told\nheartbeat: told\n"
        assert (heard.posted[0]["alert"], heard.beats) == ("test", 1)
        assert "this is a test" in (here.folder / "told").read_text()
        heard.answer = 500
        failed = here.run("alerts", "test")
    assert (failed.code, parts(failed)["what"]) == (1, "webhook and heartbeat did not hear it")
    assert (
        failed.out
        == "command: told\nwebhook: NOT told: 127.0.0.1 answers 500\nheartbeat: NOT told: 127.0.0.1 answers 500\n"
    )
    assert SECRET not in failed.out + failed.err


def test_a_single_run_gives_its_heartbeat_when_all_is_shipped_and_none_when_not(
    databases: Databases, tmp_path: Path
) -> None:
    here = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    here.install()
    with listening() as (heard, url):
        add(here, f'heartbeat = "{url}"\n')
        here.must("run", "--once")
        assert heard.beats == 1
        here.must("pause")
        assert here.run("run", "--once").code == 1
        assert heard.beats == 1


def test_a_driver_hears_that_bundles_wait_that_one_was_not_taken_and_that_room_is_short(tmp_path: Path) -> None:
    driver = Relay(tmp_path)
    driver.upstream_is(f"http://127.0.0.1:{free_port()}", UPSTREAM.public)
    with opened(load_relay(driver.folder / "relay.toml")) as relay:
        marked = handed_over(relay.spool, tmp_path / "room", 1)
        handed_over(relay.spool, tmp_path / "room", 2)
        relay.records.troubled(marked, f"a patient's own {SECRET}")
    with listening() as (heard, url):
        (driver.folder / "hook").write_text(SECRET)
        with (driver.folder / "relay.toml").open("a") as file:
            named = url.replace(SECRET, "${file:hook}")
            file.write(f'[check]\nfree_disk = "900TB"\n[alerts]\nwebhook = "{named}"\n{QUICK}')
        done = dbsync(tmp_path, "alerts", "test", "--relay", str(driver.folder))
        assert (done.code, done.out) == (0, "webhook: told\n"), done.err
        with driver.open() as service:
            until(lambda: len(heard.posted) == 4, "it is not told")
            driver.must("drop", marked.file())
            until(lambda: heard.posted[-1]["state"] == "over", "it is not called off")
            assert service.terminate() == 0
    told = [(one["node"], one["alert"], one["subject"], one["severity"], one["state"]) for one in heard.posted]
    assert told[0][:2] == ("driver", "test")
    assert sorted(told[1:4]) == [
        ("driver", "bundle_marked", "field-07", "warning", "firing"),
        ("driver", "no_room", "driver", "critical", "firing"),
        ("driver", "unreachable", "community", "warning", "firing"),
    ]
    assert told[4] == ("driver", "bundle_marked", "field-07", "warning", "over")
    assert SECRET not in json.dumps(heard.posted) + service.log.read_text()
    standing = json.loads(driver.must("status", "--json"))["alerts"]
    assert sorted(one["alert"] for one in standing if one["told_at"]) == ["no_room", "unreachable"]


def test_what_a_program_is_told_with_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_PASSWORD", "s3cret")
    script(tmp_path, "env > told")
    run([str(tmp_path / "tell.sh")], trial("field-07"))
    told = (tmp_path / "told").read_text()
    assert "DBSYNC_ALERT_TEXT=dbsync field-07: warning: this is a test" in told
    assert "s3cret" not in told
    for command, why in (
        (["/nowhere/at/all"], "cannot be started"),
        (["/bin/false"], "ended with 1"),
    ):
        with pytest.raises(HookFailed, match=why):
            run(command, trial("field-07"))


NAGIOS = ((0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN"))


def test_nagios_gets_one_line_and_a_code(databases: Databases, tmp_path: Path) -> None:
    here = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    codes = [here.run("status", "--nagios")]
    here.install()
    here.must("run", "--once")
    codes.append(here.run("status", "--nagios"))
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    codes.append(here.run("status", "--nagios"))
    here.must("capture", "off")
    codes.append(here.run("status", "--nagios"))
    (here.folder / "dbsync.toml").write_text("[nod]\n")
    codes.append(here.run("status", "--nagios"))
    lines = [done.out for done in codes]
    assert [done.code for done in codes] == [3, 0, 1, 2, 3]
    assert all(line.count("\n") == 1 for line in lines)
    assert lines[0].startswith("DBSYNC UNKNOWN: source: dbsync is not installed")
    assert lines[1].startswith(
        "DBSYNC OK: field-07 -> community stopped, nothing pending | lag=0.0s;;;0 pending=0;;;0 "
    )
    assert lines[2].startswith("DBSYNC WARNING: field-07 -> community is stopped, and 1 change waits | lag=")
    assert lines[3].startswith("DBSYNC CRITICAL: capture is off on field-07 since ")
    assert lines[4].startswith("DBSYNC UNKNOWN: ")


def test_nagios_sees_a_service_that_was_never_started_and_triggers_that_somebody_disabled(
    databases: Databases, tmp_path: Path
) -> None:
    here = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    done = here.run("status", "--nagios")
    assert (done.code, "was never started" in done.out) == (1, True)
    here.must("run", "--once")
    assert here.run("status", "--nagios").code == 0
    here.source.sql("ALTER TABLE subject DISABLE TRIGGER USER")
    done = here.run("status", "--nagios")
    assert (done.code, "triggers are missing or disabled on 1 table" in done.out) == (2, True)


def test_nagios_asks_a_server_that_passes_nothing_on(databases: Databases, tmp_path: Path) -> None:
    server = databases.create(18, name="server")
    (tmp_path / "dbsync.toml").write_text(f'[node]\nname = "community"\nsource = "{server.dsn}"\n')
    here = Place(folder=tmp_path, source=server, upstream=server)
    here.must("install-upstream", "--here")
    done = here.run("status", "--nagios")
    assert (done.code, done.out) == (0, "DBSYNC OK: community: nothing waits in quarantine | waiting_here=0;0;;0\n")


def test_nagios_does_not_call_well_what_captures_nothing(databases: Databases, tmp_path: Path) -> None:
    """A server in the middle into which others bring their changes, and whose own were forgotten."""
    here = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    here.must("install-upstream", "--here")
    done = here.run("status", "--nagios")
    assert (done.code, "no node is registered here" in done.out) == (3, True), done.out
    here.install()
    assert here.run("status", "--nagios").code == 0
    here.configure(TABLES + EXTRA)
    done = here.run("status", "--nagios")
    assert (done.code, "triggers are missing or disabled on 1 table" in done.out) == (2, True), done.out


def test_nagios_gets_one_line_of_a_database_that_is_away(databases: Databases, tmp_path: Path) -> None:
    with own_cluster(18) as cluster:
        cluster.create_database("clinic")
        here = place(tmp_path, Database(cluster=cluster, name="clinic"), databases.create(18, name="upstream"))
        here.install()
        cluster.stop()
        done = here.run("status", "--nagios")
    assert (done.code, done.out.count("\n"), done.out.count("|")) == (3, 1, 0), done.out
