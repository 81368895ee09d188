"""Laptops that only ever meet sticks: enrolled by one, emptied onto one by the service, and brought in by the server by itself."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from dbsync.apply.lists import keep
from dbsync.bundle import files, sealed
from dbsync.bundle.enrolment import Request, find_requests, remove_request
from dbsync.bundle.names import Kind, SealedName
from dbsync.bundle.papers import write_paper
from dbsync.config.load import load
from dbsync.errors import DbsyncError, FormatError, Refusal
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.lists import Arrived, CheckedList, write_arrived, write_list
from dbsync.service.bundles import bring_in
from dbsync.service.held import held_link
from dbsync.service.link import LinkState
from dbsync.service.run import Service
from dbsync.service.sticks import Sticks
from tests.acceptance.test_bundle_route import Place
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.served import admit, free_port
from tests.support.service import ServiceProcess, until

pytestmark = ONE_MIXTURE


class Remote:
    """A laptop that nobody knows, its server, and where a stick appears when it is put in."""

    def __init__(self, folder: Path, pair: Pair, databases: Databases) -> None:
        both = prepared(databases, pair, SCHEMA)
        self.stick = folder / "media" / "dbsync"
        self.pulled = folder / "pocket"
        self.pulled.mkdir()
        self.stick.parent.mkdir()
        with Pipeline(both.source, both.upstream, TABLES, node="field-01"):
            pass  # installed
        sticks = f'[sticks]\nfolders = ["{self.stick}"]\n[serve]\nlisten = "127.0.0.1:{free_port()}"\n'
        self.server = Place(folder, "community", both.upstream, sticks)
        self.laptop = Place(folder, "field-01", both.source, '[upstream]\nurl = "service=nowhere"\n')

    @property
    def url(self) -> str:
        """Give the stick's address."""
        return f"file://{self.stick}"

    def put_in(self) -> None:
        """Put the stick in."""
        shutil.copytree(self.pulled, self.stick)

    def pull(self) -> None:
        """Take the stick away; it stays what it is."""
        shutil.rmtree(self.pulled)
        self.stick.rename(self.pulled)

    def enrol(self) -> None:
        """Let the laptop and the server know each other, by what is on the stick and a code that is not."""
        self.put_in()
        code = json.loads(self.server.must("nodes", "invite", "field-01", "--stick", str(self.stick), "--json"))["code"]
        assert all(code.encode() not in path.read_bytes() for path in self.stick.iterdir())
        self.laptop.must("enrol", self.url, code)

    def state(self) -> tuple[str, str]:
        """Say what the laptop's status says of the stick."""
        link = json.loads(self.laptop.must("status", "--json"))["link"]
        return link["state"], link["reason"] or ""


@pytest.fixture
def remote(pair: Pair, databases: Databases, tmp_path: Path) -> Remote:
    return Remote(tmp_path, pair, databases)


