"""What the server takes, and what it refuses: every message signed, every node as itself, every batch once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx2
import orjson
import pytest

from dbsync.batch.codec import encode
from dbsync.errors import FormatError
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Answer, Request, sign_request, verify_answer
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.served import admit, serving

pytestmark = ONE_MIXTURE
SERVER, NODE, STRANGER = Keys.generate(), Keys.generate(), Keys.generate()
BATCH = "/v1/batches/" + "ab" * 32


@dataclass(kw_only=True)
class Ground:
    """A node's pipeline, and a server before its upstream."""

    pipeline: Pipeline
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
        status, said, signed = self.heard(request, body)
        assert signed, said
        return status, said

    def heard(self, request: Request, body: bytes = b"") -> tuple[int, dict[str, Any], bool]:
        """Send it; give the answer, and whether it is the server's own."""
        came = httpx2.request(request.method, request.url, content=body, headers=dict(request.headers), timeout=60)
        answer = Answer(status_code=came.status_code, request=request)
        answer.headers.update(dict(came.headers))
        try:
            verify_answer(answer, came.content, SERVER.public)
            signed = True
        except FormatError:
            signed = False
        return came.status_code, orjson.loads(came.content or b"{}"), signed

    def ask(self, method: str, path: str, body: bytes = b"", **query: str | int) -> tuple[int, dict[str, Any]]:
        """Ask as the node."""
        return self.send(self.signed(method, path, body, by=NODE, **query), body)

    def batch(self, **changes: Any) -> bytes:
        """Write the node's next batch as bytes, its header changed."""
        cut = self.pipeline.reader.unfinished() or self.pipeline.reader.next_cut(100_000)
        assert cut is not None
        batch = self.pipeline.reader.batch(cut)
        return b"".join(encode(replace(batch, header=replace(batch.header, **changes))))

    def count(self) -> int:
        """Count the sites that are upstream."""
        return int(self.pipeline.upstream.value("SELECT count(*) FROM site"))


@pytest.fixture
def ground(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Ground]:
    """A node with one change, and its server."""
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        admit(both.upstream, "field-01", NODE)
        with serving(tmp_path / "server", both.upstream, keys=SERVER) as (_, url):
            pipeline.source.sql("INSERT INTO site (code) VALUES ('one')")
            yield Ground(pipeline=pipeline, url=url, folder=tmp_path)


def test_a_batch_is_applied_once_and_gives_the_same_receipt_again(ground: Ground) -> None:
    data = ground.batch()
    assert ground.ask(
        "GET", "/v1/receipts/last", incarnation=str(ground.pipeline.node.incarnation), link="community"
    ) == (
        200,
        {"receipt": None},
    )
    status, first = ground.ask("PATCH", BATCH, data, offset=0, complete="true")
    assert status == 200
    assert ground.ask("PATCH", BATCH, data, offset=0, complete="true") == (200, first)
    assert (first["receipt"]["number"], ground.count()) == ("1", 1)
    assert ground.ask(
        "GET", "/v1/receipts/last", incarnation=str(ground.pipeline.node.incarnation), link="community"
    ) == (
        200,
        first,
    )


def test_a_batch_in_parts_is_finished_by_another_server_after_the_first_was_killed(
    pair: Pair, databases: Databases, tmp_path: Path
) -> None:
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        admit(both.upstream, "field-01", NODE)
        pipeline.source.sql("INSERT INTO site (code) SELECT 'site ' || i FROM generate_series(1, 500) i")
        with serving(tmp_path / "one", both.upstream, keys=SERVER) as (server, url):
            ground = Ground(pipeline=pipeline, url=url, folder=tmp_path)
            data = ground.batch()
            half = len(data) // 2
            assert ground.ask("PATCH", BATCH, data[:half], offset=0, complete="false")[0] == 200
            assert ground.ask("PATCH", BATCH, data[:half], offset=0, complete="false")[1]["error"] == "offset"
            server.kill()
        with serving(tmp_path / "two", both.upstream, keys=SERVER) as (_, url):
            ground = Ground(pipeline=pipeline, url=url, folder=tmp_path)
            status, kept = ground.ask("GET", BATCH)
            assert (status, kept["offset"]) == (200, half)
            assert ground.ask("PATCH", BATCH, data[half:], offset=half, complete="true")[0] == 200
            assert ground.count() == 500
            assert ground.ask("GET", BATCH)[1]["offset"] == 0


