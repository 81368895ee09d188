"""Laptops that only ever meet sticks: enrolled by one, emptied onto one by the service, and brought in by the server by itself."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dbsync.bundle import files
from dbsync.config.load import load
from dbsync.errors import DbsyncError, FormatError, Refusal
from dbsync.identity.keys import Keys
from dbsync.service.bundles import bring_in
from dbsync.service.held import held_link
from dbsync.service.link import LinkState
from dbsync.service.run import Service
from dbsync.service.sticks import Sticks
from tests.acceptance.remote import Remote, box, boxes
from tests.acceptance.test_bundle_route import Place
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.service import ServiceProcess, until

pytestmark = ONE_MIXTURE


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
