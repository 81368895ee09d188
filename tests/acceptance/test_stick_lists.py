"""Checked boxes that travel on a stick: believed from whom they are, and home again as arrived."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from dbsync.bundle import sealed
from dbsync.bundle.enrolment import Request, find_requests, remove_request
from dbsync.bundle.names import Kind, SealedName
from dbsync.bundle.papers import write_paper
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.lists import Arrived, write_arrived
from tests.acceptance.remote import Remote, box, boxes
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.served import admit
from tests.support.tampered import tamper

pytestmark = ONE_MIXTURE


@pytest.fixture
def remote(pair: Pair, databases: Databases, tmp_path: Path) -> Remote:
    return Remote(tmp_path, pair, databases)


def test_a_checked_box_goes_by_stick_and_the_laptop_hears_that_it_arrived(remote: Remote, tmp_path: Path) -> None:
    laptop, server, stick = remote.laptop, remote.server, remote.stick
    remote.enrol()
    first, second = box(laptop, 1), box(laptop, 2)
    assert "2 lists of checked boxes are on the stick" in laptop.type("bundle", "export", str(stick)).err
    again = json.loads(laptop.must("bundle", "export", str(stick), "--json"))
    assert (again["lists"], again["arrived"]) == (2, 0)
    written = list(stick.glob("*.list.age"))
    assert len(written) == 2
    assert not any(b"specimen" in path.read_bytes() for path in stick.iterdir())
    damaged = written[0].read_bytes()
    written[0].write_bytes(damaged[:-1])
    laptop.must("bundle", "export", str(stick))
    shutil.copytree(stick, tmp_path / "old")
    done = json.loads(server.must("bundle", "import", str(stick), "--json"))
    assert [(one["node"], one["new"]) for one in done["lists"]] == [("field-01", True)] * 2
    assert boxes(server) == {str(first.id): True, str(second.id): True}
    assert boxes(laptop) == {str(first.id): False, str(second.id): False}
    third = box(laptop, 3)
    assert "2 lists of checked boxes arrived" in laptop.must("bundle", "receipts", str(stick))
    assert boxes(laptop) == {str(first.id): True, str(second.id): True, str(third.id): False}
    laptop.must("bundle", "export", str(stick))
    assert [path.name for path in stick.glob("*.list.age")] == [f"field-01.{third.id}.list.age"]
    replayed = json.loads(server.must("bundle", "import", str(tmp_path / "old"), "--json"))
    assert [one["new"] for one in replayed["lists"]] == [False, False]
    assert len(boxes(server)) == 2
    server.must("bundle", "import", str(stick))
    assert "1 list of a checked box arrived" in laptop.must("bundle", "export", str(stick))
    assert not list(stick.glob("*.list.age"))
    assert all(boxes(laptop).values())


def of_a_stranger(remote: Remote) -> str:
    """Put a list by somebody whom nobody knows there."""
    name = SealedName(node="field-01", id=UUID(int=1), kind=Kind.LIST)
    sealed.write(remote.stick, name, sealed.seal(b"x", name, keys=Keys.generate(), theirs=remote.server.keys.public))
    return "its sender is not known here"


def of_another_node(remote: Remote) -> str:
    """Let one node bring a list in another's name."""
    other = Keys.generate()
    admit(remote.server.database, "field-02", other)
    name = SealedName(node="field-01", id=UUID(int=1), kind=Kind.LIST)
    sealed.write(remote.stick, name, sealed.seal(b"x", name, keys=other, theirs=remote.server.keys.public))
    return "brings a paper of field-01"


def called_otherwise(remote: Remote) -> str:
    """Give a list out for another one."""
    for path in remote.stick.glob("*.list.age*"):
        path.rename(path.with_name(path.name.replace(str(UUID(int=1)), str(UUID(int=2)))))
    return "another file"


def for_another(remote: Remote) -> str:
    """Seal it for somebody else."""
    name = SealedName(node="field-01", id=UUID(int=1), kind=Kind.LIST)
    sealed.write(remote.stick, name, sealed.seal(b"x", name, keys=remote.laptop.keys, theirs=Keys.generate().public))
    return "not for us"


def edited(remote: Remote) -> str:
    """Change a byte of it."""
    (path,) = remote.stick.glob("*.list.age")
    tamper(path)
    return "it was changed"


def of_a_revoked_node(remote: Remote) -> str:
    """Throw the node out while its list is on the way."""
    remote.server.must("nodes", "revoke", "field-01", "--reason", "stolen")
    return "revoked"


@pytest.mark.parametrize(
    "attack", [of_a_stranger, of_another_node, called_otherwise, for_another, edited, of_a_revoked_node]
)
def test_a_list_that_is_not_what_it_seems_stays_on_the_stick(remote: Remote, attack: Callable[[Remote], str]) -> None:
    laptop, server = remote.laptop, remote.server
    remote.enrol()
    box(laptop, 1)
    laptop.must("bundle", "export", str(remote.stick))
    with server.database.connect() as connection:
        for path, found in find_requests(remote.stick, server.keys):
            assert isinstance(found, Request)
            registry.enrol(connection, found.name, found.secret, found.keys)
            remove_request(path)
    why = attack(remote)
    done = server.type("bundle", "import", str(remote.stick))
    assert (done.code, why in done.out) == (1, True), done.out
    assert boxes(server) == {}


def test_nobody_but_the_upstream_says_that_a_list_arrived(remote: Remote) -> None:
    laptop = remote.laptop
    remote.enrol()
    found = box(laptop, 1)
    for node, keys in (("field-01", Keys.generate()), ("field-01", laptop.keys), ("field-02", remote.server.keys)):
        arrived = Arrived(destination="community", node=node, lists=(found.id,))
        write_paper(remote.stick / "field-01.lists.json", write_arrived(arrived, keys), "it was not written")
        done = json.loads(laptop.must("bundle", "export", str(remote.stick), "--json"))
        assert [left["name"] for left in done["left"]] == ["field-01.lists.json"]
        assert boxes(laptop) == {str(found.id): False}
