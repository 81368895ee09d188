"""Who is let in: once per invitation, by name, by a key that is nobody else's; and not after he was revoked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from dbsync import schema
from dbsync.errors import NotAdmitted, Refusal
from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.registry import Role
from dbsync.statements import folder
from tests.support.databases import Database, Databases

DAY = timedelta(days=1)
ONE, TWO, THREE, FOUR = (Keys.generate().public for _ in range(4))


@pytest.fixture
def database(databases: Databases) -> Database:
    """A server's database with dbsync's schema."""
    made = databases.create(15)
    schema.upgrade(made.dsn, "upstream")
    return made


@pytest.fixture
def server(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as connection:
        yield connection


def invited(server: psycopg.Connection, name: str = "field-07", *, expires: timedelta = DAY) -> bytes:
    return registry.invite(server, name, passes_on=False, expires=expires)


def test_an_invited_node_is_known_by_its_key(server: psycopg.Connection) -> None:
    peer = registry.enrol(server, "field-07", invited(server), ONE)
    assert registry.peer_of_key(server, ONE.key_id) == peer
    assert (peer.name, peer.keys, peer.revoked_at, peer.passes_on) == ("field-07", ONE, None, False)


def test_a_code_lets_one_in_though_two_come_at_the_same_moment(server: psycopg.Connection, database: Database) -> None:
    secret = invited(server)
    outcomes: list[str] = []

    def come(keys: Keys) -> None:
        with database.connect() as session:
            try:
                registry.enrol(session, "field-07", secret, keys.public)
                outcomes.append("in")
            except NotAdmitted:
                outcomes.append("refused")

    comers = [threading.Thread(target=come, args=(Keys.generate(),)) for _ in range(4)]
    for comer in comers:
        comer.start()
    for comer in comers:
        comer.join()
    assert sorted(outcomes) == ["in", "refused", "refused", "refused"]


@pytest.mark.parametrize("wrong", ["secret", "name", "expired", "used"])
def test_any_wrong_code_is_refused_in_the_same_words(server: psycopg.Connection, wrong: str) -> None:
    secret = invited(server, expires=timedelta(0) if wrong == "expired" else DAY)
    if wrong == "used":
        registry.enrol(server, "field-07", secret, TWO)
    with pytest.raises(NotAdmitted, match="not one that is open for this name"):
        registry.enrol(
            server, "field-08" if wrong == "name" else "field-07", bytes(10) if wrong == "secret" else secret, ONE
        )
    assert registry.peer_of_key(server, ONE.key_id) is None


def test_a_node_that_did_not_hear_the_answer_may_come_again_and_nobody_else(server: psycopg.Connection) -> None:
    secret = invited(server)
    first = registry.enrol(server, "field-07", secret, ONE)
    assert registry.enrol(server, "field-07", secret, ONE) == first
    with pytest.raises(NotAdmitted):
        registry.enrol(server, "field-07", secret, TWO)
    registry.revoke(server, "field-07", "stolen")
    with pytest.raises(NotAdmitted):
        registry.enrol(server, "field-07", secret, ONE)


def test_a_second_invitation_replaces_the_first_until_the_node_is_enrolled(server: psycopg.Connection) -> None:
    first, second = invited(server), invited(server)
    with pytest.raises(NotAdmitted):
        registry.enrol(server, "field-07", first, ONE)
    registry.enrol(server, "field-07", second, ONE)
    with pytest.raises(Refusal, match="enrolled already"):
        invited(server)


def test_a_revoked_node_is_told_and_comes_back_only_with_a_new_code_and_new_keys(server: psycopg.Connection) -> None:
    registry.enrol(server, "field-07", invited(server), ONE)
    registry.revoke(server, "field-07", "stolen")
    gone = registry.peer_of_key(server, ONE.key_id)
    assert gone is not None
    assert gone.revoked_why == "stolen"
    secret = invited(server)
    assert registry.peer_of_key(server, ONE.key_id) == registry.find(server, "field-07")
    with pytest.raises(NotAdmitted, match="used here before"):
        registry.enrol(server, "field-07", secret, ONE)
    still = registry.find(server, "field-07")
    assert still is not None
    assert still.revoked_at is not None
    back = registry.enrol(server, "field-07", secret, TWO)
    assert back.revoked_at is None
    assert registry.peer_of_key(server, ONE.key_id) is None


def test_keys_of_before_a_revocation_sign_nothing_any_more_and_rotated_ones_what_is_under_way(
    server: psycopg.Connection,
) -> None:
    registry.enrol(server, "field-07", invited(server), ONE)
    registry.rotate(server, "field-07", TWO)
    assert senders(server, ONE, TWO) == ["field-07", "field-07"]
    registry.revoke(server, "field-07", "stolen")
    registry.enrol(server, "field-07", invited(server), THREE)
    assert senders(server, ONE, TWO, THREE) == [None, None, "field-07"]
    registry.rotate(server, "field-07", FOUR)
    assert senders(server, ONE, TWO, THREE, FOUR) == [None, None, "field-07", "field-07"]


def test_an_upgrade_retires_the_keys_that_a_stolen_node_kept_and_no_others(server: psycopg.Connection) -> None:
    registry.enrol(server, "field-07", invited(server), ONE)
    registry.revoke(server, "field-07", "stolen")
    registry.enrol(server, "field-07", invited(server), TWO)
    registry.rotate(server, "field-07", THREE)
    as_it_was = "UPDATE dbsync.peer_key SET until = clock_timestamp() WHERE key_id = %s"
    server.execute(as_it_was, (ONE.key_id,))
    assert senders(server, ONE, TWO, THREE) == ["field-07", "field-07", "field-07"]
    retiring, _, _ = (folder() / "migrations" / "0022_identities.sql").read_bytes().partition(b";")
    server.execute(retiring)
    assert senders(server, ONE, TWO, THREE) == [None, "field-07", "field-07"]


def senders(server: psycopg.Connection, *keys: PublicKeys) -> list[str | None]:
    """Say whose bundles are, that were signed with some keys."""
    found = [registry.sender_of_key(server, one.key_id) for one in keys]
    return [None if one is None else one.name for one in found]


def test_a_nonce_is_used_once(server: psycopg.Connection) -> None:
    assert registry.first_use(server, ONE.key_id, "a")
    assert not registry.first_use(server, ONE.key_id, "a")
    assert registry.first_use(server, TWO.key_id, "a")


def test_old_nonces_are_forgotten(server: psycopg.Connection) -> None:
    registry.first_use(server, ONE.key_id, "a")
    server.execute("UPDATE dbsync.nonce SET at = at - interval '1 hour'")
    registry.first_use(server, ONE.key_id, "b")
    assert server.execute("SELECT nonce FROM dbsync.nonce").fetchall() == [("b",)]


def test_a_node_brings_changes_of_one_database_and_never_of_anothers(server: psycopg.Connection) -> None:
    registry.enrol(server, "field-07", invited(server), ONE)
    registry.enrol(server, "field-08", invited(server, "field-08"), TWO)
    own, other = uuid4(), uuid4()
    assert registry.owns_lineage(server, "field-07", own)
    assert registry.owns_lineage(server, "field-07", own)
    assert not registry.owns_lineage(server, "field-07", other)
    assert not registry.owns_lineage(server, "field-08", own)
    assert registry.owns_lineage(server, "field-08", other)


def test_other_keys_of_the_upstream_are_not_taken_unasked(server: psycopg.Connection) -> None:
    registry.pin(server, "community", ONE)
    registry.pin(server, "community", ONE)
    with pytest.raises(Refusal, match="other keys"):
        registry.pin(server, "community", TWO)
    registry.pin(server, "community", TWO, replace=True)
    found = registry.pinned(server, "community")
    assert found is not None
    assert found.keys == TWO
    assert registry.pinned(server, "central") is None


@pytest.mark.parametrize("role", [Role.UPSTREAM, Role.RELAY])
def test_who_was_revoked_here_is_believed_again_once_his_keys_are_pinned_anew(
    server: psycopg.Connection, role: Role
) -> None:
    registry.pin(server, "other", ONE, role=role)
    registry.revoke(server, "other", "broken into")
    with pytest.raises(NotAdmitted, match="other was revoked here") as refused:
        registry.pinned(server, "other", role)
    assert (refused.value.why, "dbsync enrol" in refused.value.hint) == ("broken into", True)
    registry.pin(server, "other", TWO, role=role)
    found = registry.pinned(server, "other", role)
    assert found is not None
    assert (found.keys, found.revoked_why) == (TWO, None)


def test_a_renamed_node_keeps_its_key(server: psycopg.Connection) -> None:
    registry.enrol(server, "field-07", invited(server), ONE)
    registry.rename(server, "field-07", "field-70")
    peer = registry.peer_of_key(server, ONE.key_id)
    assert peer is not None
    assert peer.name == "field-70"


def test_the_service_may_do_its_part_and_invite_nobody(server: psycopg.Connection) -> None:
    secret = invited(server)
    server.execute("SET ROLE dbsync_replicator")
    registry.enrol(server, "field-07", secret, ONE)
    assert registry.first_use(server, ONE.key_id, "a")
    registry.note_seen(server, "field-07")
    assert registry.owns_lineage(server, "field-07", uuid4())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        invited(server, "field-08")
