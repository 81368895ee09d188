"""A laptop whose upstream is a server on the web: enrolled once, offline for weeks, and told in plain words what is in the way."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import LiteralString

import orjson
import pytest

from dbsync.config.load import load
from dbsync.identity.code import read_code
from dbsync.identity.keys import Keys
from dbsync.service.post import Post
from dbsync.service.run import Service
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import Done, dbsync
from tests.support import clock
from tests.support.certificates import DAY, Authority, Certificate
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import piped
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

    @contextmanager
    def serving_plainly(self) -> Iterator[str]:
        """Serve its upstream as behind a proxy that ends TLS."""
        with serving(self.server, self.both.upstream, keys=self._keys, port=self.port) as (_, url):
            yield url

    def type(self, *words: str, environ: Mapping[str, str] | None = None) -> Done:
        """Type a command on the laptop."""
        return dbsync(self.folder, *words, environ=environ)

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

    def log(self) -> str:
        """Read what the server wrote."""
        return "".join(path.read_text() for path in self.server.glob("*.log"))

    def reason(self) -> str:
        """Read what status says is in the way."""
        return str(json.loads(self.type("status", "--json").out)["link"]["reason"])


@pytest.fixture
def laptop(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Laptop]:
    """One whose triggers are installed, and which has not met its upstream."""
    with piped(databases, pair, SCHEMA, TABLES) as line:
        yield Laptop(tmp_path, Pair(source=line.source, upstream=line.upstream))


def test_a_laptop_is_enrolled_works_offline_and_ships_when_the_server_is_there(laptop: Laptop) -> None:
    laptop.insert("one")
    with laptop.serving() as url:
        before = laptop.type("run", "--once")
        assert before.code == 1
        assert "dbsync enrol" in before.err
        done = laptop.enrol(url)
        assert (done.code, done.out.split(" (")[0]) == (0, "field-01 is enrolled with community"), done.err
        shipped = laptop.type("run", "--once")
        assert (shipped.code, shipped.out) == (0, "1 change shipped to community\n"), shipped.err
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


def test_somebody_in_the_servers_place_learns_nothing_that_would_let_him_in(laptop: Laptop) -> None:
    with laptop.serving():
        code = laptop.operator("nodes", "invite", "field-01").out.strip()
    secret = read_code(code).secret
    impostor = Keys.generate().public
    told = orjson.dumps({"signing": impostor.signing, "sealing": impostor.sealing})
    with answering(told) as (port, heard):
        refused = laptop.type("enrol", f"http://127.0.0.1:{port}", code)
    assert refused.code == 1
    assert "somebody else answers at this address" in refused.err
    assert [request.split()[:2] for request in heard] == [[b"GET", b"/v1/keys"]]
    own = Keys.load(laptop.server / "keys").public
    told = orjson.dumps({"signing": own.signing, "sealing": own.sealing})
    with answering(told) as (port, heard):  # it may hand out the server's keys, for they are no secret
        assert laptop.type("enrol", f"http://127.0.0.1:{port}", code).code != 0
    assert any(request.startswith(b"POST /v1/enrol") for request in heard)
    for way in (bytes, base64.b64encode, base64.b32encode, lambda said: said.hex().encode()):
        assert not any(way(secret) in request for request in heard)
    with laptop.serving() as url:
        assert laptop.type("enrol", url, code).code == 0


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


@pytest.mark.skipif(not clock.available(), reason="libfaketime is not installed")
@pytest.mark.parametrize("years", [11, -11])
def test_where_a_proxy_ends_tls_the_laptop_goes_by_the_servers_clock_when_its_own_is_years_wrong(
    laptop: Laptop, years: int
) -> None:
    laptop.insert("one")
    with laptop.serving_plainly() as url:
        laptop.configure(url)
        assert laptop.enrol(url).code == 0
        shipped = laptop.type("run", "--once", environ=clock.wrong_by(years))
        assert (shipped.code, shipped.out) == (0, "1 change shipped to community\n"), shipped.err
    assert laptop.arrived() == 1


def test_a_laptop_behind_a_proxy_ships_through_it_or_says_what_the_proxy_says(laptop: Laptop) -> None:
    def ship(environ: dict[str, str]) -> Done:
        return dbsync(laptop.folder, "run", "--once", environ=environ)

    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
        with proxy() as through:
            shipped = ship(through.environ)
            assert (shipped.code, shipped.out) == (0, "1 change shipped to community\n"), shipped.err
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


def test_a_server_that_wants_to_be_left_alone_is_until_then(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(post: Post, seconds: float) -> None:
        slept.append(seconds)
        post.stop.set()

    monkeypatch.setattr(Post, "sleep", sleep)
    laptop.insert("one")
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
    with answering(b"too many at once", status=503, after="1234") as (port, heard):
        laptop.configure(f"http://127.0.0.1:{port}")
        Service(config=load(laptop.folder / "dbsync.toml", {})).run()
    assert slept == [1234.0]
    assert len(heard) == 1
    assert "the server is busy or away" in laptop.reason()


@contextmanager
def login_page() -> Iterator[int]:
    """Answer everything as a public network does before somebody has logged in."""
    with answering(b"<html><form>Welcome to the airport. Room number?</form></html>") as (port, _):
        yield port


@contextmanager
def answering(page: bytes, at: int = 0, *, status: int = 200, after: str = "0") -> Iterator[tuple[int, list[bytes]]]:
    """Answer everything with one page, at a port; give the port, and the requests as they come."""
    heard: list[bytes] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.append(f"{self.requestline}\r\n{self.headers}".encode() + body)
            self.send_response(status)
            self.send_header("Retry-After", after)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", at), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], heard
        server.shutdown()


def test_verify_asks_the_server_names_what_the_laptop_has_and_repairs_it(laptop: Laptop) -> None:
    with laptop.serving() as url:
        laptop.enrol(url)
        laptop.insert("one", "two", "three")
        assert laptop.type("run", "--once").code == 0
        agreed = laptop.type("verify")
        assert (agreed.code, agreed.out.splitlines()[-1]) == (0, "17 tables, 3 rows: source and upstream agree."), (
            agreed.err
        )
        laptop.both.upstream.script(
            "DELETE FROM site WHERE code = 'one'; UPDATE site SET name = 'x' WHERE code = 'two';"
            " INSERT INTO site (code) VALUES ('typed in there')"
        )
        differs = laptop.type("verify")
        assert differs.code == 1
        assert "site (one)   missing\n" in differs.out
        assert "site (two)   different: name\n" in differs.out
        assert "site: 1 extra row upstream; over this route it does not name them\n" in differs.out
        assert "typed in there" not in differs.out
        refused = laptop.type("verify", "--show-values")
        assert (refused.code, "direct connection" in refused.err) == (2, True)
        repaired = laptop.type("verify", "--repair", "--json")
        assert json.loads(repaired.out)["repaired"] == 2, repaired.err
        assert laptop.type("run", "--once").code == 0
        assert laptop.type("verify").code == 1
        assert laptop.type("verify", "--ignore-extra").code == 0


def test_two_who_compare_at_once_take_turns(laptop: Laptop) -> None:
    laptop.insert("one")
    with laptop.serving() as url, ThreadPoolExecutor(2) as both:
        laptop.enrol(url)
        assert laptop.type("run", "--once").code == 0
        with laptop.both.upstream.connect() as session, session.transaction():
            session.execute("LOCK TABLE site IN ACCESS EXCLUSIVE MODE")
            done = [both.submit(laptop.type, "verify", "site") for _ in range(2)]
            until(lambda: "another comparison is under way" in laptop.log(), "nobody was sent away")
        assert [one.result().code for one in done] == [0, 0]


def test_a_million_rows_are_compared_and_two_hundred_mended_for_less_than_a_megabyte(laptop: Laptop) -> None:
    table: LiteralString = (
        "CREATE TABLE requisition (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, kind text, taken date)"
        " WITH (autovacuum_enabled = off);"
    )
    laptop.both.source.script(table)
    laptop.both.upstream.script(table)
    for database, first in ((laptop.both.source, 0), (laptop.both.upstream, 5_000_000)):
        database.sql(
            "INSERT INTO requisition SELECT %s + n, 'REQ-' || n, 'serum', date '2026-01-01' + n %% 300"
            " FROM generate_series(1, 1000000) n",
            [first],
        )
    laptop.both.upstream.script("DELETE FROM requisition WHERE identifier LIKE 'REQ-77__77'")
    laptop.both.source.script("UPDATE requisition SET kind = 'plasma' WHERE identifier LIKE 'REQ-33__33'")
    laptop.both.upstream.script("ANALYZE requisition")
    with (laptop.folder / "dbsync.toml").open("a") as config:
        config.write('[[tables]]\nname = "requisition"\n')
    with laptop.serving() as url, proxy() as way:
        laptop.enrol(url)
        found = laptop.type("verify", "requisition", "--repair", "--json", environ=way.environ)
        report = json.loads(found.out)
        (compared,) = report["tables"]
        assert (compared["source_rows"], compared["missing"], compared["different"]) == (1_000_000, 100, 100)
        assert report["repaired"] == 200
        assert 0 < way.carried < 1_000_000
        assert laptop.type("run", "--once").code == 0
        assert laptop.type("verify", "requisition").code == 0
