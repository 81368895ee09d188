"""``dbsync nodes`` as an operator types it, and what the codes it prints are worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbsync import schema
from dbsync.errors import ConfigError, Refusal, UsageError
from dbsync.identity import registry
from dbsync.identity.code import read_code
from dbsync.identity.keys import Keys
from tests.integration.people import Person
from tests.support.databases import Database, Databases

NODE = Keys.generate()


@pytest.fixture
def server(databases: Databases) -> Database:
    """A topmost server's database."""
    made = databases.create(18)
    schema.upgrade(made.dsn, "source")
    return made


@pytest.fixture
def operator(server: Database, tmp_path: Path) -> Person:
    """Somebody at its keyboard; it has no upstream."""
    config = tmp_path / "dbsync.toml"
    config.write_text(f'[node]\nname = "community"\nsource = "{server.dsn}"\n')
    return Person(config=config)


def test_without_keys_nobody_is_invited_and_the_command_that_makes_them_is_named(operator: Person) -> None:
    with pytest.raises(ConfigError) as refused:
        operator.type("nodes", "invite", "field-07")
    assert "dbsync nodes keys --new" in refused.value.hint


def test_an_operator_lets_a_node_in_sees_it_and_throws_it_out(operator: Person, server: Database) -> None:
    own = operator.must("nodes", "keys", "--new", "--json").json
    with pytest.raises(Refusal, match="keys already"):
        operator.type("nodes", "keys", "--new")
    invited = operator.must("nodes", "invite", "field-07", "--expires", "12h")
    code = read_code(invited.out)
    assert code.fingerprint_head.hex() == own["fingerprint"][:20]
    assert "dbsync enrol URL" in invited.err
    assert states(operator) == {"field-07": "invited"}
    with server.connect() as connection:
        registry.enrol(connection, "field-07", code.secret, NODE.public)
        registry.note_seen(connection, "field-07")
    assert operator.must("nodes", "show", "field-07", "--json").json["signing"] == NODE.public.signing
    assert NODE.public.key_id in operator.must("nodes", "list").out
    with pytest.raises(Refusal, match="enrolled already"):
        operator.type("nodes", "invite", "field-07")
    operator.must("nodes", "rename", "field-07", "field-70")
    operator.must("nodes", "revoke", "field-70", "--reason", "stolen")
    assert states(operator) == {"field-70": "revoked"}
    assert "stolen" in operator.must("nodes", "list").out
    operator.must("nodes", "invite", "field-70", "--passes-on")


def test_an_invitation_that_nobody_used_says_that_it_has_expired(operator: Person, server: Database) -> None:
    operator.must("nodes", "keys", "--new")
    operator.must("nodes", "invite", "field-07")
    server.sql("UPDATE dbsync.peer SET invite_expires_at = invite_expires_at - interval '8 days'")
    assert states(operator) == {"field-07": "invitation expired"}


def test_what_is_no_name_and_no_time_is_refused_in_words(operator: Person) -> None:
    operator.must("nodes", "keys", "--new")
    for words in (("invite", "a b"), ("invite", "field-07", "--expires", "soon"), ("rename", "field-07", "a/b")):
        with pytest.raises(UsageError):
            operator.type("nodes", *words)
    for words in (("show", "nobody"), ("revoke", "nobody", "--reason", "gone"), ("rename", "nobody", "some")):
        with pytest.raises(Refusal) as refused:
            operator.type("nodes", *words)
        assert refused.value.hint == "dbsync nodes list"


def states(operator: Person) -> dict[str, str]:
    """Say how everybody stands."""
    return {peer["name"]: peer["state"] for peer in operator.must("nodes", "list", "--json").json["nodes"]}
