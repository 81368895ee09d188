"""A laptop whose upstream is a server on the web: enrolled once, offline for weeks, and told in plain words what is in the way."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from dbsync.identity.keys import Keys
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import Done, dbsync
from tests.support.certificates import DAY, Authority, Certificate
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.served import free_port, serving
from tests.support.service import ServiceProcess, until
from tests.support.tunnel import proxy

pytestmark = ONE_MIXTURE


class Laptop:
    """A folder with a dbsync.toml whose upstream is on the web, and the server's folder beside it."""

    def __init__(self, folder: Path, both: Pair) -> None:
        self.both = both
        self.authority = Authority(folder / "tls")
        self.port = free_port()
        self.folder, self.server = folder / "laptop", folder / "server"
        self.folder.mkdir()
        Keys.generate().save(self.folder / "keys")
        self._keys = Keys.generate()
        self.configure(f"https://127.0.0.1:{self.port}")

    def configure(self, url: str) -> None:
        """Write its configuration."""
        (self.folder / "dbsync.toml").write_text(
            f'[node]\nname = "field-01"\nsource = "{self.both.source.dsn}"\n'
            f'[upstream]\nurl = "{url}"\nname = "community"\nca = "{self.authority.file}"\n'
            f"[service]\nretry_max = 0.5\nsilence = 10.0\n{TABLES}"
        )

    @contextmanager
    def serving(self, tls: Certificate | None = None) -> Iterator[str]:
        """Serve its upstream."""
        chosen = tls or self.authority.certificate()
        with serving(self.server, self.both.upstream, keys=self._keys, port=self.port, tls=chosen) as (_, url):
            yield url

    def type(self, *words: str) -> Done:
        """Type a command on the laptop."""
        return dbsync(self.folder, *words)

    def operator(self, *words: str) -> Done:
        """Type a command on the server."""
        done = dbsync(self.server, *words)
        assert done.code == 0, done.err
        return done

    def enrol(self, url: str) -> Done:
        """Invite it, and enrol."""
        code = self.operator("nodes", "invite", "field-01").out.strip()
        return self.type("enrol", url, code)

    def insert(self, *codes: str) -> None:
        """Make sites."""
        with self.both.source.connect() as session:
            for code in codes:
                session.execute("INSERT INTO site (code) VALUES (%s)", (code,))

    def arrived(self) -> int:
        """Count the sites upstream."""
        return int(self.both.upstream.value("SELECT count(*) FROM site"))

    def reason(self) -> str:
        """Read what status says is in the way."""
        return str(json.loads(self.type("status", "--json").out)["link"]["reason"])


@pytest.fixture
def laptop(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Laptop]:
    """One whose triggers are installed, and which has not met its upstream."""
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES):
        yield Laptop(tmp_path, both)


def test_a_laptop_is_enrolled_works_offline_and_ships_when_the_server_is_there(laptop: Laptop) -> None:
    laptop.insert("one")
    with laptop.serving() as url:
        before = laptop.type("run", "--once")
        assert before.code == 1
        assert "dbsync enrol" in before.err
        done = laptop.enrol(url)
        assert (done.code, done.out.split(" (")[0]) == (0, "field-01 is enrolled with community"), done.err
        shipped = laptop.type("run", "--once")
        assert (shipped.code, shipped.out) == (0, "1 changes shipped to community\n"), shipped.err
    laptop.insert("two", "three")
    away = laptop.type("run", "--once")
    assert away.code == 69
    assert "refuses the connection" in away.err
    assert "refuses the connection" in laptop.reason()
    with ServiceProcess(laptop.folder) as service:
        service.wait_for("link_unreachable")
        with laptop.serving():
            until(lambda: laptop.arrived() == 3, "nothing arrived")
            laptop.insert("four")
            until(lambda: laptop.arrived() == 4, "nothing more arrived")
            assert service.terminate() == 0
    assert laptop.both.source.value("SELECT count(*) FROM dbsync.sent WHERE acknowledged_at IS NULL") == 0


