"""What the server takes, and what it refuses: every message signed, every node as itself, every batch once."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx2
import orjson
import pytest

from dbsync.batch.codec import encode
from dbsync.config.load import parse
from dbsync.errors import ConfigError
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Answer, Request, sign_request, verify_answer
from dbsync.web.serve import serve
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import MIXTURE, Databases, EmptyPair
from tests.support.pipeline import Pipeline, prepared
from tests.support.served import admit, serving
from tests.support.servers import Servers
from tests.support.service import ServiceProcess, until

SERVER, NODE, STRANGER = Keys.generate(), Keys.generate(), Keys.generate()
BATCH = "/v1/batches/" + "ab" * 32


@dataclass(kw_only=True)
class Ground:
    """A node's pipeline, and a server before its upstream."""

    pipeline: Pipeline
    process: ServiceProcess
    url: str
    folder: Path

    def signed(self, method: str, path: str, body: bytes = b"", *, by: Keys = NODE, **query: str | int) -> Request:
        """Sign a request."""
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = Request(method=method, url=url)
        sign_request(request, body, by, to=SERVER.public.key_id, at=datetime.now(UTC))
        return request

    def send(self, request: Request, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        """Send it, and believe the answer only if it is signed."""
        status, said, _ = self.heard(request, body)
        return status, said

    def heard(self, request: Request, body: bytes = b"") -> tuple[int, dict[str, Any], dict[str, str]]:
        """Send it; give the answer and its headers, if it is the server's own."""
        came = httpx2.request(request.method, request.url, content=body, headers=dict(request.headers), timeout=60)
        answer = Answer(status_code=came.status_code, request=request)
        answer.headers.update(dict(came.headers))
        verify_answer(answer, came.content, SERVER.public)
        return came.status_code, orjson.loads(came.content), dict(came.headers)

    def ask(self, method: str, path: str, body: bytes = b"", *, by: Keys = NODE, **query: str | int) -> tuple[int, Any]:
        """Ask as the node."""
        return self.send(self.signed(method, path, body, by=by, **query), body)

    def bring(self, data: bytes) -> tuple[int, Any]:
        """Bring a batch in one part."""
        return self.ask("PATCH", BATCH, data, offset=0, complete="true")

    def bring_part(self, data: bytes, start: int, end: int) -> tuple[int, Any]:
        """Bring the bytes of a batch from one place to another."""
        complete = "true" if end == len(data) else "false"
        return self.ask("PATCH", BATCH, data[start:end], offset=start, complete=complete)

    def batch(self, **changes: Any) -> bytes:
        """Write the node's next batch as bytes, its header changed."""
        cut = self.pipeline.reader.next_cut(100_000)
        assert cut is not None
        batch = self.pipeline.reader.batch(cut)
        return b"".join(encode(replace(batch, header=replace(batch.header, **changes))))

    def insert(self, count: int = 1) -> None:
        """Make sites in the source."""
        self.pipeline.source.sql(f"INSERT INTO site (code) SELECT gen_random_uuid() FROM generate_series(1, {count})")

    def missing(self) -> int:
        """Count the sites that are not upstream."""
        count = "SELECT count(*) FROM site"
        return int(self.pipeline.source.value(count)) - int(self.pipeline.upstream.value(count))

    def last_receipt(self) -> Any:
        """Ask for the newest receipt."""
        incarnation = str(self.pipeline.node.incarnation)
        return self.ask("GET", "/v1/receipts/last", incarnation=incarnation, link="community")


@pytest.fixture(scope="module")
def served(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Give a node, and a server that knows it; all tests of the module use them."""
    databases, folder = Databases(servers), tmp_path_factory.mktemp("server")
    both = prepared(databases, EmptyPair(databases, MIXTURE), SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        admit(both.upstream, "field-01", NODE)
        with serving(folder, both.upstream, keys=SERVER) as (process, url):
            yield Ground(pipeline=pipeline, process=process, url=url, folder=folder)
    databases.drop_all()


@pytest.fixture
def ground(served: Ground) -> Ground:
    """Give them with one change that has not left the node, and nothing kept of any batch."""
    served.pipeline.ship()
    served.pipeline.upstream.sql("DELETE FROM dbsync.upload")
    served.insert()
    return served


def test_a_batch_is_applied_once_and_gives_the_same_receipt_again(ground: Ground) -> None:
    data, before = ground.batch(), ground.last_receipt()
    status, first = ground.bring(data)
    assert (status, ground.missing()) == (200, 0)
    assert first != before[1]
    assert ground.bring(data) == (200, first)
    assert ground.last_receipt() == (200, first)


def test_a_batch_in_parts_is_finished_by_another_server_after_the_first_was_killed(
    ground: Ground, tmp_path: Path
) -> None:
    ground.insert(500)
    data = ground.batch()
    half = len(data) // 2
    with serving(tmp_path, ground.pipeline.upstream, keys=SERVER) as (process, url):
        other = replace(ground, url=url)
        assert other.bring_part(data, 0, half)[0] == 200
        assert other.bring_part(data, 0, half)[1]["error"] == "offset"
        process.kill()
    status, kept = ground.ask("GET", BATCH)
    assert (status, kept["offset"]) == (200, half)
    assert ground.bring_part(data, half, len(data))[0] == 200
    assert ground.missing() == 0
    assert ground.ask("GET", BATCH)[1]["offset"] == 0


def test_the_end_of_a_batch_may_come_many_times_at_once_to_two_servers(ground: Ground, tmp_path: Path) -> None:
    with serving(tmp_path, ground.pipeline.upstream, keys=SERVER) as (_, url), ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            ground.insert(500)
            data = ground.batch()
            half = len(data) // 2
            assert ground.bring_part(data, 0, half)[0] == 200
            ends = [
                pool.submit(server.bring_part, data, half, len(data))
                for server in (ground, replace(ground, url=url)) * 3
            ]
            said = [end.result() for end in ends]
            receipts = [answer["receipt"] for status, answer in said if status == 200]
            assert receipts
            assert all(receipt == receipts[0] for receipt in receipts)
            assert {answer["error"] for status, answer in said if status != 200} <= {"offset"}
            assert ground.missing() == 0
            ground.pipeline.ship()


def test_what_was_kept_of_a_batch_that_turns_out_to_be_none_is_forgotten(ground: Ground) -> None:
    ground.insert(500)
    for place in (60, -60):
        data = bytearray(ground.batch())
        data[place] ^= 4
        third = len(data) // 3
        for start in (0, third):
            assert ground.bring_part(bytes(data), start, start + third)[0] == 200
        assert ground.bring_part(bytes(data), 2 * third, len(data))[1]["error"] == "format"
        assert ground.ask("GET", BATCH)[1]["offset"] == 0
    assert ground.bring(ground.batch())[0] == 200


def test_what_a_node_began_in_vain_does_not_pile_up(ground: Ground) -> None:
    for number in range(7):
        path = f"/v1/batches/{number:064}"
        assert ground.ask("PATCH", path, b"x", offset=0, complete="false")[0] == 200
    kept = [ground.ask("GET", f"/v1/batches/{number:064}")[1]["offset"] for number in range(7)]
    assert kept == [0, 0, 0, 1, 1, 1, 1]


def test_a_node_writes_as_itself_of_its_own_database_only(ground: Ground) -> None:
    assert ground.bring(ground.batch())[0] == 200
    ground.pipeline.ship()
    ground.insert(500)
    for lie in ({"node": "field-02"}, {"lineage": uuid4()}):
        data = ground.batch(**lie)
        status, said = ground.bring(data)
        assert (status, said["error"]) == (403, "not_yours"), lie
        half = len(data) // 2
        assert ground.bring_part(data, 0, half)[0] == 200
        status, said = ground.bring_part(data, half, len(data))
        assert (status, said["error"]) == (403, "not_yours"), lie
        ground.ask("DELETE", BATCH)
    assert ground.missing() == 500
    other = orjson.dumps({"lineage": str(uuid4())})
    assert ground.ask("POST", "/v1/tend", other)[1]["error"] == "not_yours"


def test_changes_of_others_are_taken_only_from_a_tier(ground: Ground) -> None:
    data = ground.batch()
    ground.pipeline.source.sql("UPDATE dbsync.change SET origin = 'field-09'")
    forged = ground.batch()
    assert forged != data
    status, said = ground.bring(forged)
    assert (status, said["error"], ground.missing()) == (403, "not_yours", 1)


def test_another_version_of_the_format_or_of_the_protocol_is_refused_and_nothing_of_it_kept(ground: Ground) -> None:
    ground.insert()
    data = ground.batch()
    magic = data.index(b"\n") + 1
    for version in (b"0", b"2", b"10"):
        status, said = ground.bring(data[: magic - 2] + version + data[magic - 1 :])
        assert (status, said["error"]) == (422, "format")
    for path in ("/v0/batches/", "/v2/batches/", "/batches/"):
        assert ground.ask("PATCH", f"{path}{'0' * 64}", data, offset=0, complete="true")[0] == 404
    assert ground.missing() == 2
    assert ground.bring(data)[0] == 200


def test_a_batch_that_is_not_what_its_header_counts_is_refused_and_nothing_of_it_kept(ground: Ground) -> None:
    ground.insert()
    data = ground.batch()
    lead = data.index(b"{")
    lies = {
        b'"changes":2': (b'"changes":1', b'"changes":9'),
        b'"op":"I"': (b'"op":"D"', b'"op":"B"'),
        b'"renames":0': (b'"renames":1',),
    }
    for told, others in lies.items():
        for lie in others:
            status, said = ground.bring(resealed(data, lead, told, lie))
            assert (status, said["error"]) == (409, "halted"), said
            assert "does not hold what its header says" in said["what"]
    assert ground.missing() == 2
    assert ground.bring(data)[0] == 200


def resealed(data: bytes, lead: int, told: bytes, lie: bytes) -> bytes:
    """Let a header say something else of the same body, its length and hash made anew."""
    length = int.from_bytes(data[lead - 4 : lead], "big")
    header = data[lead : lead + length].replace(told, lie)
    assert header != data[lead : lead + length]
    head = data[: lead - 4] + len(header).to_bytes(4, "big") + header
    return head + hashlib.sha256(head).digest() + data[lead + length + 32 :]


def test_a_replayed_request_is_refused(ground: Ground) -> None:
    request = ground.signed("GET", "/v1/time")
    assert ground.send(request)[0] == 200
    assert ground.send(request)[1]["error"] == "replayed"
    refused = ground.process.said("request_refused")[-1]
    assert (refused["node"], refused["key"], refused["reason"]) == ("field-01", [NODE.public.key_id], "replayed")


def test_a_stranger_is_told_by_the_server_itself_that_nobody_knows_his_key(ground: Ground) -> None:
    status, said = ground.ask("GET", "/v1/time", by=STRANGER)
    assert (status, said["error"]) == (401, "unknown")


def test_a_revoked_node_is_refused_at_once(ground: Ground) -> None:
    stolen = Keys.generate()
    admit(ground.pipeline.upstream, "field-02", stolen)
    assert ground.ask("GET", "/v1/time", by=stolen)[0] == 200
    with ground.pipeline.upstream.connect() as connection:
        registry.revoke(connection, "field-02", "stolen")
    status, said = ground.ask("GET", "/v1/time", by=stolen)
    assert (status, said["error"], said["why"]) == (401, "revoked", "stolen")


def test_a_wrong_clock_is_told_the_right_time(ground: Ground) -> None:
    request = Request(method="GET", url=f"{ground.url}/v1/time")
    sign_request(request, b"", NODE, to=SERVER.public.key_id, at=datetime.now(UTC) - timedelta(days=3650))
    status, said = ground.send(request)
    assert (status, said["error"]) == (401, "clock")
    assert abs(datetime.fromisoformat(said["now"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_flipped_bit_anywhere_leaves_nothing(ground: Ground) -> None:
    for place in (3, 40, 400, -60, -5):
        data = bytearray(ground.batch())
        data[place] ^= 4
        status, said = ground.bring(bytes(data))
        assert (status, said["error"], ground.missing()) == (422, "format", 1)
    assert ground.bring(ground.batch())[0] == 200


def test_what_a_node_of_this_version_would_never_say_is_refused_in_words(ground: Ground) -> None:
    asked: tuple[tuple[str, str, bytes, dict[str, Any]], ...] = (
        ("PATCH", BATCH, b"", {"offset": "-1", "complete": "true"}),
        ("PATCH", BATCH, b"", {"offset": "0", "complete": "perhaps"}),
        ("PATCH", BATCH, b"", {"offset": "0", "complete": "false"}),
        ("PATCH", "/v1/batches/etc", b"", {"offset": "0", "complete": "true"}),
        ("POST", "/v1/tend", b"[]", {}),
        ("POST", "/v1/tend", orjson.dumps({"lineage": "x" * 300}), {}),
        ("POST", "/v1/clock", orjson.dumps({"off": "1"}), {}),
        ("GET", "/v1/receipts/last", b"", {"incarnation": "none", "link": "community"}),
    )
    for method, path, body, query in asked:
        status, said = ground.ask(method, path, body, **query)
        assert (status, said["error"]) == (400, "malformed"), (path, said)
    assert ground.ask("GET", "/v2/time")[0] == 404
    assert ground.ask("PUT", "/v1/time")[0] == 405


def test_too_much_is_refused_before_it_is_read(ground: Ground) -> None:
    body = bytes((1 << 20) + 1)
    status, said = ground.ask("PATCH", BATCH, body, offset=0, complete="false")
    assert (status, said["error"]) == (413, "too_large")
    place = 4 * 10**9
    status, said = ground.ask("PATCH", BATCH, body[:9], offset=place, complete="false")
    assert (status, said["error"]) == (413, "too_large")


@pytest.mark.parametrize("limits", ['max_payload = "100kB"', "max_changes = 5000"])
def test_a_batch_that_unpacks_to_more_than_is_taken_is_refused(ground: Ground, tmp_path: Path, limits: str) -> None:
    ground.insert(5000)
    with serving(tmp_path, ground.pipeline.upstream, keys=SERVER, more=limits) as (_, url):
        status, said = replace(ground, url=url).bring(ground.batch())
        assert (status, said["error"], ground.missing()) == (422, "format", 5001)


def test_who_is_at_work_finishes_it_when_the_server_is_stopped_and_others_are_sent_away_till_then(
    ground: Ground, tmp_path: Path
) -> None:
    data, tending = ground.batch(), orjson.dumps({"lineage": str(ground.pipeline.node.lineage)})
    upstream = ground.pipeline.upstream
    with (
        serving(tmp_path, upstream, keys=SERVER, more="appliers = 1") as (process, url),
        ThreadPoolExecutor() as pool,
        upstream.connect() as session,
    ):
        server = replace(ground, url=url)
        session.execute("BEGIN; LOCK TABLE site")
        at_work = pool.submit(server.bring, data)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'site'::regclass"
        until(lambda: bool(upstream.value(waiting)), "the batch does not wait")
        status, said, headers = server.heard(server.signed("POST", "/v1/tend", tending), tending)
        assert (status, said["error"], headers["retry-after"]) == (503, "busy", "5")
        stopped = pool.submit(process.terminate)
        until(lambda: not _listens(url), "it takes more")
        session.execute("ROLLBACK")
        assert at_work.result()[0] == 200
        assert stopped.result() == 0
    assert ground.missing() == 0
    assert process.said("stopped")


def test_what_nodes_bring_is_served_in_the_clear_to_nobody_else(ground: Ground, tmp_path: Path) -> None:
    SERVER.save(tmp_path / "keys")
    (tmp_path / "no.pem").write_text("none")
    port = urlsplit(ground.url).port
    for lines, words in (
        ('listen = "0.0.0.0:0"', "without TLS"),
        ('listen = "server.example.org:8443"', "without TLS"),
        ('certificate = "no.pem"', "only one of them"),
        (f'listen = "127.0.0.1:{port}"', "cannot be listened at"),
        (f'certificate = "{tmp_path}/no.pem"\nkey = "{tmp_path}/no.pem"', "cannot be used"),
    ):
        text = f'[node]\nname = "community"\nkeys = "{tmp_path}/keys"\nsource = "{ground.pipeline.upstream.dsn}"\n[serve]\n'
        with pytest.raises(ConfigError) as refused:
            serve(parse(text + lines, path="dbsync.toml", environ={}))
        assert words in str(refused.value)


def test_waiting_is_told_and_health_needs_no_key(ground: Ground) -> None:
    lineage = orjson.dumps({"lineage": str(ground.pipeline.node.lineage)})
    assert ground.ask("POST", "/v1/tend", lineage) == (200, {"waiting": {}})
    assert httpx2.get(f"{ground.url}/v1/health").json() == {"status": "ok", "version": 1}


def test_hundreds_who_keep_a_connection_keep_nobody_out(ground: Ground) -> None:
    place = urlsplit(ground.url)
    with ExitStack() as idle:
        for _ in range(600):
            idle.enter_context(socket.create_connection((place.hostname, place.port)))
        assert ground.ask("GET", "/v1/time")[0] == 200


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), int(parts.port or 0))) == 0
