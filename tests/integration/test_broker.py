"""What a broker lets a node do, and what it says when it has no room. Against nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest
from nats.aio.client import Client

from dbsync.errors import DbsyncError, NotAdmitted, Unreachable
from dbsync.identity import nkey
from dbsync.identity.keys import Keys
from dbsync.transport import broker
from dbsync.transport.broker import Broker, Full, Room
from dbsync.transport.subjects import Subjects, inbox
from tests.support.brokers import NatsServer, shared
from tests.support.served import free_port

SUBJECTS = Subjects("community")
ROOM = Room(replicas=1, messages=8, size=100_000)
KEYS = {name: Keys.generate() for name in ("community", "field-01", "field.02")}


@pytest.fixture(scope="module")
def server() -> NatsServer:
    """Give a broker that knows two nodes, and has their streams."""
    server = shared()
    nodes = {name: keys.public for name, keys in KEYS.items() if name != "community"}
    server.admit(f"T{uuid4().hex[:12]}", "community", KEYS["community"].public, nodes)
    return server


@pytest.fixture
def upstream(server: NatsServer) -> Iterator[Broker]:
    """Give the upstream's own connection."""
    with server.meddler("community", KEYS["community"]) as there:
        there.keep(SUBJECTS.batches_stream, SUBJECTS.all_batches, ROOM, newest_only=False)
        there.keep(SUBJECTS.papers_stream, SUBJECTS.all_papers, Room(replicas=1, messages=1), newest_only=True)
        for name in ("field-01", "field.02"):
            there.remove_until(SUBJECTS.batches_stream, SUBJECTS.batches(name), 1 << 40)
        yield there


@pytest.fixture
def node(server: NatsServer, upstream: Broker) -> Iterator[Broker]:
    """Give the connection of field-01."""
    with broker.opened(server.url, KEYS["field-01"], node="field-01", ca=None, silence=5) as there:
        yield there


def test_a_node_leaves_bundles_on_its_own_subject_and_finds_its_own_news(node: Broker, upstream: Broker) -> None:
    assert node.publish(SUBJECTS.batches("field-01"), b"one", {"Nats-Msg-Id": "1"})
    assert not node.publish(SUBJECTS.batches("field-01"), b"one", {"Nats-Msg-Id": "1"}), "it is dropped as a repeat"
    assert upstream.backlog(SUBJECTS.batches_stream, SUBJECTS.all_batches) == {SUBJECTS.batches("field-01"): 1}
    found = upstream.next(SUBJECTS.batches_stream, SUBJECTS.batches("field-01"), 0)
    assert found is not None
    assert (found.data, found.subject) == (b"one", SUBJECTS.batches("field-01"))
    upstream.remove_until(SUBJECTS.batches_stream, SUBJECTS.batches("field-01"), found.seq)
    assert node.last(SUBJECTS.batches_stream, SUBJECTS.batches("field-01")) is None
    for news in (b"old", b"new"):
        upstream.publish(SUBJECTS.papers("field-01"), news, {})
    latest = node.last(SUBJECTS.papers_stream, SUBJECTS.papers("field-01"))
    assert latest is not None
    assert latest.data == b"new"
    assert upstream.next(SUBJECTS.papers_stream, SUBJECTS.papers("field-01"), 0) == latest, "the old one is gone"


@pytest.mark.parametrize(
    "subject",
    [
        SUBJECTS.batches("field.02"),
        SUBJECTS.papers("field-01"),
        f"$JS.API.DIRECT.GET.{SUBJECTS.papers_stream}.{SUBJECTS.papers('field.02')}",
        f"$JS.API.DIRECT.GET.{SUBJECTS.batches_stream}",
        f"$JS.API.STREAM.INFO.{SUBJECTS.batches_stream}",
        f"$JS.API.STREAM.PURGE.{SUBJECTS.batches_stream}",
        f"$JS.API.STREAM.CREATE.{SUBJECTS.batches_stream}",
        f"$JS.API.CONSUMER.CREATE.{SUBJECTS.batches_stream}.mine.{SUBJECTS.batches('field-01')}",
        "$JS.API.INFO",
        "anything",
    ],
)
def test_a_node_may_say_nothing_else(node: Broker, subject: str) -> None:
    with pytest.raises(NotAdmitted) as refused:
        node.publish(subject, b"{}", {})
    assert "dbsync nats config" in refused.value.hint


@pytest.mark.parametrize(
    "subject", [">", f"{inbox('field.02')}.>", SUBJECTS.batches("field.02"), SUBJECTS.papers("field.02")]
)
def test_a_node_hears_nothing_but_answers_to_its_own_questions(
    server: NatsServer, upstream: Broker, subject: str
) -> None:
    keys = KEYS["field-01"]

    async def refused() -> str:
        said: asyncio.Queue[str] = asyncio.Queue()

        async def note(error: Exception) -> None:
            await said.put(str(error))

        client = Client()
        client._auth_configured, client._public_nkey = True, nkey.nkey(keys.public)
        await client.connect(
            server.url,
            signature_cb=lambda nonce: nkey.answer(nonce, keys),
            error_cb=note,
            allow_reconnect=False,
        )
        await client.subscribe(subject)
        found = await asyncio.wait_for(said.get(), 30)
        await client.close()
        return found

    assert "permissions violation for subscription" in asyncio.run(refused()).lower()


def test_a_stranger_is_not_let_in(server: NatsServer) -> None:
    with pytest.raises(NotAdmitted), broker.opened(server.url, Keys.generate(), node="x", ca=None, silence=5):
        pass


def test_a_node_that_has_filled_its_part_waits_and_others_do_not(server: NatsServer, node: Broker) -> None:
    for _ in range(ROOM.messages):
        node.publish(SUBJECTS.batches("field-01"), b"x", {})
    with pytest.raises(Full) as full:
        node.publish(SUBJECTS.batches("field-01"), b"x", {})
    assert "of this node" in full.value.why
    with broker.opened(server.url, KEYS["field.02"], node="field.02", ca=None, silence=5) as other:
        assert other.publish(SUBJECTS.batches("field.02"), b"x", {})


def test_what_finds_no_room_is_refused_and_nothing_is_thrown_away_for_it(node: Broker, upstream: Broker) -> None:
    for _ in range(3):
        node.publish(SUBJECTS.batches("field-01"), bytes(30_000), {})
    with pytest.raises(Full) as full:
        node.publish(SUBJECTS.batches("field-01"), bytes(30_000), {})
    assert full.value.try_again
    assert upstream.backlog(SUBJECTS.batches_stream, SUBJECTS.all_batches) == {SUBJECTS.batches("field-01"): 3}


def test_a_broker_that_is_alone_cannot_keep_three_copies_and_it_says_what_to_write(upstream: Broker) -> None:
    with pytest.raises(DbsyncError) as told:
        upstream.keep(SUBJECTS.batches_stream, SUBJECTS.all_batches, Room(replicas=3, messages=8), newest_only=False)
    assert "replicas = 1" in told.value.hint


def test_where_nobody_listens_it_is_tried_again() -> None:
    url = f"nats://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable), broker.opened(url, Keys.generate(), node="x", ca=None, silence=5):
        pass


def test_the_second_server_is_taken_where_the_first_is_away(server: NatsServer, upstream: Broker) -> None:
    url = f"nats://127.0.0.1:{free_port()},127.0.0.1:{server.port}"
    with broker.opened(url, KEYS["field-01"], node="field-01", ca=None, silence=5) as there:
        assert there.where == server.url
