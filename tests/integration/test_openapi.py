"""What is written of the servers' HTTP is so, whatever is sent: by a node, by a relay, by somebody revoked, by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests.auth import AuthBase
from schemathesis import Case, Response
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import (
    OpenApiSchema,  # else imported late, while the servers' threads import too
)

from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.messages import Answer, Request, folded, sign_request, verify_answer
from dbsync.identity.registry import Role
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.transport.pull import Pull
from dbsync.web.local import OUTBOX, RELAY
from dbsync.web.openapi import document
from dbsync.web.operations import UPSTREAM, Access, Operation
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import MIXTURE, Databases, EmptyPair
from tests.support.fetched import handing_out
from tests.support.pipeline import Pipeline, prepared
from tests.support.relayed import Relay
from tests.support.served import admit, free_port, serving
from tests.support.servers import Servers

load_all_checks()
for operation in UPSTREAM:
    if operation.raw not in (None, "text/plain"):
        schemathesis.serializer.alias(operation.raw, "application/octet-stream")
SERVER, NODE, DRIVER, REVOKED, STRANGER = (Keys.generate() for _ in range(5))
OK, BUG = 200, 500
TRIED = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CONFORMS = [status_code_conformance, content_type_conformance, response_schema_conformance]


class Signing(AuthBase):
    """Signs a request as a node would, whatever it asks."""

    def __init__(self, keys: Keys, theirs: PublicKeys) -> None:
        self.keys, self.theirs = keys, theirs

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        body = prepared.body or b""
        data = body.encode() if isinstance(body, str) else body
        assert isinstance(data, bytes)
        assert prepared.method is not None
        assert prepared.url is not None
        request = Request(method=prepared.method, url=prepared.url)
        sign_request(request, data, self.keys, to=self.theirs.key_id, at=datetime.now(UTC))
        prepared.headers.update(dict(request.headers))
        return prepared


@dataclass(kw_only=True)
class Place:
    """A server that is asked, and what it holds."""

    url: str
    theirs: PublicKeys
    pipeline: Pipeline

    def ask(self, case: Case[Any], by: Keys | None) -> int:
        """Ask, and look at the answer as the document has it; whoever signs gets a signed answer."""
        auth = None if by is None else Signing(by, self.theirs)
        came = case.call(base_url=self.url, auth=auth, timeout=30)
        assert came.status_code != BUG, (came.status_code, came.text)
        case.validate_response(came, checks=CONFORMS)
        self._is_signed(came, by)
        return came.status_code

    def _is_signed(self, came: Response, by: Keys | None) -> None:
        """Believe an answer as whoever asked would; health, keys and a refusal to enrol are for everybody."""
        path = urlsplit(came.request.url or "").path
        if (
            by is None
            or path in {"/v1/health", "/v1/keys", "/v1/keys/before"}
            or (path == "/v1/enrol" and came.status_code != OK)
        ):
            return
        sent = {n: v if isinstance(v, str) else v.decode() for n, v in came.request.headers.items()}
        asked = Request(method=came.request.method or "", url=came.request.url or "", headers=folded(sent))
        headers = folded({name: ", ".join(values) for name, values in came.headers.items()})
        answer = Answer(status_code=came.status_code, request=asked, headers=headers)
        verify_answer(answer, came.content, self.theirs)


@pytest.fixture(scope="module")
def upstream(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    databases, folder = Databases(servers), tmp_path_factory.mktemp("server")
    both = prepared(databases, EmptyPair(databases, MIXTURE), SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        pipeline.source.sql("INSERT INTO site (code) VALUES ('here')")
        pipeline.ship()
        admit(both.upstream, "field-01", NODE)
        admit(both.upstream, "field-02", REVOKED)
        admit(both.upstream, "driver", DRIVER, role=Role.RELAY)
        with both.upstream.connect() as connection:
            registry.revoke(connection, "field-02", "stolen")
        with serving(folder, both.upstream, keys=SERVER) as (_, url):
            yield Place(url=url, theirs=SERVER.public, pipeline=pipeline)
    databases.drop_all()


@pytest.fixture(scope="module")
def relay(upstream: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    driver = Relay(tmp_path_factory.mktemp("relay"))
    theirs = driver.admit("field-01", NODE)
    with driver.within():
        yield Place(url=driver.url, theirs=theirs, pipeline=upstream.pipeline)


@pytest.fixture(scope="module")
def laptop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    databases, folder, port = Databases(servers), tmp_path_factory.mktemp("laptop"), free_port()
    both = prepared(databases, EmptyPair(databases, MIXTURE), SCHEMA)
    NODE.save(folder / "keys")
    (folder / "dbsync.toml").write_text(
        f'[node]\nname = "field-01"\nsource = "{both.source.dsn}"\n'
        f'[upstream]\nurl = "http://127.0.0.1:1"\nname = "community"\n[outbox]\nlisten = "127.0.0.1:{port}"\n{TABLES}'
    )
    with Pipeline(both.source, both.upstream, TABLES) as pipeline, both.source.connect() as connection:
        connection.execute("INSERT INTO site (code) VALUES ('waits')")
        registry.pin(connection, "community", SERVER.public)
        for name, keys in (("driver", DRIVER), ("stolen", REVOKED)):
            registry.pin(connection, name, keys.public, role=Role.RELAY)
        registry.revoke(connection, "stolen", "stolen")
        with handing_out(folder):
            yield Place(url=f"http://127.0.0.1:{port}", theirs=NODE.public, pipeline=pipeline)
    databases.drop_all()


def cases(operation: Operation, title: str, operations: list[Operation]) -> st.SearchStrategy[Case[Any]]:
    """Make requests of one operation, as it is written and not as it is written."""
    whole: OpenApiSchema = schemathesis.openapi.from_dict(document(title, operations))
    described = whole[operation.path][operation.method]
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    return st.one_of([described.as_strategy(generation_mode=mode) for mode in modes])


def named(operation: Operation) -> str:
    return operation.name


def tried(place: Place, operation: Operation, operations: list[Operation], by: Keys | None) -> list[int]:
    """Ask what schemathesis makes up; give the statuses of the answers."""
    statuses: list[int] = []

    @TRIED
    @given(cases(operation, "server", operations))
    def ask(case: Case[Any]) -> None:
        statuses.append(place.ask(case, by))

    ask()
    return statuses


@pytest.mark.parametrize("operation", UPSTREAM, ids=named)
def test_an_upstream_answers_a_node_as_it_is_written(upstream: Place, operation: Operation) -> None:
    assert tried(upstream, operation, list(UPSTREAM), NODE)
    assert tried(upstream, operation, list(UPSTREAM), DRIVER)


@pytest.mark.parametrize("operation", RELAY, ids=named)
def test_a_relay_answers_a_node_as_it_is_written(relay: Place, operation: Operation) -> None:
    assert tried(relay, operation, list(RELAY), NODE)


@pytest.mark.parametrize("operation", OUTBOX, ids=named)
def test_a_laptop_answers_a_relay_as_it_is_written(laptop: Place, operation: Operation) -> None:
    assert tried(laptop, operation, list(OUTBOX), DRIVER)
    if operation.access is Access.KNOWN:
        for by in (None, STRANGER, REVOKED):
            assert set(tried(laptop, operation, list(OUTBOX), by)) <= {401, 413}


def test_a_laptop_that_was_asked_all_that_has_lost_nothing(laptop: Place) -> None:
    with Line(laptop.url, silence=5.0) as line:
        pull = Pull(exchange=Exchange(line=line, keys=DRIVER, theirs=laptop.theirs))
        (lies,) = pull.laid_out([]).offered
        assert len(pull.part(lies, 0)) == lies.size
    assert laptop.pipeline.source.value("SELECT count(*) FROM dbsync.custody") == 0


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/v1/health", {"Content-Length": "-1"}),
        ("GET", "/v1/time", {"Content-Length": "many"}),
        ("POST", "/v1/clock", {"Content-Length": "9" * 30}),
        ("POST", "/v1/clock", {"Transfer-Encoding": "chunked", "Content-Length": "5"}),
        ("GET", "/v1/time?" + "a" * 5000, {}),
        ("GET", "/v1/batches/" + "%2e%2e%2f" * 300, {}),
        ("GET", "/v1/bundles/%00/receipts", {}),
        ("OPTIONS", "/v1/time", {}),
        ("TRACE", "/v1/batches/x", {}),
        ("GET", "/v1/time", {"Signature": "dbsync=:AAAA:", "Signature-Input": "dbsync=();created=-1"}),
        ("GET", "/v1/time", {"Signature": "(" * 3000, "Signature-Input": '"' * 3000}),
        ("GET", "/v1/time", {"Signature-Input": "dbsync=" + "(" * 2000, "Signature": "dbsync=:AAAA:"}),
    ],
)  # fmt: skip
def test_what_is_no_honest_request_is_refused(upstream: Place, method: str, path: str, headers: dict[str, str]) -> None:
    parts = urlsplit(upstream.url)
    with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=30)) as line:
        line.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            line.putheader(name, value)
        line.endheaders()
        if "Transfer-Encoding" in headers:
            line.send(b"0\r\n\r\n")
        assert line.getresponse().status in {400, 401, 404, 405, 413, 431}


@pytest.mark.parametrize("node", ["%00", "a" * 64, "a%0ab", "a b"])
def test_a_relay_asks_for_nodes_that_can_be(upstream: Place, node: str) -> None:
    for what in ("receipts", "certificate"):
        url = f"{upstream.url}/v1/bundles/{node}/{what}"
        assert requests.get(url, auth=Signing(DRIVER, upstream.theirs), timeout=30).status_code == 400


def test_a_server_that_was_asked_all_that_is_as_it_was(upstream: Place) -> None:
    assert upstream.pipeline.upstream.sql("SELECT code FROM site") == [("here",)]
    assert upstream.pipeline.upstream.value("SELECT count(*) FROM dbsync.receipt") == 1
    upstream.pipeline.source.sql("INSERT INTO site (code) VALUES ('there')")
    upstream.pipeline.ship()
    assert requests.get(f"{upstream.url}/v1/health", timeout=30).json() == {"status": "ok", "version": 1}


@pytest.mark.parametrize("by", [None, STRANGER, REVOKED], ids=["unsigned", "a stranger", "revoked"])
def test_nobody_else_is_answered_anything(upstream: Place, by: Keys | None) -> None:
    for operation in UPSTREAM:
        if operation.access is Access.KNOWN:
            assert set(tried(upstream, operation, list(UPSTREAM), by)) <= {401, 413}, operation.name
