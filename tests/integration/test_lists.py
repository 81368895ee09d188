"""A list of a checked box is kept once, as it was signed, and by nobody but whom it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from dbsync import schema
from dbsync.bundle import sealed
from dbsync.bundle.names import Kind, SealedName
from dbsync.errors import FormatError, NotAdmitted
from dbsync.identity import registry
from dbsync.identity.keys import Keys, Signed
from dbsync.identity.lists import CheckedList, pack_list, read_arrived, write_list
from dbsync.identity.registry import Peer, Role
from dbsync.service.lists import sign_arrived, take, take_sealed
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.served import admit

pytestmark = ONE_MIXTURE

NODE, OTHER, DRIVER = (Keys.generate() for _ in range(3))
LIST = CheckedList(
    id=UUID("b1ffcd00-0d1c-4af9-8c7e-7cc0ce491b22"),
    by="field-01",
    checked_by="Naledi",
    table="requisition",
    column="identifier",
    at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
    both=("R-1",),
    missing_from_data=("R-2",),
    missing_from_box=(),
)


@pytest.fixture
def server(pair: Pair) -> Iterator[psycopg.Connection]:
    schema.upgrade(pair.upstream.dsn, "upstream")
    admit(pair.upstream, "field-01", NODE)
    admit(pair.upstream, "field-02", OTHER)
    admit(pair.upstream, "driver", DRIVER, role=Role.RELAY)
    with pair.upstream.connect() as connection:
        yield connection


def peer(server: psycopg.Connection, keys: Keys) -> Peer:
    found = registry.peer_of_key(server, keys.public.key_id)
    assert found is not None
    return found


def kept(server: psycopg.Connection) -> int:
    row = server.execute("SELECT count(*) FROM dbsync.list").fetchone()
    assert row is not None
    return int(row[0])


def test_a_list_is_kept_once_whoever_carries_it(server: psycopg.Connection) -> None:
    signed = write_list(LIST, NODE)
    assert take(server, signed, peer(server, NODE)) == LIST
    assert take(server, signed, peer(server, DRIVER)) == LIST
    assert kept(server) == 1


@pytest.mark.parametrize(
    ("signed", "carrier"),
    [
        (write_list(LIST, NODE), OTHER),
        (write_list(LIST, OTHER), OTHER),
        (write_list(LIST, OTHER), DRIVER),
        (write_list(LIST, Keys.generate()), DRIVER),
    ],
)
def test_nobody_brings_a_list_in_anothers_name(server: psycopg.Connection, signed: Signed, carrier: Keys) -> None:
    with pytest.raises(NotAdmitted):
        take(server, signed, peer(server, carrier))
    assert kept(server) == 0


def test_a_node_is_told_that_its_list_was_not_kept_where_anothers_has_its_id(server: psycopg.Connection) -> None:
    theirs = replace(LIST, by="field-02", both=("bogus",))
    take(server, write_list(theirs, OTHER), peer(server, OTHER))
    for carrier in (NODE, DRIVER):
        with pytest.raises(FormatError, match="another list has the id"):
            take(server, write_list(LIST, NODE), peer(server, carrier))
    with pytest.raises(FormatError):
        take(server, write_list(replace(theirs, both=()), OTHER), peer(server, OTHER))
    own = Keys.generate()
    name = SealedName(node="field-01", id=LIST.id, kind=Kind.LIST)
    paper = sealed.seal(pack_list(write_list(LIST, NODE)), name, keys=NODE, theirs=own.public)
    with pytest.raises(FormatError):
        take_sealed(server, name, paper, own)
    assert sign_arrived(server, destination="community", node="field-01", keys=own) is None
    assert kept(server) == 1


def test_a_list_that_was_signed_under_a_nodes_name_of_before_is_its_own(server: psycopg.Connection) -> None:
    lineage, own = uuid4(), Keys.generate()
    for name, database in (("field-01", lineage), ("field-02", uuid4())):
        server.execute(
            "INSERT INTO dbsync.receipt (node, incarnation, number, hash, changes, first_captured, last_captured, lineage)"
            " VALUES (%(name)s, %(life)s, 1, '', 0, now(), now(), %(life)s)",
            {"name": name, "life": database},
        )
        assert registry.owns_lineage(server, name, database)
    take(server, write_list(replace(LIST, id=uuid4()), NODE), peer(server, NODE))
    registry.rename(server, "field-01", "site-01")
    assert take(server, write_list(LIST, NODE), peer(server, NODE)) == LIST
    under_way = replace(LIST, id=uuid4())
    called = SealedName(node="site-01", id=under_way.id, kind=Kind.LIST)
    paper = sealed.seal(pack_list(write_list(under_way, NODE)), called, keys=NODE, theirs=own.public)
    assert take_sealed(server, called, paper, own).new
    arrived = sign_arrived(server, destination="community", node="site-01", keys=own)
    assert arrived is not None
    assert len(read_arrived(arrived, node="site-01", keys=own.public).lists) == 3, "those of before among them"
    for by, keys in (("field-01", OTHER), ("field-02", NODE)):
        with pytest.raises(NotAdmitted):
            take(server, write_list(replace(LIST, by=by), keys), peer(server, DRIVER))


def test_a_revoked_nodes_list_is_not_kept(server: psycopg.Connection) -> None:
    registry.revoke(server, "field-01", "stolen")
    with pytest.raises(NotAdmitted):
        take(server, write_list(LIST, NODE), peer(server, DRIVER))
    assert kept(server) == 0


def test_an_edited_list_is_not_believed(server: psycopg.Connection) -> None:
    signed = write_list(LIST, NODE)
    for edited in (
        replace(signed, data=signed.data.replace(b"R-2", b"R-3")),
        replace(signed, signature=NODE.sign(signed.data, "dbsync receipts 1")),
        replace(signed, signature=b"none"),
        Signed(data=signed.data + b" ", signature=NODE.sign(signed.data + b" ", "dbsync list 1")),
        Signed(data=b"[" * 5000, signature=NODE.sign(b"[" * 5000, "dbsync list 1")),
    ):
        with pytest.raises(FormatError):
            take(server, edited, peer(server, NODE))
    assert kept(server) == 0
