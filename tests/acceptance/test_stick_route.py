"""Laptops that only ever meet sticks: enrolled by one, emptied onto one by the service, and brought in by the server by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dbsync.errors import DbsyncError, FormatError, Refusal
from dbsync.identity.keys import Keys
from tests.acceptance.test_bundle_route import Place
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.served import free_port
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
        remote.put_in()
        until(lambda: server.sites() == {"a"}, "what is on the stick is brought in")
        until(lambda: laptop.waiting() == 0, "and the receipt comes home")
        assert remote.state()[0] == "up to date"
        remote.pull()
        laptop.insert("b")
        until(lambda: remote.state()[0] == "waits for the stick", "the stick is away")
        serving.terminate()
        remote.put_in()
        until(lambda: remote.state()[0] == "written to the stick", "it is written again")
        assert "receipt outstanding for 1 batch" in remote.state()[1]
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