def test_a_code_is_good_once_and_for_the_server_that_gave_it(laptop: Laptop) -> None:
    with laptop.serving() as url:
        code = laptop.operator("nodes", "invite", "field-01").out.strip()
        for mistyped in (code[:-4] + code[:4], code[:4] + code[-5:] + code[9:]):
            wrong = laptop.type("enrol", url, mistyped)
            assert wrong.code == 1, wrong.err
            assert "nodes invite" in wrong.err
        for _ in range(2):  # the first answer may have been lost
            assert laptop.type("enrol", url, code).code == 0
        (laptop.folder / "keys").rename(laptop.folder / "old-keys")
        assert laptop.type("nodes", "keys", "--new").code == 0
        again = laptop.type("enrol", url, code)
        assert again.code == 1
        assert "nodes invite" in again.err


def test_a_revoked_laptop_stops_says_why_and_goes_on_when_it_is_invited_again(laptop: Laptop) -> None:
    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
        laptop.operator("nodes", "revoke", "field-01", "--reason", "left in a taxi")
        refused = laptop.type("run", "--once")
        assert refused.code == 1
        assert "left in a taxi" in refused.err
        assert laptop.arrived() == 0
        (laptop.folder / "keys").rename(laptop.folder / "old-keys")
        assert laptop.type("nodes", "keys", "--new").code == 0
        assert laptop.enrol(url).code == 0
        assert laptop.type("run", "--once").code == 0
    assert laptop.arrived() == 1


@pytest.mark.parametrize(
    ("since", "until_", "words"),
    [(-2 * DAY, -DAY, "has expired"), (DAY, 2 * DAY, "is not valid yet")],
    ids=["expired", "not yet"],
)
def test_a_certificate_out_of_its_time_asks_whether_the_clock_is_right(
    laptop: Laptop, since: timedelta, until_: timedelta, words: str
) -> None:
    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
    with laptop.serving(laptop.authority.certificate(since, until_)):
        refused = laptop.type("run", "--once")
    assert refused.code == 69
    assert words in refused.err
    assert "by this computer's clock" in refused.err


def test_a_laptop_behind_a_proxy_ships_through_it_or_says_what_the_proxy_says(laptop: Laptop) -> None:
    def ship(environ: dict[str, str]) -> Done:
        return dbsync(laptop.folder, "run", "--once", environ=environ)

    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
        with proxy() as through:
            shipped = ship(through.environ)
            assert (shipped.code, shipped.out) == (0, "1 changes shipped to community\n"), shipped.err
            assert set(through.asked) == {f"127.0.0.1:{laptop.port}"}
            went = len(through.asked)
            assert ship(through.environ | {"NO_PROXY": "127.0.0.1"}).code == 0
            assert len(through.asked) == went
        laptop.insert("two")
        with proxy(refuses=True) as closed:
            refused = ship(closed.environ)
        gone = ship(closed.environ)
    assert (refused.code, gone.code) == (69, 69)
    assert f"the proxy 127.0.0.1:{closed.port} does not let this through" in refused.err
    assert "Not in working hours" in refused.err
    assert f"the proxy 127.0.0.1:{closed.port} refuses the connection" in gone.err
    assert "password" not in refused.err + gone.err + laptop.reason()
    with laptop.serving():
        assert ship({}).code == 0
    assert laptop.arrived() == 2


def test_a_name_that_nobody_knows_is_told_as_missing_network_or_names(laptop: Laptop) -> None:
    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
    laptop.configure("https://community.invalid:8443")
    away = laptop.type("run", "--once")
    assert away.code == 69
    assert "the name of the server is not found" in away.err
    assert "there is no network, or it knows no names (DNS)" in laptop.reason()
    laptop.configure(f"https://127.0.0.1:{laptop.port}")
    with laptop.serving():
        assert laptop.type("run", "--once").code == 0
    assert laptop.arrived() == 1


def test_a_login_page_in_the_servers_place_is_told_as_one(laptop: Laptop) -> None:
    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
    with login_page() as port:
        laptop.configure(f"http://127.0.0.1:{port}")
        refused = laptop.type("run", "--once")
    assert refused.code == 69
    assert "log in to it" in refused.err
    assert laptop.both.source.value("SELECT count(*) FROM dbsync.change") == 1


@contextmanager
def login_page() -> Iterator[int]:
    """Answer everything as a public network does before somebody has logged in."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html><form>Welcome to the airport. Room number?</form></html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