def test_a_node_writes_as_itself_of_its_own_database_only(ground: Ground) -> None:
    for lie in ({"node": "field-02"}, {"lineage": uuid4()}):
        if "lineage" in lie:
            with ground.pipeline.upstream.connect() as connection:
                registry.owns_lineage(connection, "field-01", ground.pipeline.node.lineage)
        status, said = ground.ask("PATCH", BATCH, ground.batch(**lie), offset=0, complete="true")
        assert (status, said["error"]) == (403, "not_yours"), lie
    assert ground.count() == 0


def test_changes_of_others_are_taken_only_from_a_tier(ground: Ground) -> None:
    data = ground.batch()
    ground.pipeline.source.sql("UPDATE dbsync.change SET origin = 'field-09'")
    forged = ground.batch()
    assert forged != data
    status, said = ground.ask("PATCH", BATCH, forged, offset=0, complete="true")
    assert (status, said["error"], ground.count()) == (403, "not_yours", 0)


def test_a_replayed_request_is_refused(ground: Ground) -> None:
    request = ground.signed("GET", "/v1/time")
    assert ground.send(request)[0] == 200
    assert ground.send(request)[1]["error"] == "replayed"


def test_a_stranger_is_told_by_the_server_itself_that_nobody_knows_his_key(ground: Ground) -> None:
    status, said = ground.send(ground.signed("GET", "/v1/time", by=STRANGER))
    assert (status, said["error"]) == (401, "unknown")


def test_a_revoked_node_is_refused_at_once(ground: Ground) -> None:
    assert ground.ask("GET", "/v1/time")[0] == 200
    with ground.pipeline.upstream.connect() as connection:
        registry.revoke(connection, "field-01", "stolen")
    status, said = ground.ask("GET", "/v1/time")
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
        status, said = ground.ask("PATCH", BATCH, bytes(data), offset=0, complete="true")
        assert (status, said["error"], ground.count()) == (422, "format", 0)
    assert ground.ask("PATCH", BATCH, ground.batch(), offset=0, complete="true")[0] == 200


def test_what_a_node_of_this_version_would_never_say_is_refused_in_words(ground: Ground) -> None:
    for method, path, body, query in (
        ("PATCH", BATCH, b"", {"offset": "-1", "complete": "true"}),
        ("PATCH", BATCH, b"", {"offset": "0", "complete": "perhaps"}),
        ("PATCH", "/v1/batches/etc", b"", {"offset": "0", "complete": "true"}),
        ("POST", "/v1/tend", b"[]", {}),
        ("POST", "/v1/tend", orjson.dumps({"lineage": "x" * 300}), {}),
        ("POST", "/v1/clock", orjson.dumps({"off": "1"}), {}),
        ("GET", "/v1/receipts/last", b"", {"incarnation": "none", "link": "community"}),
    ):
        status, said = ground.ask(method, path, body, **query)
        assert (status, said["error"]) == (400, "malformed"), (path, said)


def test_too_much_is_refused_before_it_is_read(ground: Ground) -> None:
    body = bytes((1 << 20) + 1)
    came = httpx2.request("PATCH", f"{ground.url}{BATCH}", content=body)
    assert (came.status_code, came.json()["error"]) == (413, "too_large")


def test_a_batch_that_unpacks_to_more_than_is_taken_is_refused(
    pair: Pair, databases: Databases, tmp_path: Path
) -> None:
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        admit(both.upstream, "field-01", NODE)
        pipeline.source.sql("INSERT INTO site (code) SELECT 'site ' || i FROM generate_series(1, 5000) i")
        limits = 'max_payload = "100kB"\nappliers = 1'
        with serving(tmp_path, both.upstream, keys=SERVER, more=limits) as (_, url):
            ground = Ground(pipeline=pipeline, url=url, folder=tmp_path)
            status, said = ground.ask("PATCH", BATCH, ground.batch(), offset=0, complete="true")
            assert (status, said["error"], ground.count()) == (422, "format", 0)


def test_waiting_is_told_and_health_needs_no_key(ground: Ground) -> None:
    lineage = orjson.dumps({"lineage": str(ground.pipeline.node.lineage)})
    assert ground.ask("POST", "/v1/tend", lineage) == (200, {"waiting": {}})
    assert httpx2.get(f"{ground.url}/v1/health").json() == {"status": "ok", "version": 1}
    assert httpx2.get(f"{ground.url}/v2/health").status_code == 404
