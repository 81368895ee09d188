"""Faults that a laptop sees of an upstream over HTTPS, and a driver of his: what the server tells of itself, each made and mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.model.findings import Severity
from tests.integration.test_doctor import SLOW_CLOCK
from tests.support.certificates import DAY, Authority, Certificate
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.relayed import Relay
from tests.support.served import admit, answering, free_port
from tests.support.ward import Ward, newcomer, recognises, ward

pytestmark = ONE_MIXTURE
SERVER = Keys.generate()
LONG = 300 * DAY


@dataclass(kw_only=True)
class Line:
    """A healthy laptop whose upstream is on the web, enrolled; and its server, which is down."""

    laptop: Ward
    authority: Authority
    port: int
    folder: Path

    def certificate(self, until: timedelta = LONG) -> Certificate:
        """Make a certificate for the server."""
        return self.authority.certificate(-DAY, until)

    def serving(self, stack: ExitStack, *, until: timedelta = LONG, without: str = "") -> None:
        """Serve the upstream."""
        stack.enter_context(
            answering(
                self.laptop.upstream,
                keys=SERVER,
                port=self.port,
                tls=self.certificate(until),
                without=without,
            )
        )

    def enrol(self, laptop: Ward) -> None:
        """Let a laptop and the server know each other, as if it had typed its code."""
        folder = laptop.folder / "keys"
        if not folder.exists():
            Keys.generate().save(folder)
        with laptop.source.connect() as session:
            registry.pin(session, "community", SERVER.public, replace=True)
        laptop.as_upstream = f"https://127.0.0.1:{self.port}"
        laptop.more = f'ca = "{self.authority.file}"\n'
        laptop.configure()


@pytest.fixture
def line(pair: Pair, databases: Databases, tmp_path: Path) -> Line:
    """Give one."""
    made = Line(
        laptop=ward(databases, pair.versions, tmp_path / "laptop"),
        authority=Authority(tmp_path / "tls"),
        port=free_port(),
        folder=tmp_path / "server",
    )
    made.enrol(made.laptop)
    admit(made.laptop.upstream, "field-07", Keys.load(made.laptop.folder / "keys"))
    return made


@pytest.fixture
def served(line: Line) -> Iterator[Line]:
    """Give one whose server is up."""
    with ExitStack() as stack:
        line.serving(stack)
        yield line


def test_over_https_a_healthy_laptop_is_told_so_and_what_it_cannot_see(served: Line) -> None:
    found = served.laptop.everything()
    assert [one for one in found if one.severity is not Severity.OK] == []
    assert {one.code for one in found} >= {"upstream_answers", "enrolled", "upstream_elsewhere"}


def test_a_server_that_is_away_leaves_the_rest_checked_and_tells_the_clock_of_the_last_contact(line: Line) -> None:
    assert [one.code for one in line.laptop.check()] == ["upstream_unreachable"]
    line.laptop.source.sql("UPDATE dbsync.link SET clock_off = -7200, quarantined = '{\"public.ward_note\": 3}'")
    found = {one.code: one.what for one in line.laptop.check()}
    assert set(found) == {"upstream_unreachable", "clock_skew", "quarantine_waits"}
    assert "2 h behind the upstream's at the last contact" in found["clock_skew"]


@recognises("key_revoked")
def test_a_revoked_laptop_is_told_and_comes_back_with_new_keys(served: Line) -> None:
    laptop = served.laptop
    with laptop.upstream.connect() as session:
        registry.revoke(session, "field-07", "left in a taxi")
    found = laptop.only("key_revoked")
    assert "left in a taxi" in found.what
    (laptop.folder / "keys").rename(laptop.folder / "old-keys")
    served.enrol(laptop)
    admit(laptop.upstream, "field-07", Keys.load(laptop.folder / "keys"))
    assert laptop.check() == []


@recognises("key_unknown")
def test_a_laptop_whose_keys_are_not_known_is_told_how_to_enrol(served: Line) -> None:
    (served.laptop.folder / "keys").rename(served.laptop.folder / "old-keys")
    served.enrol(served.laptop)
    assert "dbsync nodes invite field-07" in served.laptop.only("key_unknown").remedy


@recognises("not_enrolled")
def test_a_laptop_that_was_never_enrolled_is_told_how(served: Line) -> None:
    served.laptop.source.sql("DELETE FROM dbsync.peer_key")
    served.laptop.source.sql("DELETE FROM dbsync.peer")
    assert "dbsync enrol" in served.laptop.only("not_enrolled").remedy


@recognises("certificate_expires")
def test_a_certificate_that_ends_soon_is_told_at_the_laptop_and_on_the_server(line: Line) -> None:
    with ExitStack() as stack:
        line.serving(stack, until=5 * DAY)
        found = line.laptop.only("certificate_expires")
        assert "5 days" in found.what or "4 days" in found.what
    with ExitStack() as stack:
        line.serving(stack)
        assert line.laptop.check() == []
    sides = Pair(source=line.laptop.upstream, upstream=line.laptop.source)
    on_server = Ward(folder=line.folder, pair=sides, node="community")
    for until, code in ((5 * DAY, ["certificate_expires"]), (-timedelta(hours=1), ["certificate_expired"]), (LONG, [])):
        tls = line.authority.certificate(-2 * DAY, until)
        on_server.limits = f'[serve]\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
        on_server.configure()
        assert [one.code for one in on_server.check(here=True)] == code


@recognises("clock_skew")
def test_a_servers_clock_is_compared_over_the_line(served: Line) -> None:
    served.laptop.upstream.script(SLOW_CLOCK)
    assert "10 min ahead of the upstream's" in served.laptop.only("clock_skew").what


@recognises("version_old")
def test_an_older_server_is_told_whether_or_not_it_can_say_so(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        line.serving(stack, without="/v1/about")
        assert "cannot say of which version" in line.laptop.only("version_old").what
    monkeypatch.setattr("dbsync.check.peer.__version__", "0.3.1")
    monkeypatch.setattr("dbsync.web.door.__version__", "0.2.7.dev5+g123")
    with ExitStack() as stack:
        line.serving(stack)
        assert "0.2.7, and 0.3.1 here" in line.laptop.only("version_old").what
        monkeypatch.setattr("dbsync.web.door.__version__", "1.0.0")
        assert line.laptop.check() == []
        assert "version_newer" in {one.code for one in line.laptop.everything()}


@recognises("incarnation_wrong")
def test_a_laptop_that_was_restored_is_told_over_the_line(served: Line, databases: Databases) -> None:
    laptop = served.laptop
    before = databases.create(laptop.source.version, name="restored", template=laptop.source.name)
    laptop.source.sql("INSERT INTO ward_subject (code) VALUES ('S-3')")
    laptop.must("run", "--once")
    laptop.pair.source = before
    laptop.configure()
    laptop.mended("incarnation_wrong", before)


@recognises("node_name_taken")
def test_another_database_behind_the_same_keys_is_told(served: Line, databases: Databases, tmp_path: Path) -> None:
    served.laptop.source.sql("INSERT INTO ward_subject (code) VALUES ('S-3')")
    served.laptop.must("run", "--once")
    twin = newcomer(served.laptop, databases, tmp_path / "twin")
    Keys.load(served.laptop.folder / "keys").save(twin.folder / "keys")
    served.enrol(twin)
    assert "from another database" in twin.only("node_name_taken").what
    assert served.laptop.check() == []


@recognises("column_missing_upstream", "table_missing_upstream")
def test_a_column_and_a_table_that_the_upstream_lacks_are_told_over_the_line(served: Line) -> None:
    served.laptop.upstream.script("ALTER TABLE ward_subject DROP COLUMN initials; DROP TABLE ward_scan")
    found = [(one.code, one.where) for one in served.laptop.check()]
    assert found == [("table_missing_upstream", "ward_scan"), ("column_missing_upstream", "ward_subject")]


@recognises("key_revoked")
def test_a_drivers_laptop_is_checked_too(line: Line, tmp_path: Path) -> None:
    driver = Relay(tmp_path)
    assert [one.code for one in driver.wrong()] == ["not_enrolled"]
    port = free_port()
    driver.upstream_is(f"http://127.0.0.1:{port}", SERVER.public)
    assert [one.code for one in driver.wrong()] == ["upstream_unreachable"]
    upstream, keys = line.laptop.upstream, Keys.load(driver.folder / "keys")
    with answering(upstream, keys=SERVER, port=port):
        assert [one.code for one in driver.wrong()] == ["key_unknown"]
        admit(upstream, "driver", keys, role=Role.RELAY)
        assert driver.wrong() == []
        with upstream.connect() as session:
            registry.revoke(session, "driver", "he left")
        assert [one.code for one in driver.wrong()] == ["key_revoked"]