def test_a_laptop_that_never_had_a_line_is_enrolled_by_stick_and_ships(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    laptop.insert("a")
    remote.enrol()
    assert "field-01" not in {peer["name"] for peer in known(server) if peer["state"] == "enrolled"}
    assert json.loads(laptop.must("bundle", "export", str(remote.stick), "--json"))["batches"] == 1
    done = json.loads(server.must("bundle", "import", str(remote.stick), "--json"))
    assert done["enrolled"] == ["field-01"]
    assert [one["applied"] for one in done["brought"]] == [[1]]
    assert "1 batch acknowledged" in laptop.must("bundle", "receipts", str(remote.stick))
    assert server.sites() == {"a"}
    assert laptop.type("check").out.count("enrolled") >= 1
    assert not list(remote.stick.glob("*.enrolment.age*"))


def known(place: Place) -> list[dict[str, str]]:
    """List whom a place knows."""
    return list(json.loads(place.must("nodes", "list", "--json"))["nodes"])


def test_a_request_is_granted_once_and_to_nobody_else(remote: Remote, tmp_path: Path) -> None:
    laptop, server, stick = remote.laptop, remote.server, remote.stick
    remote.enrol()
    copy = tmp_path / "copy"
    shutil.copytree(stick, copy)
    assert json.loads(server.must("bundle", "import", str(stick), "--json"))["enrolled"] == ["field-01"]
    server.must("bundle", "import", str(copy))
    server.must("nodes", "revoke", "field-01", "--reason", "stolen")
    shutil.rmtree(copy)
    shutil.copytree(stick, copy)
    laptop_request(laptop, remote, copy)
    late = server.type("bundle", "import", str(copy))
    assert late.code == 1
    assert "not one that is open" in late.out
    assert [peer["state"] for peer in known(server)] == ["revoked"]


def laptop_request(laptop: Place, remote: Remote, folder: Path) -> None:
    """Leave a request with a code that was never given out."""
    from dbsync.bundle.enrolment import write_request  # noqa: PLC0415 - only what an attacker has

    write_request(folder, node=laptop.name, secret=bytes(10), keys=laptop.keys, theirs=remote.server.keys.public)


def of_another_server(remote: Remote) -> None:
    """Put an attacker's invitation in the place of the server's."""
    from dbsync.bundle.enrolment import write_invitation  # noqa: PLC0415

    write_invitation(remote.stick, node="field-01", upstream="community", keys=Keys.generate())


def renamed(remote: Remote) -> None:
    """Make another node's invitation this one's."""
    remote.server.must("nodes", "invite", "field-02", "--stick", str(remote.stick))
    for path in remote.stick.glob("field-02*"):
        path.replace(path.with_name(path.name.replace("02", "01")))


def damaged(remote: Remote) -> None:
    """Change a byte of it."""
    path = remote.stick / "field-01.invitation.json"
    path.write_bytes(path.read_bytes().replace(b"community", b"Community"))


def linked(remote: Remote) -> None:
    """Put a link in its place."""
    path = remote.stick / "field-01.invitation.json"
    path.rename(path.with_suffix(".old"))
    path.symlink_to(path.with_suffix(".old"))


@pytest.mark.parametrize("attack", [of_another_server, renamed, damaged, linked])
def test_an_invitation_that_is_not_the_codes_is_not_believed(remote: Remote, attack: Callable[[Remote], None]) -> None:
    remote.put_in()
    code = json.loads(remote.server.must("nodes", "invite", "field-01", "--stick", str(remote.stick), "--json"))["code"]
    attack(remote)
    with pytest.raises((Refusal, FormatError)):
        remote.laptop.type("enrol", remote.url, code)
    assert not list(remote.stick.glob("*.enrolment.age"))
    assert known(remote.laptop) == []


def test_the_service_fills_whatever_stick_is_put_in_and_the_server_takes_it_in_by_itself(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    remote.enrol()
    remote.pull()
    laptop.insert("a")
    with (
        ServiceProcess(laptop.folder) as service,
        ServiceProcess(server.folder, command=("serve",)) as serving,
    ):
        serving.wait_for("serving")
        until(lambda: remote.state()[0] == "waits for the stick", "no stick is no error")
        box(laptop, 1)
        remote.put_in()
        until(lambda: server.sites() == {"a"}, "what is on the stick is brought in")
        until(lambda: laptop.waiting() == 0, "and the receipt comes home")
        until(lambda: all(boxes(laptop).values()), "and the word that the list of a checked box arrived")
        until(lambda: remote.state()[0] == "up to date", "and so it is said")
        remote.pull()
        laptop.insert("b")
        until(lambda: remote.state()[0] == "waits for the stick", "the stick is away")
        serving.terminate()
        remote.put_in()
        until(lambda: "receipt outstanding for 1 batch" in remote.state()[1], "it is written again")
        assert remote.state()[0] == "written to the stick"
        assert not [path for path in remote.stick.glob("*.dbsync") if "000001" in path.name], (
            "that one is there for good"
        )
        remote.pull()
        until(lambda: "1 batch left with it" in remote.state()[1], "the stick is on its way")
        assert service.terminate() == 0
    server.must("bundle", "import", str(remote.pulled))
    assert server.sites() == {"a", "b"}
    assert [event["batches"] for event in service.said("stick_written")] == [1, 1]


def test_run_once_does_with_the_stick_what_is_to_be_done_or_says_that_none_is_in(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    remote.enrol()
    laptop.insert("a")
    done = dbsync(laptop.folder, "run", "--once")
    assert (done.code, done.out) == (0, "1 change written to the stick\n")
    assert "take the stick to community" in done.err
    assert remote.state()[0] == "written to the stick"
    again = dbsync(laptop.folder, "run", "--once")
    assert "1 change written" not in again.out
    remote.pull()
    none = dbsync(laptop.folder, "run", "--once")
    assert (none.code, "no stick is in" in none.err) == (69, True)
    assert remote.state()[0] == "waits for the stick"
    server.must("bundle", "import", str(remote.pulled))
    remote.put_in()
    assert "1 batch acknowledged" in dbsync(laptop.folder, "run", "--once").out
    assert remote.state() == ("up to date", "")


def test_what_a_service_of_a_private_unit_writes_can_be_read_by_the_account_at_the_other_end(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    laptop.insert("a")
    before = os.umask(0o077)
    try:
        remote.enrol()
        Service(config=load(laptop.folder / "dbsync.toml", {})).run_once()
        bring_in(load(server.folder / "dbsync.toml", {}), remote.stick)
    finally:
        os.umask(before)
    written = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in remote.stick.iterdir()}
    assert {"field-01.receipts.json", "field-01.receipts.json.minisig"} < set(written)
    assert set(written.values()) == {"0o644"}, written


def test_a_stick_brings_the_certificate_home(remote: Remote, tmp_path: Path) -> None:
    laptop, server = remote.laptop, remote.server
    remote.enrol()
    laptop.insert("a")
    dbsync(laptop.folder, "run", "--once")
    first = dbsync(laptop.folder, "certificate")
    assert (first.code, "1 change captured here is missing there" in first.out) == (1, True), first.err
    server.must("bundle", "import", str(remote.stick))
    dbsync(laptop.folder, "run", "--once")
    done = dbsync(laptop.folder, "certificate")
    assert (done.code, "community certifies: everything of field-01 up to batch 1" in done.out) == (0, True), done.err
    remote.pull()
    none = dbsync(laptop.folder, "certificate")
    assert (none.code, "dbsync certificate --from DIR" in none.err) == (69, True)
    assert dbsync(laptop.folder, "certificate", "--from", str(remote.pulled)).code == 0
    another = tmp_path / "another"
    another.mkdir()
    laptop.insert("b")
    laptop.must("bundle", "export", str(another))
    server.must("bundle", "import", str(another))
    laptop.must("bundle", "receipts", str(another))
    empty = tmp_path / "empty"
    empty.mkdir()
    none = dbsync(laptop.folder, "certificate", "--from", str(empty))
    assert (none.code, "no certificate is there" in none.out) == (1, True), (
        "receipts came, and nobody certified anything"
    )
    old = dbsync(laptop.folder, "certificate", "--from", str(remote.pulled))
    assert (old.code, "older than the last receipt, which is for batch 2" in old.out) == (1, True), old.err
    assert dbsync(laptop.folder, "certificate", "--from", str(another)).code == 0
    foreign = another / "field-77.receipts.json"
    foreign.write_text("another upstream's")
    server.must("bundle", "import", str(another))
    assert foreign.read_text() == "another upstream's"
    edited = another / "field-01.certificate.json"
    edited.write_bytes(edited.read_bytes().replace(b'"waiting":0', b'"waiting":1'))
    assert "signature" in dbsync(laptop.folder, "certificate", "--from", str(another)).err
    assert dbsync(laptop.folder, "bundle", "export", str(another)).code == 0


@pytest.mark.parametrize(
    ("number", "state", "what"),
    [
        (28, "stick full", "no space left"),
        (5, "waits for the stick", "was the stick removed"),
        (30, "halted", "read-only"),
    ],
)
def test_a_stick_that_is_full_or_pulled_or_locked_is_told_and_gone_on_with(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, number: int, state: str, what: str
) -> None:
    laptop = remote.laptop
    remote.enrol()
    laptop.insert("a")

    def broken(_: Path) -> object:
        raise OSError(number, os.strerror(number))

    config = load(laptop.folder / "dbsync.toml", {})
    with monkeypatch.context() as failing:
        failing.setattr(files, "begun", broken)
        with pytest.raises(DbsyncError, match=what):
            Service(config=config).run_once()
    assert remote.state()[0] == state
    assert what in remote.state()[1]
    assert not list(remote.stick.glob("*.dbsync"))
    assert Service(config=config).run_once() == 1
    assert remote.state()[0] == "written to the stick"


def test_an_export_that_is_stopped_leaves_nothing_half_done(remote: Remote) -> None:
    remote.enrol()
    remote.laptop.insert("a")
    half = remote.stick / f".field-01.{life(remote.laptop)}-3.partial"
    half.write_bytes(b"of a stick that was pulled")
    config = load(remote.laptop.folder / "dbsync.toml", {})
    with held_link(config) as held:
        assert Sticks(config=config, stop=lambda: True).look(held).state is LinkState.STOPPED
    assert not list(remote.stick.glob("*.dbsync"))
    assert not half.exists()
    assert Service(config=config).run_once() == 1


def life(place: Place) -> str:
    """Give the head of a laptop's incarnation."""
    return str(place.database.value("SELECT incarnation FROM dbsync.node"))[:8]


def test_a_stick_that_leads_elsewhere_is_not_used(remote: Remote, tmp_path: Path) -> None:
    remote.enrol()
    remote.laptop.insert("a")
    remote.pull()
    elsewhere = tmp_path / "home"
    elsewhere.mkdir()
    remote.stick.symlink_to(elsewhere)
    for place, word in ((remote.laptop, "export"), (remote.laptop, "receipts"), (remote.server, "import")):
        with pytest.raises(DbsyncError, match="symbolic link"):
            place.type("bundle", word, str(remote.stick))
    done = dbsync(remote.laptop.folder, "run", "--once")
    assert done.code == 1
    assert "symbolic link" in done.err
    assert list(elsewhere.iterdir()) == []


def test_two_who_import_one_folder_at_the_same_time_apply_everything_once(remote: Remote) -> None:
    laptop, server = remote.laptop, remote.server
    remote.enrol()
    for number in range(30):
        laptop.insert(f"site {number}")
    laptop.must("bundle", "export", str(remote.stick))
    with (
        ServiceProcess(server.folder, command=("bundle", "import", str(remote.stick))) as one,
        ServiceProcess(server.folder, command=("bundle", "import", str(remote.stick))) as other,
    ):
        codes = (one.wait(), other.wait())
    assert codes == (0, 0), one.log.read_text()
    assert len(server.sites()) == 30
    assert server.database.value("SELECT count(*) FROM dbsync.conflict") == 0
    assert "15 batches acknowledged" in laptop.must("bundle", "receipts", str(remote.stick))


def box(laptop: Place, number: int) -> CheckedList:
    """Check a box on a laptop, as its inspector does."""
    found = CheckedList(
        id=UUID(int=number),
        by=laptop.name,
        checked_by="Naledi",
        table="requisition",
        column="identifier",
        at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
        both=("R-1",),
        missing_from_data=(f"a secret specimen {number}",),
        missing_from_box=(),
    )
    with laptop.database.connect() as connection:
        keep(connection, write_list(found, laptop.keys), own=True)
    return found


def boxes(place: Place) -> dict[str, bool]:
    """Say which lists a place has, by their ids, and which of them have arrived or came from elsewhere."""
    found = json.loads(place.must("lists", "--json"))["lists"]
    return {one["id"]: one["sent_at"] is not None or not one["own"] for one in found}


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
    path.write_bytes(path.read_bytes()[:-1] + b"x")
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
